"""What a rental has cost so far, by its recorded prices."""

from llmctl.core.money import MicroUsd, cost
from llmctl.core.rental import Rental
from llmctl.ops.rent.world import World


def spent(world: World, rental: Rental) -> MicroUsd | None:
    """Return the sum over its intervals; None where a price is unknown, which is not zero."""
    total = 0
    for interval in world.store.intervals(rental.uuid):
        if interval.usd_per_hour is None:
            return None
        ends = world.clock.now() if interval.ends is None else interval.ends
        total += cost(interval.usd_per_hour, ends - interval.begins)
    return MicroUsd(total)
