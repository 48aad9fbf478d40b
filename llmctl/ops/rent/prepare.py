"""From a machine that runs to a model that answers on it: SSH, watchdog, engine, model, one answer.

Each step is written down when it is done, and done again where its effect has vanished; so the same
code takes up a rental that was interrupted anywhere.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from msgspec import Struct

from llmctl.core.errors import (
    DeadlineExceeded,
    HostKeyChanged,
    LlmctlError,
    RemoteFailed,
    SshError,
)
from llmctl.core.rental import Fit, Phase, Rental, StepState, UpPlan
from llmctl.ops.rent import sizing
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.login import Login, target_of
from llmctl.ops.rent.world import World
from llmctl.ssh.engine import EngineSettings, Warmed
from llmctl.ssh.host import Host, HostFacts
from llmctl.ssh.install import OllamaInstall
from llmctl.ssh.watchdog import Armed, Guard

log = logging.getLogger(__name__)

_GUARD_SLACK_S = 60.0
"""How far the deadline that a watchdog reports may be off."""
_LOOK_S = 20.0
"""How long a machine that is ready may take to be logged in to."""
_OWN_S = 15.0
"""The same for the operator's own machine, which nobody is starting at this moment."""
_NO_ENGINE = (Phase.CREATED, Phase.STARTING, Phase.REACHABLE, Phase.GUARDED)
_MEMORY_SHARE = 0.9
"""Of the memory that was on offer; drivers keep a little back."""


class Prepared(Struct, frozen=True, kw_only=True):
    """A machine on which a model answers."""

    rental: Rental
    warmed: Warmed
    fit: Fit


async def prepare(
    world: World, rental: Rental, plan: UpPlan, *, instance_key: str | None
) -> Prepared:
    """Get a model ready on a machine that runs.

    Raises ``HostFailed`` for a rented machine that cannot be reached or guarded or is not what was
    rented, ``HostKeyChanged``, ``RemoteFailed`` and ``DeadlineExceeded`` for what went wrong on it.
    """
    if rental.phase in _NO_ENGINE:  # the port may have been configured since the record was made
        port = world.config.ollama.port
        rental = world.store.advance(rental.uuid, rental.phase, engine_port=port)
    async with Login(world, rental) as login:
        rental = await _reach(world, rental, login)
        rental = await _guard(world, rental, login, instance_key)
        with _blaming(rental, SshError):
            facts = await login.keep_on(lambda host: host.facts(), within_s=world.config.wait.ssh_s)
        fit = _size(world, rental, plan, facts)
        rental = await _install(world, rental, fit, login)
        rental = await _pull(world, rental, fit, facts, login)
        return await _warm(world, rental, fit, login)


async def rearmed(world: World, rental: Rental) -> Rental:
    """Give the watchdog of a machine that is ready the deadline and idle limit of ``rental``.

    Its deadline is on record once the watchdog has confirmed it.
    """
    async with Login(world, rental) as login:
        await _reach(world, rental, login)
        return await _guard(world, rental, login, None)


async def ailment(world: World, rental: Rental) -> str | None:
    """Return what a rented machine that was ready lacks by now, None where nothing does.

    Two questions over one login: to the watchdog and to the engine. Raises ``SshError`` where
    nobody can log in, and ``HostFailed`` when its market says that nobody will.
    """

    async def look(host: Host) -> str | None:
        try:
            armed = await host.armed()
            if armed is None:
                return "its watchdog does not answer"
            _confirmed(armed, world.guard_for(rental, None))
        except RemoteFailed as failure:
            return failure.message
        try:
            names = {model.name for model in await host.models()}
        except (RemoteFailed, DeadlineExceeded) as failure:
            return f"its engine does not answer: {failure.message}"
        return None if rental.model in names else f"{rental.model} is not on it any more"

    async with Login(world, rental) as login:
        return await login.keep_on(look, within_s=min(_LOOK_S, world.config.wait.ssh_s))


@contextlib.asynccontextmanager
async def logged_in(world: World, rental: Rental) -> AsyncIterator[Host]:
    """Log in to a rental's machine for a while."""
    host = await world.reach(target_of(rental))
    try:
        yield host
    finally:
        with contextlib.suppress(LlmctlError):
            await host.close()


