"""The models on a rental's machine."""

from msgspec import Struct

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.rental import Phase, Rental, StepState
from llmctl.ops.rent.login import Login
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.world import World
from llmctl.ssh.engine import RemoteModel, Warmed
from llmctl.ssh.pull import PulledModel

_SERVED = (Phase.INSTALLED, Phase.PULLED, Phase.READY)


class ModelTest(Struct, frozen=True, kw_only=True):
    """A model that answered on the machine."""

    model: str
    warmed: Warmed


async def list_models(world: World, rental: Rental) -> list[RemoteModel]:
    """Return the models that are on the machine, by name."""
    _check(rental)
    async with logged_in(world, rental) as host:
        return sorted(await host.models(), key=lambda model: model.name)


async def pull_model(world: World, rental: Rental, model: str) -> PulledModel:
    """Have a model on the machine, with progress; goes on where an earlier pull ended.

    What ``serve`` uses by default stays what ``up`` made ready.
    """
    _check(rental)
    world.say("pull", StepState.BEGIN, f"pulling {model}")
    insecure = world.config.ollama.insecure_registry
    async with Login(world, rental) as login:
        pulled = await login.keep_on(
            lambda host: host.pull(model, login.pass_on, insecure=insecure),
            within_s=world.config.wait.pull_still_s,
        )
    world.say("pull", StepState.DONE, f"{pulled.name} is there")
    return pulled


async def remove_model(world: World, rental: Rental, model: str) -> None:
    """Delete a model from the machine; raises ``NotFound``.

    The one that ``up`` made ready is not deleted: the instance would no longer be what it says.
    """
    _check(rental)
    if rental.model is not None and _full(model) == _full(rental.model):
        raise LlmctlError(
            f"{model} is what {rental.name} answers with",
            hint=f"llmctl up {rental.name} --model OTHER first",
        )
    try:
        async with logged_in(world, rental) as host:
            await host.remove(model)
    except NotFound as unknown:
        hint = f"llmctl model list --instance {rental.name}"
        raise NotFound(f"{rental.name} has no model {model}", hint=hint) from unknown


async def check_model(world: World, rental: Rental, model: str | None) -> ModelTest:
    """Load a model, the rental's own unless named, and let it answer once."""
    _check(rental)
    wanted = model or rental.model
    if wanted is None:
        raise LlmctlError(f"no model is ready on {rental.name}", hint=f"llmctl up {rental.name}")
    world.say("warm", StepState.BEGIN, f"asking {wanted}")
    try:
        async with logged_in(world, rental) as host:
            warmed = await host.warm(wanted, rental.num_ctx)
    except NotFound as unknown:
        hint = f"llmctl model pull {wanted} --instance {rental.name}"
        raise NotFound(f"{rental.name} has no model {wanted}", hint=hint) from unknown
    world.say("warm", StepState.DONE, f"{wanted} answers")
    return ModelTest(model=wanted, warmed=warmed)


def _full(model: str) -> str:
    """Return a name as the engine spells it out."""
    return model if ":" in model else f"{model}:latest"


def _check(rental: Rental) -> None:
    if rental.phase in _SERVED:
        return
    command = "start" if rental.phase is Phase.STOPPED else "up"
    raise LlmctlError(
        f"{rental.name} is {rental.phase.value}: there is no engine to ask",
        hint=f"llmctl {command} {rental.name}",
    )
