"""What renting cost, what it bought, and what the cloud would have charged for the same."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from msgspec import Struct

from llmctl.config.schema import Config
from llmctl.core.billing import Bill, Charge
from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.money import MicroUsd
from llmctl.core.rental import LABEL_PREFIX, ProviderName
from llmctl.core.reports_cost import CostReport, GroupBy, Money
from llmctl.ledger.costs import Sum, first_request, sums
from llmctl.ledger.reading import open_read_only
from llmctl.ops import cost_meter, cost_use
from llmctl.ops.budget import spend_of
from llmctl.ops.cost_days import Zone, days, find_zone, offsets
from llmctl.ops.cost_meter import Stretch
from llmctl.ops.cost_reconcile import reconcile
from llmctl.ops.cost_rows import OWN, OWN_KEY, CostTable
from llmctl.ops.prices import load_prices
from llmctl.state.store import RentalStore

BILL_S = 20.0
"""How long a market may take to show its bill."""

ReadBill = Callable[[float, float], Awaitable[Bill]]


class CostWish(Struct, frozen=True, kw_only=True):
    """What is asked for."""

    since: float | None = None
    """Unix time; None for everything on record."""
    until: float
    group_by: GroupBy = "day"
    own_usd_per_hour: MicroUsd | None = None
    """What an hour of the operator's own machine costs; None for unknown."""


class Records(Struct, frozen=True, kw_only=True):
    """What there is to read. Neither file needs to exist."""

    ledger: Path
    rentals: RentalStore
    bills: Mapping[ProviderName, ReadBill] = {}
    """Markets that can be asked."""
    patience_s: float = BILL_S


class Accounts:
    """What is on record for a wish. Opening and reading block.

    Raises ``ConfigError`` for a zone or a table of prices that cannot be used, ``StateError`` and
    ``LlmctlError`` for records that cannot be read.
    """

    def __init__(self, wish: CostWish, records: Records, config: Config, *, now: float) -> None:
        self._wish, self._records, self._config, self._now = wish, records, config, now
        self._zone = find_zone(config.budget.timezone)
        self._known = records.rentals.path.exists()
        self._stretches = cost_meter.read_stretches(records.rentals, now) if self._known else []
        self._ledger = _Ledger(records.ledger, wish, self._zone)
        self._since = _since(wish, self._ledger, self._stretches)
        self.asked = [
            each
            for each in records.bills
            if _rented(self._stretches, each, self._since, wish.until)
        ]
        """Markets at which something was rented in that time: no other is asked."""

    def report(self) -> CostReport:
        """Return the report without any bill."""
        return self._report(self._ledger.sums(self._since), [])

    async def report_with_bills(self) -> CostReport:
        """Ask the markets, and read meanwhile; one that does not answer is told in ``notes``."""
        import asyncio  # 15 ms that nobody pays who has rented nothing

        reading = asyncio.to_thread(self._ledger.sums, self._since)
        asking = (_bill(self._records, each, self._since, self._wish.until) for each in self.asked)
        read_sums, bills = await asyncio.gather(reading, asyncio.gather(*asking))
        return self._report(read_sums, bills)

    def _report(self, read_sums: Sequence[Sum], bills: "Sequence[_Answer]") -> CostReport:
        wish, config, now = self._wish, self._config, self._now
        since, stretches = self._since, self._stretches
        charges = [charge for bill in bills for charge in bill.charges]
        own = _own(wish, self._ledger.first, since, now)
        ranges = days(since, wish.until, self._zone)
        label = f"{LABEL_PREFIX}{self._records.rentals.install_id}/" if self._known else None
        compared = reconcile([*stretches, *own], charges, ranges, label=label, now=now)
        pricing = cost_use.Pricing(load_prices(config.cost.prices), config.cost.compare)
        table = CostTable(compared, ranges, [(each, pricing.use_of(each)) for each in read_sums])
        money, use = table.money, table.use
        return CostReport(
            since=since,
            until=wish.until,
            timezone=config.budget.timezone,
            group_by=wish.group_by,
            money=money,
            use=use,
            unit=cost_use.unit_costs(money, use),
            savings=cost_use.savings(money, use, pricing.compared()),
            break_even=cost_use.break_even(money, use),
            spend=spend_of(stretches, config.budget, now),
            rows=table.rows(wish.group_by),
            notes=[
                *(bill.problem for bill in bills if bill.problem),
                *_unasked(stretches, self._records.bills, since, wish.until),
                *_remarks(money, stretches, config),
            ],
        )