@contextlib.contextmanager
def _blaming(rental: Rental, *failures: type[LlmctlError]) -> Iterator[None]:
    """Take these failures for a rented machine's own: another may do better.

    A changed host key is not among them: somebody else may be answering.
    """
    try:
        yield
    except HostKeyChanged:
        raise
    except failures as failure:
        if not rental.provider.paid:
            raise
        raise HostFailed(failure.message) from failure


async def _reach(world: World, rental: Rental, login: Login) -> Rental:
    where = rental.addresses[0] if rental.addresses else "this machine"
    world.say("ssh", StepState.BEGIN, f"logging in to {where}")
    within = world.config.wait.ssh_s
    with _blaming(rental, SshError):
        await login.open(within_s=within if rental.provider.paid else min(within, _OWN_S))
    where = login.rental.addresses[0] if login.rental.addresses else where
    world.say("ssh", StepState.DONE, f"logged in to {where}")
    return _at_least(world, rental, Phase.REACHABLE)


async def _guard(world: World, rental: Rental, login: Login, instance_key: str | None) -> Rental:
    """Arm the watchdog before anything else, and believe only what it says of itself."""
    if not rental.provider.paid:
        return rental
    guard = world.guard_for(rental, instance_key)
    world.say("watchdog", StepState.BEGIN, "arming the watchdog")

    async def arm(host: Host) -> Armed:
        await host.arm(guard)
        return _confirmed(await host.armed(), guard)

    with _blaming(rental, SshError, RemoteFailed):
        armed = await login.keep_on(arm, within_s=world.config.wait.ssh_s)
    left = max(armed.deadline - world.clock.now(), 0) / 3600
    world.say("watchdog", StepState.DONE, f"the machine ends itself in {left:.1f} h at the latest")
    return _at_least(world, rental, Phase.GUARDED, deadline=armed.deadline)


def _confirmed(armed: Armed | None, guard: Guard) -> Armed:
    if armed is None:
        raise RemoteFailed(
            f"the watchdog did not confirm its deadline of {guard.deadline:.0f}: it said nothing"
        )
    if abs(armed.deadline - guard.deadline) > _GUARD_SLACK_S:
        raise RemoteFailed(
            f"the watchdog has a deadline of {armed.deadline:.0f} instead of {guard.deadline:.0f}"
        )
    if guard.idle_s and not 0 < armed.idle_s <= guard.idle_s + _GUARD_SLACK_S:
        raise RemoteFailed(
            f"the watchdog has an idle limit of {armed.idle_s:.0f} s instead of {guard.idle_s:.0f}"
        )
    return armed


def _size(world: World, rental: Rental, plan: UpPlan, facts: HostFacts) -> Fit:
    """Return what fits the card that is really there."""
    memory = sum(gpu.memory_mib for gpu in facts.gpus) or None
    if rental.provider.paid:
        _check_card(rental, memory)
    fit = sizing.fit(plan.spec, memory, ram_mib=facts.ram_mib)
    cards = ", ".join(gpu.name for gpu in facts.gpus) or "no GPU"
    state = StepState.DONE if memory else StepState.WARNING
    world.say("machine", state, f"{cards}: {fit.model}, {fit.num_ctx:,} tokens of context")
    if plan.fit is not None and fit.model != plan.fit.model:
        text = f"{plan.fit.model} does not fit this machine, so it is {fit.model}"
        world.say("machine", StepState.WARNING, text)
    return fit


def _check_card(rental: Rental, memory_mib: int | None) -> None:
    if memory_mib is None:
        raise HostFailed("no GPU answers on the machine")
    offer = rental.offer
    if offer is None:
        return
    wanted = offer.gpu_memory_mib * offer.gpu_count
    if memory_mib < wanted * _MEMORY_SHARE:
        raise HostFailed(
            f"the machine has {memory_mib / 1024:.0f} GiB of GPU memory, "
            f"{wanted / 1024:.0f} GiB were rented"
        )


async def _install(world: World, rental: Rental, fit: Fit, login: Login) -> Rental:
    ollama, wait = world.config.ollama, world.config.wait
    wanted = OllamaInstall(
        version=ollama.version, url=ollama.archive_url, sha256=ollama.archive_sha256
    )
    world.say("install", StepState.BEGIN, f"installing Ollama {ollama.version}")

    async def install(host: Host) -> str:
        version = await host.install(wanted, login.pass_on)
        await host.serve(engine_settings(rental, fit))
        return version

    with _blaming(rental, SshError, DeadlineExceeded):
        version = await login.keep_on(install, within_s=wait.install_s)
    world.say("install", StepState.DONE, f"Ollama {version} listens on the machine's 127.0.0.1")
    return _at_least(world, rental, Phase.INSTALLED, num_ctx=fit.num_ctx)


