"""``up``: from a plan to a model that answers, or back to nothing."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec

from llmctl.core.errors import Cancelled, LeftoverInstance, LlmctlError, NotFound, ProviderError
from llmctl.core.rental import InstanceState, Phase, Rental, StepState, UpPlan
from llmctl.core.reports import UpResult
from llmctl.core.tasks import Tasks
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.down import Release, end
from llmctl.ops.rent.launch import MOST_MACHINES, Launched, discard, rent
from llmctl.ops.rent.prepare import Prepared, ailment, prepare, rearmed
from llmctl.ops.rent.reconcile import reconcile, warn_of_strays
from llmctl.ops.rent.world import LOCAL, World

T = TypeVar("T")


async def up(world: World, plan: UpPlan, release: Release) -> UpResult:
    """Carry the plan out; a rental that is ready already is left as it is.

    What this call rented is destroyed again when it fails or is cancelled, unless ``spec.keep``;
    what it took up from before is left as it was found. Raises ``LeftoverInstance`` when an
    instance would not go, ``Cancelled`` when it did.
    """
    began, cpu = world.clock.monotonic(), time.process_time()
    with world.store.owned(plan.spec.name):
        await _compare(world, plan)
        rental = world.store.by_name(plan.spec.name)
        if rental is None and plan.resumes is not None and plan.resumes.instance_id is not None:
            raise NotFound(
                f"{plan.spec.name} has ended by itself since it was looked at",
                hint=f"llmctl up {plan.spec.name} rents anew",
            )
        prepared = None
        if rental is not None and plan.deadline is not None:
            rental = await _extended(world, rental, plan, plan.deadline)
        if rental is None or not await _is_ready(world, rental, plan):
            prepared = await _made_ready(world, rental, plan, release)
            rental = prepared.rental
    return UpResult(
        rental=rental,
        tokens_per_s=prepared.warmed.tokens_per_s if prepared else None,
        seconds=world.clock.monotonic() - began,
        own_seconds=time.process_time() - cpu,
        spent=spent(world, rental),
    )


async def _compare(world: World, plan: UpPlan) -> None:
    """Reconcile first; a market that cannot be read is not rented from."""
    paid = [name for name in plan.spec.providers if name.paid]
    if plan.offer is not None:
        paid.append(plan.offer.provider)
    existing = world.store.by_name(plan.spec.name)
    if existing is not None and existing.provider.paid:
        paid.append(existing.provider)
    found = await reconcile(world, dict.fromkeys(paid))
    for problem in found.problems:
        raise ProviderError(
            f"what is rented cannot be compared with the record: {problem.message}",
            hint=problem.hint or "nothing was rented; try again later",
        ) from problem
    warn_of_strays(world, found)


async def _extended(world: World, rental: Rental, plan: UpPlan, deadline: float) -> Rental:
    """Let what exists end at another time; one that is not ready yet is armed on its way there.

    The record may say too late an end, and never one that is too early: a later one is written
    down before the machine knows of it, an earlier one after.
    """
    spec = msgspec.structs.replace(rental.spec, ttl_s=plan.spec.ttl_s, idle_s=plan.spec.idle_s)
    moved = msgspec.structs.replace(rental, deadline=deadline, spec=spec)
    ready = rental.phase is Phase.READY
    earlier = rental.deadline is not None and deadline < rental.deadline
    if ready and earlier:
        moved = await rearmed(world, moved)
    moved = world.store.advance(
        rental.uuid, rental.phase, deadline=moved.deadline, spec=spec, detail="its end has moved"
    )
    return await rearmed(world, moved) if ready and not earlier else moved


async def _is_ready(world: World, rental: Rental, plan: UpPlan) -> bool:
    """Whether nothing is left to do: ready with these settings, running since, and well.

    What it lacks by now is said. Raises ``SshError`` where nobody can log in to see.
    """
    if rental.phase is not Phase.READY or rental.spec != plan.spec:
        return False
    provider = world.providers.get(rental.provider)
    if provider is None or rental.instance_id is None:
        return False  # logging in shows it
    instance = await provider.get(rental.instance_id)
    if (
        instance is None
        or instance.state is not InstanceState.RUNNING
        or instance.generation != rental.generation
    ):
        return False
    lacks = await ailment(world, rental)
    if lacks is not None:
        text = f"{rental.name} was ready, but {lacks}; getting it ready again"
        world.say("look", StepState.WARNING, text)
    return lacks is None


async def _made_ready(
    world: World, rental: Rental | None, plan: UpPlan, release: Release
) -> Prepared:
    if rental is not None and rental.phase in (Phase.CREATING, Phase.DESTROYING):
        raise LeftoverInstance(  # reconciling has settled it, unless its market cannot be asked
            f"{rental.name} may still be billed at {rental.provider.value}: {rental.phase.value}, "
            "and there is no key to ask that market",
            hint=f"llmctl auth login {rental.provider.value}, then llmctl down {rental.name}",
        )
    if rental is not None and rental.phase is not Phase.INTENT:
        return await _resumed(world, rental, plan)
    if rental is None:
        provider = plan.offer.provider if plan.offer else plan.spec.providers[0]
        begun = world.store.begin(plan.spec, provider)
        port = world.config.ollama.port
        rental = world.store.advance(begun.uuid, Phase.INTENT, engine_port=port)
    try:
        return await _ready(world, rental, plan)
    except (Exception, asyncio.CancelledError) as failure:  # a bug of ours costs money too
        if plan.spec.keep:
            raise
        left = await _to_its_end(_undone(world, rental, release))
        if left is not None:
            raise left from failure
        if isinstance(failure, asyncio.CancelledError):
            undone = "rented is destroyed" if rental.provider.paid else "started is stopped"
            raise Cancelled(f"interrupted; what was {undone}") from None
        raise


async def _resumed(world: World, rental: Rental, plan: UpPlan) -> Prepared:
    """Go on with what an earlier call left; its failure is no reason to destroy that."""
    if rental.spec != plan.spec or rental.phase is Phase.READY:
        # ready no more: what follows may fail halfway
        rental = world.store.advance(rental.uuid, Phase.CREATED, spec=plan.spec)
    try:
        rental = await _reachable(world, rental, plan, Launched())
        return await prepare(world, rental, plan, instance_key=None)
    except HostFailed as failure:
        raise HostFailed(
            failure.message,
            hint=f"llmctl up {rental.name} tries again, llmctl down {rental.name} ends it",
        ) from failure


async def _to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """Wait for ``work`` to end, whoever cancels us meanwhile: it ends what costs money."""
    tasks = Tasks()
    task: asyncio.Task[T] = tasks.start(work, name="undo")
    while not task.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return await task


async def _undone(world: World, rental: Rental, release: Release) -> LlmctlError | None:
    """End what this call made; return what keeps a paid machine from being proved gone."""
    rental = world.store.get(rental.uuid)
    paid = rental.provider.paid
    if not paid and rental.phase in (Phase.INTENT, Phase.CREATED):
        world.store.advance(rental.uuid, Phase.GONE, detail="it was never reached")
        return None
    if paid and rental.instance_id is not None:
        which = f"{rental.provider.value} {rental.instance_id}"
        world.say("down", StepState.WARNING, f"stopping: destroying {which}")
    try:
        await end(world, rental, release)
    except LlmctlError as left:
        return left if paid else None
    return None


async def _ready(world: World, rental: Rental, plan: UpPlan) -> Prepared:
    """Rent and prepare; a machine that cannot be prepared is replaced by another."""
    launched = Launched()
    for attempt in range(1, MOST_MACHINES + 1):
        rental = await _reachable(world, rental, plan, launched)
        try:
            return await prepare(world, rental, plan, instance_key=launched.instance_key)
        except HostFailed as failure:
            if attempt == MOST_MACHINES or plan.spec.keep:
                raise
            launched.failure = failure
            rental = await discard(world, world.store.get(rental.uuid), failure)
    raise AssertionError


async def _reachable(world: World, rental: Rental, plan: UpPlan, launched: Launched) -> Rental:
    """Return a rental whose machine runs: one that is rented now, or the operator's own."""
    if rental.provider.paid:
        return await rent(world, rental, plan, launched)
    if plan.spec.host is not None:
        return world.store.advance(
            rental.uuid, Phase.CREATED, addresses=(plan.spec.host,), generation="host"
        )
    return world.store.advance(rental.uuid, Phase.CREATED, generation=LOCAL)