class _Ledger:
    """The ledger, if there is one."""

    def __init__(self, path: Path, wish: CostWish, zone: Zone) -> None:
        self._path = path
        self._until = wish.until
        self._zone = zone
        self.first = self._first()

    def _first(self) -> float | None:
        try:
            with closing(open_read_only(self._path)) as connection:
                return first_request(connection)
        except NotFound:
            return None

    def sums(self, since: float) -> list[Sum]:
        if self.first is None:
            return []
        begins = None if since <= self.first else since
        shifts = offsets(max(since, self.first), self._until, self._zone)
        with closing(open_read_only(self._path)) as connection:
            return sums(connection, begins, self._until, offsets=shifts)


def _since(wish: CostWish, ledger: _Ledger, stretches: Sequence[Stretch]) -> float:
    if wish.since is not None:
        return min(wish.since, wish.until)
    known = [each.begins for each in stretches]
    known += [] if ledger.first is None else [ledger.first]
    return min([*known, wish.until])


def _rented(stretches: Iterable[Stretch], name: ProviderName, since: float, until: float) -> bool:
    return any(
        each.key[0] == name.value and each.begins < until and each.ends >= since
        for each in stretches
    )


class _Answer(Struct, frozen=True, kw_only=True):
    """A market's bill, or why there is none: then it is unknown, and not zero."""

    charges: list[Charge] = []
    problem: str = ""


async def _bill(records: Records, name: ProviderName, since: float, until: float) -> _Answer:
    import asyncio

    try:
        async with asyncio.timeout(records.patience_s):
            return _Answer(charges=(await records.bills[name](since, until)).charges)
    except TimeoutError:
        late = f"{name.value} did not show its bill within {records.patience_s:g} s"
        return _Answer(problem=f"{late}: what it billed is unknown")
    except LlmctlError as failure:
        return _Answer(problem=f"what {name.value} billed is unknown: {failure.message}")


def _unasked(
    stretches: Sequence[Stretch], bills: Mapping[ProviderName, object], since: float, until: float
) -> list[str]:
    return [
        f"what {name.value} billed is unknown: there is no key for it here, or it was not asked"
        for name in ProviderName
        if name.paid and name not in bills and _rented(stretches, name, since, until)
    ]


def _own(wish: CostWish, first: float | None, since: float, now: float) -> list[Stretch]:
    """Return the operator's own machine, from the first request on, at the price that was given."""
    if wish.own_usd_per_hour is None or first is None:
        return []
    begins, ends = max(first, since), min(wish.until, now)
    if begins >= ends:
        return []
    return [
        Stretch(
            key=OWN_KEY,
            uuid="",
            name=OWN,
            begins=begins,
            ends=ends,
            usd_per_hour=wish.own_usd_per_hour,
        )
    ]


def _remarks(money: Money | None, stretches: Sequence[Stretch], config: Config) -> list[str]:
    found = []
    if money is None:
        found.append(
            "nothing was rented in this time: what it cost is unknown; "
            "--usd-per-hour gives a price to your own machine"
        )
    elif money.unpriced_s:
        hours = money.unpriced_s / 3600
        found.append(f"{hours:.1f} h have no known price: more was spent than is shown")
    if config.rent.volume and any(each.key[0] == ProviderName.RUNPOD for each in stretches):
        found.append("RunPod bills network volumes apart from pods; they are not in here")
    return found
