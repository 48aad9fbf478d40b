"""From an intent to an instance that runs and can be reached over SSH.

Written down before it is sent: whatever happens between two lines, the next command can tell what
exists (docs/adr/0007).
"""

import asyncio
import logging
from typing import TypeGuard

from llmctl.core.errors import LlmctlError, NoCapacity, OutcomeUnknown, ProviderError
from llmctl.core.money import MicroUsd
from llmctl.core.rental import (
    Created,
    Instance,
    InstanceState,
    Offer,
    Order,
    Phase,
    ProviderName,
    Rental,
    StepState,
    UpPlan,
)
from llmctl.core.tasks import Tasks
from llmctl.ops.rent import proof
from llmctl.ops.rent.arrival import Arrival, HostFailed
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.images import image_for
from llmctl.ops.rent.reconcile import adopt, find_by_label
from llmctl.ops.rent.world import World
from llmctl.providers.base import Provider
from llmctl.state.store import StateError

log = logging.getLogger(__name__)

MOST_MACHINES = 3
"""Machines that are paid for and fail before ``up`` gives up."""
_BUSY_PAUSES_S = (5.0, 15.0, 30.0)
"""Before an order that was refused for being one request too many is sent again."""


class Launched:
    """What one ``up`` has made so far; the key of the instance lives here, in memory only."""

    def __init__(self) -> None:
        self.instance_key: str | None = None
        self.machines = 0
        self.failure: HostFailed | None = None
        """Of the last machine that was given back."""


async def rent(world: World, rental: Rental, plan: UpPlan, launched: Launched) -> Rental:
    """Rent the plan's offer, or the next that can be had, and wait until it can be reached.

    Takes up a rental that has an instance already. A machine that fails is destroyed, proved gone
    and avoided for a day; at most three are tried by all calls that share ``launched``. Raises
    ``NoCapacity`` when nothing could be had, the last ``HostFailed``, or ``LeftoverInstance`` when
    one of them would not go.
    """
    if rental.instance_id is not None:
        return await arrive(world, rental)
    last: LlmctlError | None = None
    for offer in (plan.offer, *plan.alternatives):
        if not _worth_trying(offer, world):
            continue
        if launched.machines == MOST_MACHINES:
            break
        try:
            made = await _create(world, rental, offer, plan, launched)
        except NoCapacity as gone:
            world.say("create", StepState.WARNING, gone.message)
            last = gone
            continue
        try:
            return await arrive(world, made)
        except HostFailed as failure:
            launched.failure = failure
            rental = await discard(world, made, failure)
    raise _given_up(last, launched)


def _given_up(last: LlmctlError | None, launched: Launched) -> LlmctlError:
    if launched.failure is not None:
        return launched.failure
    if launched.machines == MOST_MACHINES:
        return HostFailed(f"{MOST_MACHINES} machines were tried, and none came up")
    why = last.message if last else "all are on machines that failed within the last day"
    hint = "run the same command again, or raise --max-price"
    return NoCapacity(f"none of the offers could be had: {why}", hint=hint)


def _worth_trying(offer: Offer | None, world: World) -> TypeGuard[Offer]:
    return offer is not None and offer.machine not in world.store.avoided(offer.provider)


async def _create(
    world: World, rental: Rental, offer: Offer, plan: UpPlan, launched: Launched
) -> Rental:
    """Rent one offer; raises ``NoCapacity`` when it certainly was not rented."""
    provider = world.providers[offer.provider]
    deadline = world.clock.now() + plan.spec.ttl_s
    rental = world.store.advance(
        rental.uuid,
        Phase.CREATING,
        provider=offer.provider,
        offer=offer,
        deadline=deadline,
        instance_id=None,
        detail=f"offer {offer.id}",
    )
    world.say("create", StepState.BEGIN, f"renting {offer.gpu_name} at {offer.provider.value}")
    order = _order(world, rental, offer, plan)
    try:
        created = await _accepted(world, provider, order, rental)
    except OutcomeUnknown as lost:
        world.say("create", StepState.WARNING, f"{lost.message}; looking for it by its label")
        launched.machines += 1
        return await _found(world, provider, rental)
    except LlmctlError as refused:
        # nothing was made: whoever reads this later need not look for it
        world.store.advance(rental.uuid, Phase.INTENT, detail=refused.message)
        raise
    launched.machines += 1
    launched.instance_key = created.instance_key
    return await _recorded(world, rental, created, offer)


async def _found(world: World, provider: Provider, rental: Rental) -> Rental:
    """Return the rental whose create lost its answer; raises ``NoCapacity`` if nothing was made."""
    instance = await find_by_label(world, provider, rental, since=world.clock.now())
    if instance is None:
        detail = "its create was lost, and nothing has its label"
        world.store.advance(rental.uuid, Phase.INTENT, detail=detail)
        raise NoCapacity(f"{provider.name.value} made nothing of the order whose answer was lost")
    try:
        return adopt(world, rental, instance)
    except StateError:
        await _end_unrecorded(world, provider.name, instance.id)
        raise