def engine_settings(rental: Rental, fit: Fit) -> EngineSettings:
    """Return how Ollama is started; it keeps models on a volume where the machine has one."""
    return EngineSettings(
        port=rental.engine_port,
        num_ctx=fit.num_ctx,
        kv_cache_type=fit.kv_cache_type,
        parallel=fit.parallel,
    )


async def _pull(world: World, rental: Rental, fit: Fit, facts: HostFacts, login: Login) -> Rental:
    wait, insecure = world.config.wait, world.config.ollama.insecure_registry
    names = {
        model.name for model in await login.keep_on(lambda host: host.models(), within_s=wait.ssh_s)
    }
    there = bool({fit.model, f"{fit.model}:latest"} & names)
    if not there and facts.disk_free_bytes < fit.model_bytes:
        raise RemoteFailed(
            f"{fit.model} takes {fit.model_bytes / 1e9:.1f} GB, and the machine's disk has "
            f"{facts.disk_free_bytes / 1e9:.1f} GB left",
            hint="make room there, or choose another --model" if not rental.provider.paid else None,
        )
    world.say("pull", StepState.BEGIN, f"pulling {fit.model}")
    pulled = await login.keep_on(
        lambda host: host.pull(fit.model, login.pass_on, insecure=insecure),
        within_s=wait.pull_still_s,
    )
    said = "was there already" if there else "is there"
    world.say("pull", StepState.DONE, f"{pulled.name} {said}")
    return _at_least(world, rental, Phase.PULLED, model=pulled.name)


async def _warm(world: World, rental: Rental, fit: Fit, login: Login) -> Prepared:
    model = rental.model or fit.model
    world.say("warm", StepState.BEGIN, f"loading {model}")
    warmed = await _answer(world, model, fit, login)
    if rental.provider.paid and not warmed.vram_bytes:
        raise HostFailed("Ollama does not use the GPU of the machine")
    while warmed.vram_bytes < warmed.size_bytes:
        smaller = sizing.smaller(rental.spec, fit) if warmed.vram_bytes else None
        share = warmed.vram_bytes / max(warmed.size_bytes, 1)
        text = f"only {share:.0%} of {model} is in GPU memory"
        if smaller is None:
            world.say("warm", StepState.WARNING, f"{text}: answers will be slow")
            break
        text = f"{text} with {fit.num_ctx:,} tokens of context: trying {smaller.num_ctx:,}"
        world.say("warm", StepState.WARNING, text)
        fit = smaller
        settings = engine_settings(rental, fit)
        await login.keep_on(
            lambda host, settings=settings: host.serve(settings),  # type: ignore[misc]
            within_s=world.config.wait.load_s,
        )
        warmed = await _answer(world, model, fit, login)
    world.say("warm", StepState.DONE, f"{model} answers, {warmed.tokens_per_s:.0f} tokens/s")
    ready = _at_least(world, rental, Phase.READY, num_ctx=fit.num_ctx)
    return Prepared(rental=ready, warmed=warmed, fit=fit)


async def _answer(world: World, model: str, fit: Fit, login: Login) -> Warmed:
    try:
        return await login.keep_on(
            lambda host: host.warm(model, fit.num_ctx), within_s=world.config.wait.load_s
        )
    except DeadlineExceeded as slow:
        raise RemoteFailed(f"{model} did not answer: {slow.message}") from slow


_ORDER = (
    Phase.INTENT, Phase.CREATING, Phase.CREATED, Phase.STARTING, Phase.REACHABLE, Phase.GUARDED,
    Phase.INSTALLED, Phase.PULLED, Phase.READY,
)  # fmt: skip


def _at_least(world: World, rental: Rental, phase: Phase, **changes: Any) -> Rental:
    """Write a step down; a rental that was further already stays there."""
    further = _ORDER.index(rental.phase) > _ORDER.index(phase)
    return world.store.advance(rental.uuid, rental.phase if further else phase, **changes)
