"""Stopping an instance and starting it again. Stopped is not free."""

from llmctl.core.errors import LlmctlError, NoCapacity, ProviderError
from llmctl.core.rental import Fit, InstanceState, Phase, Rental, StepState, UpPlan
from llmctl.core.reports import PowerPlan
from llmctl.ops import budget
from llmctl.ops.rent.images import image_for
from llmctl.ops.rent.launch import arrive
from llmctl.ops.rent.prepare import Prepared, prepare
from llmctl.ops.rent.reconcile import reconcile
from llmctl.ops.rent.world import World
from llmctl.providers.base import SupportsStop

_LEAVES_S = 60.0
"""How long an instance may still be shown as stopped once its start was accepted."""
_NOTES = {
    "vast": "the disk and the model stay; the GPU can be rented by others meanwhile",
    "runpod": (
        "only what is on a volume stays, a model elsewhere is pulled again; "
        "the GPU can be rented by others meanwhile"
    ),
}


def plan_power(rental: Rental) -> PowerPlan:
    """Return the prices of both states; raises for what cannot be stopped."""
    if not rental.provider.paid:
        raise LlmctlError(
            f"{rental.name} is a machine of your own: there is nothing to stop",
            hint=f"llmctl down {rental.name} ends what llmctl started on it",
        )
    return PowerPlan(
        rental=rental,
        usd_per_hour=rental.usd_per_hour,
        stopped_usd_per_hour=rental.stopped_usd_per_hour,
        note=_NOTES.get(rental.provider.value, ""),
    )


async def stop(world: World, rental: Rental) -> Rental:
    """Stop an instance; stopping a stopped one changes nothing."""
    provider = _stoppable(world, rental)
    with world.store.owned(rental.name):
        rental = await _current(world, rental)
        if rental.phase is Phase.STOPPED:
            return rental
        await provider.stop(rental.instance_id or "")
        world.say("stop", StepState.DONE, f"{rental.name} is stopped")
        return world.store.advance(rental.uuid, Phase.STOPPED)


async def start(world: World, rental: Rental) -> Prepared | None:
    """Start a stopped instance and get its model ready again; None where it was ready.

    Address and host key are new. Raises ``NoCapacity`` with the cure when its GPU is taken, and
    ``OverBudget``; any other failure leaves it started, to be taken up by the same command.
    """
    provider = _stoppable(world, rental)
    with world.store.owned(rental.name):
        rental = await _current(world, rental)
        stopped = rental.phase is Phase.STOPPED or await _is_stopped(world, rental)
        if rental.phase is Phase.READY and not stopped:
            return None
        world.say("start", StepState.BEGIN, f"starting {rental.name}")
        if stopped:
            rental = await _started(world, provider, rental)
        arrived = await arrive(world, rental)
        return await prepare(world, arrived, _plan(world, arrived), instance_key=None)


async def _started(world: World, provider: SupportsStop, rental: Rental) -> Rental:
    """Ask for the start, with the time it may run written down before."""
    now = world.clock.now()
    budget.refuse(budget.read_spend(world.store, world.config.budget, now))
    deadline = now + rental.spec.ttl_s
    starting = world.store.advance(rental.uuid, Phase.STARTING, deadline=deadline)
    try:
        await provider.start(rental.instance_id or "")
    except NoCapacity as taken:
        world.store.advance(rental.uuid, Phase.STOPPED, deadline=None)
        raise NoCapacity(
            taken.message,
            hint=f"try later, or: llmctl down {rental.name} && llmctl up {rental.name}",
        ) from taken
    until = world.clock.monotonic() + _LEAVES_S
    while await _is_stopped(world, starting) and world.clock.monotonic() < until:
        await world.sleep(world.config.wait.poll_s)  # markets show the old state for a while
    return starting


async def _is_stopped(world: World, rental: Rental) -> bool:
    try:
        seen = await world.providers[rental.provider].get(rental.instance_id or "")
    except ProviderError as failure:
        if failure.retryable:
            return False
        raise
    return seen is not None and seen.state is InstanceState.STOPPED


async def _current(world: World, rental: Rental) -> Rental:
    await reconcile(world, [rental.provider])
    current = world.store.get(rental.uuid)
    if current.phase in (Phase.CREATING, Phase.DESTROYING):
        # what was given up is not taken up again, though its market keeps it
        raise LlmctlError(
            f"{rental.name} is {current.phase.value} and may be billed",
            hint=f"llmctl down {rental.name}",
        )
    if current.instance_id is None or current.phase is Phase.GONE:
        raise LlmctlError(f"{rental.name} is gone", hint=f"llmctl up {rental.name}")
    return current


def _stoppable(world: World, rental: Rental) -> SupportsStop:
    provider: object = world.providers.get(rental.provider)
    if not isinstance(provider, SupportsStop):
        raise LlmctlError(f"{rental.provider.value} instances cannot be stopped and started")
    return provider


def _plan(world: World, rental: Rental) -> UpPlan:
    fit: Fit | None = None
    image = image_for(world, rental.provider)
    return UpPlan(spec=rental.spec, offer=rental.offer, fit=fit, image=image, resumes=rental)