def _order(world: World, rental: Rental, offer: Offer, plan: UpPlan) -> Order:
    deadline = rental.deadline or world.clock.now()
    disk_gb = plan.fit.disk_gb if plan.fit else (plan.spec.disk_gb or 0)
    return Order(
        offer=offer,
        label=rental.label,
        image=image_for(world, offer.provider),
        disk_gb=disk_gb,
        public_key=world.public_key,
        start_script=world.start_script(rental, offer, deadline),
        environment={"LLMCTL_DEADLINE": str(int(deadline))},
        deadline=deadline,
        volume=plan.spec.volume,
        bid_usd_per_hour=offer.usd_per_hour if offer.spot else None,
    )


async def _accepted(world: World, provider: Provider, order: Order, rental: Rental) -> Created:
    """Return the answer to an order; one that was not even looked at (429) is sent again."""
    for pause in _BUSY_PAUSES_S:
        try:
            return await _sent(world, provider, order, rental)
        except OutcomeUnknown:
            raise
        except ProviderError as refused:
            if not refused.retryable:
                raise
            world.say("create", StepState.PROGRESS, f"{refused.message}; waiting {pause:g} s")
        await world.sleep(pause)
    return await _sent(world, provider, order, rental)


async def _sent(world: World, provider: Provider, order: Order, rental: Rental) -> Created:
    """Send the order once. A Ctrl-C meanwhile waits for its answer: only that has the id."""
    tasks = Tasks()
    request = tasks.start(_kept(provider, order), name="create")
    try:
        answer = await asyncio.shield(request)
    except asyncio.CancelledError:
        answer = await request
        if isinstance(answer, Created):
            await _recorded(world, rental, answer, order.offer)
        elif not isinstance(answer, OutcomeUnknown):
            # refused: whoever cleans up need not look for it
            world.store.advance(rental.uuid, Phase.INTENT, detail=answer.message)
        raise
    if isinstance(answer, Created):
        return answer
    raise answer


async def _kept(provider: Provider, order: Order) -> Created | LlmctlError:
    try:
        return await provider.create(order)
    except LlmctlError as failure:
        return failure


async def _recorded(world: World, rental: Rental, created: Created, offer: Offer) -> Rental:
    """Write the id down; an instance whose id cannot be kept is destroyed at once."""
    try:
        made = world.store.advance(
            rental.uuid,
            Phase.CREATED,
            instance_id=created.id,
            usd_per_hour=offer.usd_per_hour,
            stopped_usd_per_hour=offer.stopped_usd_per_hour,
            detail=f"instance {created.id}",
        )
    except StateError:
        await _end_unrecorded(world, offer.provider, created.id)
        raise
    world.say("create", StepState.DONE, f"rented {offer.provider.value} instance {created.id}")
    return made


async def _end_unrecorded(world: World, name: ProviderName, instance_id: str) -> None:
    world.say("create", StepState.WARNING, f"{instance_id} cannot be recorded; destroying it")
    command = f"llmctl instance destroy {name.value}:{instance_id}"
    await proof.destroy(world, name, instance_id, command=command)


async def arrive(world: World, rental: Rental) -> Rental:
    """Wait until the instance runs and has an address; raises ``HostFailed``."""
    provider = world.providers[rental.provider]
    arrival = Arrival(world.config.wait, world.clock.monotonic())
    world.say("schedule", StepState.BEGIN, "waiting for the machine")
    while True:
        instance = await _seen(provider, rental.instance_id or "")
        arrival.judge(instance, world.clock.monotonic())
        if isinstance(instance, Instance):
            if instance.state is InstanceState.RUNNING and instance.addresses:
                return _arrived(world, rental, instance)
            cost = spent(world, rental) or MicroUsd(0)
            world.say("schedule", StepState.PROGRESS, arrival.text, spent=cost)
        await world.sleep(world.config.wait.poll_s)


def _arrived(world: World, rental: Rental, instance: Instance) -> Rental:
    world.say("schedule", StepState.DONE, f"it runs at {instance.addresses[0]}")
    return world.store.advance(
        rental.uuid,
        rental.phase,
        addresses=instance.addresses,
        generation=instance.generation,
        usd_per_hour=instance.usd_per_hour or rental.usd_per_hour,
        stopped_usd_per_hour=instance.stopped_usd_per_hour or rental.stopped_usd_per_hour,
    )


async def _seen(provider: Provider, instance_id: str) -> Instance | LlmctlError | None:
    """Return what the market says; a failure that may pass is no news."""
    try:
        return await provider.get(instance_id)
    except LlmctlError as failure:
        if getattr(failure, "retryable", False):
            return failure
        raise


async def discard(world: World, rental: Rental, failure: HostFailed) -> Rental:
    """Destroy a machine that failed, prove it, and remember not to take it again."""
    world.say("create", StepState.WARNING, f"{failure.message}; destroying it")
    if rental.offer is not None:
        world.store.avoid(rental.provider, rental.offer.machine, failure.message)
    rental = world.store.advance(rental.uuid, Phase.DESTROYING, detail=failure.message)
    command = f"llmctl down {rental.name}"
    await proof.destroy(world, rental.provider, rental.instance_id or "", command=command)
    # back to where nothing exists: the next offer is a new create under the same intent
    return world.store.advance(
        rental.uuid, Phase.INTENT, instance_id=None, detail="destroyed; trying the next offer"
    )
