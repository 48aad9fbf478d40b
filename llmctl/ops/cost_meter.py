"""What was rented when and at which price, cut to any range of time; pure but for reading state.

Amounts are differences of one rising function of time, so that the parts of a stretch add up to the
whole, to the micro-dollar, however it is cut.
"""

from collections.abc import Iterable

import msgspec
from msgspec import Struct

from llmctl.core.money import MicroUsd, cost
from llmctl.core.rental import Offer, Phase, Rental
from llmctl.core.reports_cost import Money
from llmctl.ops.rent import ranking, sizing
from llmctl.state.intervals import Interval
from llmctl.state.store import JournalEntry, RentalStore

Key = tuple[str, str]
"""Market and id of an instance."""


class Stretch(Struct, frozen=True, kw_only=True):
    """One instance at one price for some time, or an amount at one moment."""

    key: Key
    uuid: str
    """Of the rental; empty for a machine of the operator's own."""
    name: str
    begins: float
    """Unix time."""
    ends: float
    usd_per_hour: MicroUsd | None
    """None where it is unknown."""
    stopped: bool = False
    open: bool = False
    """It goes on."""
    traffic: MicroUsd | None = None
    """For a moment: what was moved then came to this. ``usd_per_hour`` does not count."""

    def within(self, begins: float, ends: float) -> Money:
        """Return what falls into a range, the end not included."""
        if self.traffic is not None:
            inside = begins <= self.begins < ends
            moved = self.traffic if inside else MicroUsd(0)
            return Money(metered_usd=moved, traffic_usd=moved)
        start, end = max(begins, self.begins), min(ends, self.ends)
        if start >= end:
            return NOTHING
        amount, seconds = self._amount(start, end), end - start
        known = MicroUsd(amount or 0)
        return Money(
            metered_usd=known,
            running_usd=MicroUsd(0) if self.stopped else known,
            stopped_usd=known if self.stopped else MicroUsd(0),
            running_s=0.0 if self.stopped else seconds,
            stopped_s=seconds if self.stopped else 0.0,
            unpriced_s=seconds if amount is None else 0.0,
        )

    def _amount(self, start: float, end: float) -> MicroUsd | None:
        price = self.usd_per_hour
        if price is None:
            return None
        return MicroUsd(cost(price, end - self.begins) - cost(price, start - self.begins))


NOTHING = Money()


def add(parts: Iterable[Money]) -> Money:
    """Return the sum; billed where any part is."""
    parts = list(parts)
    sums = {
        field: sum(getattr(part, field) for part in parts)
        for field in Money.__struct_fields__
        if field != "billed_usd"
    }
    billed = [part.billed_usd for part in parts if part.billed_usd is not None]
    return msgspec.convert({**sums, "billed_usd": sum(billed) if billed else None}, Money)


def read_stretches(store: RentalStore, now: float) -> list[Stretch]:
    """Return everything paid that is on record, up to now; raises ``StateError``."""
    found: list[Stretch] = []
    for rental in store.all():
        if not rental.provider.paid:
            continue
        intervals = store.intervals(rental.uuid)
        found += [_stretch(rental, each, now) for each in intervals]
        if intervals and rental.offer is not None and rental.offer.usd_per_gb_down:
            found += _moved(rental, rental.offer, store.journal(rental.uuid))
    return [each for each in found if each.begins <= each.ends]


def _stretch(rental: Rental, interval: Interval, now: float) -> Stretch:
    return Stretch(
        key=(
            interval.provider or rental.provider.value,
            interval.instance_id or rental.instance_id or "",
        ),
        uuid=rental.uuid,
        name=rental.name,
        begins=interval.begins,
        ends=max(now, interval.begins) if interval.ends is None else interval.ends,
        usd_per_hour=interval.usd_per_hour,
        stopped=interval.kind == "stopped",
        open=interval.ends is None,
    )


def _moved(rental: Rental, offer: Offer, journal: list[JournalEntry]) -> list[Stretch]:
    """Return the traffic of getting ready, at the moment the model was there.

    What is moved later (answers, other models) is not on record.
    """
    pulled = next((each.at for each in journal if each.phase is Phase.PULLED), None)
    if pulled is None:
        return []
    shape = sizing.shape_of(rental.model or rental.spec.model or "")
    size = shape.file_bytes if shape else 0
    moved = Stretch(
        key=(rental.provider.value, rental.instance_id or ""),
        uuid=rental.uuid,
        name=rental.name,
        begins=pulled,
        ends=pulled,
        usd_per_hour=None,
        traffic=ranking.traffic_cost(offer, model_bytes=size),
    )
    return [moved]
