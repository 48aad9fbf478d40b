"""What the emulated markets have charged, bucket by bucket, with what goes wrong on real bills.

Both emulators put their wire format around ``Billing.lines``. Set on ``market.billing``:

``lag_s``     what happened since is not on the bill yet; a bucket that has not ended is shown as far
              as it goes
``gaps``      buckets that are missing: machine id and begin of the bucket
``refunds``   ``refund(machine, amount, at=…)``: a line of its own, below zero
``traffic``   ``moved(machine, amount, at=…)``: micro-dollars of traffic at a moment
"""

from dataclasses import dataclass
from typing import Any

DAY_S = 86_400.0


@dataclass(frozen=True)
class Line:
    """One line of a bill, exact: micro-dollars with fractions, rounded by who shows it."""

    machine: Any
    begins: float
    ends: float
    gpu: float
    disk: float
    traffic: float = 0.0
    refund: float = 0.0

    @property
    def total(self) -> float:
        return self.gpu + self.disk + self.traffic + self.refund


class Billing:
    """The bills of one account."""

    def __init__(self, market: Any) -> None:
        self.market = market
        self.lag_s = 0.0
        self.gaps: set[tuple[str, float]] = set()
        self._refunds: list[tuple[str, float, int]] = []
        self._traffic: list[tuple[str, float, int]] = []

    def refund(self, machine: Any, amount: int, *, at: float | None = None) -> None:
        """Give back so many micro-dollars."""
        at = self.market.clock.now() if at is None else at
        self._refunds.append((machine.id, at, amount))

    def moved(self, machine: Any, amount: int, *, at: float | None = None) -> None:
        """Charge so many micro-dollars of traffic."""
        at = self.market.clock.now() if at is None else at
        self._traffic.append((machine.id, at, amount))

    def lines(self, since: float, until: float, *, bucket_s: float = DAY_S) -> list[Line]:
        """Return the lines of the buckets that begin in the range, foreign machines' too."""
        self.market.settle()
        horizon = self.market.clock.now() - self.lag_s
        found = []
        for machine in self.market.machines.values():
            begins = max(since, machine.created_at) // bucket_s * bucket_s
            while begins < min(until, horizon):
                ends = min(begins + bucket_s, horizon)
                if (machine.id, begins) not in self.gaps:
                    found += self._bucket(machine, begins, ends)
                begins += bucket_s
        return found

    def _bucket(self, machine: Any, begins: float, ends: float) -> list[Line]:
        gpu = disk = 0.0
        lived = [
            (max(start, begins), min(end, ends), price)
            for start, end, price in machine.history
            if start < ends and end > begins
        ]
        for start, end, price in lived:
            stopped = min(machine.stopped_price, price)
            gpu += (price - stopped) * (end - start) / 3600
            disk += stopped * (end - start) / 3600
        traffic = sum(amount for at, amount in _of(self._traffic, machine, begins, ends))
        refunds = _of(self._refunds, machine, begins, ends)
        lines = []
        if lived or traffic:
            first = lived[0][0] if lived else begins
            last = lived[-1][1] if lived else ends
            lines.append(Line(machine, first, last, gpu, disk, traffic))
        lines += [Line(machine, at, at, 0.0, 0.0, refund=-amount) for at, amount in refunds]
        return lines


def _of(
    moments: list[tuple[str, float, int]], machine: Any, begins: float, ends: float
) -> list[tuple[float, int]]:
    return [
        (at, amount) for id_, at, amount in moments if id_ == machine.id and begins <= at < ends
    ]
