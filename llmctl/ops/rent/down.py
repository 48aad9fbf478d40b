"""The end of a rental: destroyed, proved gone, said so."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from llmctl.core.errors import LeftoverInstance, LlmctlError, NotFound
from llmctl.core.rental import Phase, Rental, StepState
from llmctl.core.reports import Down, DownPlan
from llmctl.ops.rent import proof
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.reconcile import find_by_label, reconcile, warn_of_strays
from llmctl.ops.rent.world import World
from llmctl.state.store import RentalStore, StateError

log = logging.getLogger(__name__)

Release = Callable[[Rental], Awaitable[None]]
"""Leaves a machine that is not rented as it was found: stops the engine we started."""


def plan_down(store: RentalStore, names: Sequence[str], *, everything: bool = False) -> DownPlan:
    """Return what ``down`` would end; reads only our own record.

    Without names the only one; names that are gone are ``already`` down. Raises ``NotFound`` for a
    name that never was, or when there are several and none was named.
    """
    open_ones = [each for each in store.all() if each.phase is not Phase.GONE]
    if everything:
        return DownPlan(rentals=open_ones)
    if not names:
        return DownPlan(rentals=[the_only(open_ones)])
    found, already = [], []
    known = {each.name for each in store.all()}
    for name in names:
        rental = store.by_name(name)
        if rental is not None:
            found.append(rental)
        elif name in known:
            already.append(name)
        else:
            raise no_such(name, open_ones)
    return DownPlan(rentals=found, already=already)


async def down(world: World, plan: DownPlan, release: Release) -> list[Down]:
    """End every rental of the plan; raises the first failure after all have been tried.

    Cancelled, it raises ``LeftoverInstance`` for an instance whose end is not proved.
    """
    await _compare(world, plan)
    ended: list[Down] = []
    failure: Exception | None = None
    for rental in plan.rentals:
        try:
            with world.store.owned(rental.name, strict=False):
                gone = await end(world, world.store.get(rental.uuid), release)
        except asyncio.CancelledError:
            raise _interrupted(world, rental.uuid) from None
        except Exception as problem:  # noqa: BLE001  the others are ended all the same
            log.info("%s did not end: %s", rental.name, problem)
            failure = _worse(failure, problem)
            continue
        ended.append(Down(rental=gone, spent=spent(world, gone)))
    if failure is not None:
        raise failure
    return ended


async def _compare(world: World, plan: DownPlan) -> None:
    """Reconcile the others first; what cannot be compared is no reason to let anything go on."""
    markets = {each.provider for each in plan.rentals if each.provider.paid}
    leave = {each.uuid for each in plan.rentals}
    found = await reconcile(world, sorted(markets), leave=leave)
    warn_of_strays(world, found)
    for problem in found.problems:
        log.info("not compared before the end: %s", problem)


def _interrupted(world: World, uuid: str) -> BaseException:
    """Return what a Ctrl-C amounts to: paid machines in doubt are told by their id."""
    rental = world.store.get(uuid)
    if rental.phase is not Phase.DESTROYING or rental.instance_id is None:
        return asyncio.CancelledError()
    return proof.leftover(
        rental.provider,
        rental.instance_id,
        "interrupted before it was proved gone",
        world.providers.get(rental.provider),
        f"llmctl down {rental.name}",
    )


def _worse(one: Exception | None, other: Exception) -> Exception:
    """Return the failure to tell: the first, but anything that is still billed before others."""
    if one is None or (isinstance(other, LeftoverInstance) and not isinstance(one, type(other))):
        return other
    return one


async def end(world: World, rental: Rental, release: Release) -> Rental:
    """Destroy a rental's instance, prove it gone and write that down.

    Ending what is gone changes nothing. A record that cannot be written is told only after the
    instance is gone. Raises ``LeftoverInstance``; the rental then stays on record as being
    destroyed, and the next command tries again.
    """
    if rental.phase is Phase.GONE:
        return rental
    if not rental.provider.paid:
        world.say("down", StepState.BEGIN, f"leaving {rental.name}")
        await release(rental)
        return world.store.advance(rental.uuid, Phase.GONE)
    instance_id = rental.instance_id or await _instance_of(world, rental)
    if instance_id is None:
        return world.store.advance(rental.uuid, Phase.GONE, detail="it was never made")
    which = f"{rental.provider.value} instance {instance_id}"
    _note_end(world, rental, instance_id)
    world.say("down", StepState.BEGIN, f"destroying {which}")
    command = f"llmctl down {rental.name}"
    await proof.destroy(world, rental.provider, instance_id, command=command)
    world.say("down", StepState.DONE, f"{which} is gone")
    gone = world.store.advance(rental.uuid, Phase.GONE)
    world.store.unpin(rental.uuid)
    return gone


def _note_end(world: World, rental: Rental, instance_id: str) -> None:
    """Write down what is about to be destroyed; a full disk does not keep it running."""
    price = rental.usd_per_hour
    if price is None and rental.offer is not None:
        price = rental.offer.usd_per_hour
    unheard = rental.instance_id is None
    try:
        world.store.advance(
            rental.uuid,
            Phase.DESTROYING,
            instance_id=instance_id,
            usd_per_hour=price,
            billed_from=world.store.journal(rental.uuid)[-1].at if unheard else None,
        )
    except StateError as failure:
        world.say("down", StepState.WARNING, failure.message)


async def _instance_of(world: World, rental: Rental) -> str | None:
    """Find the instance of a create whose answer we never had."""
    if rental.phase is Phase.INTENT:
        return None
    provider = world.providers.get(rental.provider)
    if provider is None:
        raise LeftoverInstance(
            f"whether {rental.name} was made is unknown: there is no key for "
            f"{rental.provider.value} here, whose list may have it as {rental.label}",
            hint=f"llmctl auth login {rental.provider.value}, then llmctl down {rental.name}",
        )
    try:
        instance = await find_by_label(world, provider, rental)
    except LlmctlError as failure:
        raise LeftoverInstance(
            f"{rental.provider.value} may have made {rental.name} and cannot be asked: "
            f"{failure.message}",
            hint=f"llmctl down {rental.name}; its label is {rental.label}",
        ) from failure
    return None if instance is None else instance.id


def the_only(rentals: Sequence[Rental]) -> Rental:
    """Return the one there is; raises ``NotFound`` for none, or for several with their names."""
    if len(rentals) == 1:
        return rentals[0]
    if not rentals:
        raise NotFound("there is no instance", hint="llmctl up makes one ready")
    names = ", ".join(sorted(each.name for each in rentals))
    raise NotFound(f"there are several instances: {names}", hint="name one of them")


def no_such(name: str, rentals: Sequence[Rental]) -> NotFound:
    """Return the error for a name that is not on record."""
    from difflib import get_close_matches

    near = get_close_matches(name, [each.name for each in rentals], n=1)
    return NotFound(
        f"there is no instance called {name!r}",
        hint=f"did you mean {near[0]}?" if near else "llmctl status shows what there is",
    )
