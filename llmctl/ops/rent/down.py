"""The end of a rental: destroyed, proved gone, said so."""

from collections.abc import Awaitable, Callable, Sequence

from llmctl.core.errors import NotFound
from llmctl.core.rental import Phase, Rental, StepState
from llmctl.core.reports import Down, DownPlan
from llmctl.ops.rent import proof
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.reconcile import adopt, find_by_label
from llmctl.ops.rent.world import World
from llmctl.state.store import RentalStore

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
    """End every rental of the plan; raises ``LeftoverInstance`` after all have been tried."""
    ended: list[Down] = []
    failure: Exception | None = None
    for rental in plan.rentals:
        try:
            with world.store.owned(rental.name):
                gone = await end(world, world.store.get(rental.uuid), release)
        except Exception as problem:  # noqa: BLE001  the others are ended all the same
            failure = failure or problem
            continue
        ended.append(Down(rental=gone, spent=spent(world, gone)))
    if failure is not None:
        raise failure
    return ended


async def end(world: World, rental: Rental, release: Release) -> Rental:
    """Destroy a rental's instance, prove it gone and write that down.

    Ending what is gone changes nothing. Raises ``LeftoverInstance``; the rental then stays on
    record as being destroyed, and the next command tries again.
    """
    if rental.phase is Phase.GONE:
        return rental
    if not rental.provider.paid:
        world.say("down", StepState.BEGIN, f"leaving {rental.name}")
        await release(rental)
        return world.store.advance(rental.uuid, Phase.GONE)
    rental = await _with_id(world, rental)
    if rental.instance_id is None:
        return world.store.advance(rental.uuid, Phase.GONE, detail="it was never made")
    which = f"{rental.provider.value} instance {rental.instance_id}"
    world.store.advance(rental.uuid, Phase.DESTROYING)
    world.say("down", StepState.BEGIN, f"destroying {which}")
    command = f"llmctl down {rental.name}"
    await proof.destroy(world, rental.provider, rental.instance_id, command=command)
    gone = world.store.advance(rental.uuid, Phase.GONE)
    world.store.unpin(rental.uuid)
    world.say("down", StepState.DONE, f"{which} is gone")
    return gone


async def _with_id(world: World, rental: Rental) -> Rental:
    """Find the instance of a create whose answer we never had."""
    provider = world.providers.get(rental.provider)
    if rental.instance_id is not None or rental.phase is Phase.INTENT or provider is None:
        return rental
    instance = await find_by_label(world, provider, rental)
    return rental if instance is None else adopt(world, rental, instance)


def the_only(rentals: Sequence[Rental]) -> Rental:
    """Return the one there is; raises ``NotFound`` for none, or for several with their names."""
    if len(rentals) == 1:
        return rentals[0]
    if not rentals:
        raise NotFound("there is no instance", hint="llmctl up")
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
