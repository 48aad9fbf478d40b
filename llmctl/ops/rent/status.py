"""What is rented now: what our record says, and what the markets say of it."""

import asyncio

from msgspec import Struct

from llmctl.core.errors import LlmctlError
from llmctl.core.rental import Instance, InstanceState, Phase, Rental
from llmctl.core.reports import InstanceStatus, Reconciled
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.reconcile import reconcile
from llmctl.ops.rent.world import World


class StatusReport(Struct, frozen=True, kw_only=True):
    """Everything on record that is not gone."""

    instances: list[InstanceStatus]
    reconciled: Reconciled


async def collect(world: World) -> StatusReport:
    """Compare with the markets, then ask after each rental. Reads, but for what must be mended."""
    rentals = _open(world)
    paid = {rental.provider for rental in rentals if rental.provider.paid}
    reconciled = await reconcile(world, [name for name in world.providers if name in paid])
    rentals = _open(world)
    seen = await asyncio.gather(*(_seen(world, rental) for rental in rentals))
    return StatusReport(
        instances=[
            _status(world, rental, instance) for rental, instance in zip(rentals, seen, strict=True)
        ],
        reconciled=reconciled,
    )


def _open(world: World) -> list[Rental]:
    return [rental for rental in world.store.all() if rental.phase is not Phase.GONE]


async def _seen(world: World, rental: Rental) -> Instance | LlmctlError | None:
    provider = world.providers.get(rental.provider)
    if provider is None or rental.instance_id is None:
        return None
    try:
        return await provider.get(rental.instance_id)
    except LlmctlError as failure:
        return failure


def _status(world: World, rental: Rental, seen: Instance | LlmctlError | None) -> InstanceStatus:
    instance = seen if isinstance(seen, Instance) else None
    stopped = rental.phase is Phase.STOPPED
    guarded = rental.provider.paid and not stopped
    left = rental.deadline - world.clock.now() if rental.deadline and guarded else None
    return InstanceStatus(
        name=rental.name,
        provider=rental.provider,
        instance_id=rental.instance_id,
        phase=rental.phase,
        state=instance.state if instance else None,
        gpu=rental.offer.gpu_name if rental.offer else "",
        model=rental.model,
        num_ctx=rental.num_ctx,
        usd_per_hour=rental.stopped_usd_per_hour if stopped else rental.usd_per_hour,
        spent_usd=spent(world, rental),
        seconds_left=None if left is None else max(left, 0.0),
        idle_s=rental.spec.idle_s if guarded else None,
        address=str(rental.addresses[0]) if rental.addresses else "",
        detail=_detail(rental, seen),
    )


def _detail(rental: Rental, seen: Instance | LlmctlError | None) -> str:
    if isinstance(seen, LlmctlError):
        return seen.message
    if isinstance(seen, Instance) and seen.state is not InstanceState.RUNNING:
        return seen.detail or rental.detail
    return rental.detail
