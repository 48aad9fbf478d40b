"""What is rented now: what our record says, and what the markets say of it."""

import asyncio

from msgspec import Struct

from llmctl.core.errors import LlmctlError, ProviderError, RemoteFailed, SshError
from llmctl.core.rental import Instance, InstanceState, Phase, Rental
from llmctl.core.reports import InstanceStatus, Reconciled
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.reconcile import reconcile
from llmctl.ops.rent.world import World
from llmctl.ssh.watchdog import Armed

ASK_S = 8.0
"""How long a machine may take to say when it ends itself, and a market how one machine is."""
LIST_S = 20.0
"""How long a market may take to list what is rented: somebody sits and waits."""


class StatusReport(Struct, frozen=True, kw_only=True):
    """Everything on record that is not gone."""

    instances: list[InstanceStatus]
    reconciled: Reconciled


async def collect(world: World, *, list_s: float = LIST_S) -> StatusReport:
    """Compare with the markets, then ask after each rental. Reads, but for what must be mended."""
    paid = [name for name in world.providers if name.paid]
    reconciled = await reconcile(world, paid, within_s=list_s)
    rentals = _open(world)
    seen = await asyncio.gather(*(_seen(world, rental) for rental in rentals))
    guards = await asyncio.gather(*(_guard(world, rental) for rental in rentals))
    return StatusReport(
        instances=[
            _status(world, rental, instance, guard)
            for rental, instance, guard in zip(rentals, seen, guards, strict=True)
        ],
        reconciled=reconciled,
    )


async def _guard(world: World, rental: Rental) -> Armed | LlmctlError | None:
    """Ask the watchdog itself; why it cannot be asked is worth a line, and no failure."""
    if rental.phase is not Phase.READY or not rental.provider.paid:
        return None
    try:
        async with asyncio.timeout(ASK_S), logged_in(world, rental) as host:
            armed = await host.armed()
    except TimeoutError:
        return SshError(f"{rental.addresses[0]} did not answer in {ASK_S:.0f} s")
    except LlmctlError as failure:
        return failure
    if armed is None:
        return RemoteFailed(f"its watchdog does not answer; llmctl up {rental.name} arms it again")
    return armed


def _open(world: World) -> list[Rental]:
    return [rental for rental in world.store.all() if rental.phase is not Phase.GONE]


async def _seen(world: World, rental: Rental) -> Instance | LlmctlError | None:
    provider = world.providers.get(rental.provider)
    if provider is None or rental.instance_id is None:
        return None
    try:
        async with asyncio.timeout(ASK_S):
            return await provider.get(rental.instance_id)
    except TimeoutError:
        return ProviderError(f"{rental.provider.value} did not answer in {ASK_S:.0f} s")
    except LlmctlError as failure:
        return failure


def _status(
    world: World,
    rental: Rental,
    seen: Instance | LlmctlError | None,
    guard: Armed | LlmctlError | None,
) -> InstanceStatus:
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
        idle_left_s=_idle_left(guard) if isinstance(guard, Armed) else None,
        address=str(rental.addresses[0]) if rental.addresses else "",
        detail=_detail(rental, seen, guard),
    )


def _idle_left(guard: Armed) -> float | None:
    return max(guard.idle_s - guard.unused_s, 0.0) if guard.idle_s else None


def _detail(
    rental: Rental, seen: Instance | LlmctlError | None, guard: Armed | LlmctlError | None
) -> str:
    if isinstance(seen, LlmctlError):
        return seen.message
    expected = InstanceState.STOPPED if rental.phase is Phase.STOPPED else InstanceState.RUNNING
    if isinstance(seen, Instance) and seen.state is not expected:
        return seen.detail or rental.detail
    if isinstance(guard, LlmctlError):
        return f"{guard.message}; {guard.hint}" if guard.hint else guard.message
    return rental.detail
