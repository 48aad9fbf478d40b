"""The rows of the cost report: money by instance and day beside requests, grouped; pure."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from fractions import Fraction

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import CostRow, GroupBy, Money, Use
from llmctl.core.tunnel import engine_host
from llmctl.ledger.costs import Sum
from llmctl.ops import cost_meter, cost_use
from llmctl.ops.cost_days import Day
from llmctl.ops.cost_meter import Key
from llmctl.ops.cost_reconcile import Reconciled, split

OWN = "this machine"
OWN_KEY: Key = ("own", OWN)
CACHE = "cache"
"""Stands for the engine of answers that took none."""
NO_ENGINE = "no engine"


class CostTable:
    """Money by instance and day, use by request: put together as it is asked for."""

    def __init__(
        self, compared: Reconciled, ranges: Sequence[Day], uses: Sequence[tuple[Sum, Use]]
    ) -> None:
        self._compared = compared
        self._ranges = ranges
        self._uses = uses
        self._numbers = {day.number: number for number, day in enumerate(ranges)}
        cells = compared.cells
        self.money = cost_meter.add(cells.values()) if cells else None
        self.use = cost_use.add(use for _, use in uses)

    def rows(self, group_by: GroupBy) -> list[CostRow]:
        """Return a row for each day, instance, model or tenant that there is anything to say of."""
        if group_by == "day":
            return self._by_day()
        if group_by == "instance":
            return self._by_instance()
        if group_by == "model":
            return self._shared_out(lambda each: each.model_used or each.model_asked)
        return self._shared_out(lambda each: each.tenant)

    def _by_day(self) -> list[CostRow]:
        uses = self._grouped(lambda each: str(each.day))
        cells: dict[int, list[Money]] = defaultdict(list)
        for (_, number), money in self._compared.cells.items():
            cells[number].append(money)
        return [
            CostRow(
                name=day.date.isoformat(),
                money=self._money_of(cells.get(number), uses.get(str(day.number))),
                use=uses.get(str(day.number), cost_use.NOTHING),
                begins=day.begins,
                ends=day.ends,
            )
            for number, day in enumerate(self._ranges)
            if number in cells or str(day.number) in uses
        ]

    def _money_of(self, cells: list[Money] | None, use: Use | None) -> Money | None:
        """Return what a day cost: nothing where nothing was rented and no other engine worked."""
        if cells is not None:
            return cost_meter.add(cells)
        own_engine = self.money is None or (use is not None and use.engine_s > 0)
        return None if own_engine else cost_meter.NOTHING

    def _by_instance(self) -> list[CostRow]:
        cells: dict[Key, list[Money]] = defaultdict(list)
        for (key, _), money in self._compared.cells.items():
            cells[key].append(money)
        names = {key: _shown(key, self._compared.names[key]) for key in cells}
        uses = self._grouped(self._engine_of)
        rented = [
            CostRow(
                name=names[key],
                money=cost_meter.add(moneys),
                use=uses.pop(names[key], cost_use.NOTHING),
            )
            for key, moneys in sorted(cells.items())
        ]
        return rented + [
            CostRow(name=name, money=None, use=use) for name, use in sorted(uses.items())
        ]

    def _engine_of(self, each: Sum) -> str:
        """Return the instance that answered; requests name it as the operator does.

        Of several that had a name on one day it is the one that cost most.
        """
        if not each.backend:
            return CACHE if each.cache in cost_use.FREE else NO_ENGINE
        host, inside, _ = each.backend.rpartition("//")[2].partition(".localhost")
        number = self._numbers.get(each.day)
        cells = self._compared.cells
        candidates = [
            (cells[key, number].metered_usd, key)
            for key, name in self._compared.names.items()
            if inside
            and number is not None
            and engine_host(name) == host
            and (key, number) in cells
        ]
        if not candidates:
            return each.backend
        key = max(candidates)[1]
        return _shown(key, self._compared.names[key])

    def _shared_out(self, name_of: Callable[[Sum], str]) -> list[CostRow]:
        """Share the money out by engine time; where no engine worked it is nobody's."""
        uses = self._grouped(name_of)
        ordered = sorted(uses, key=lambda name: (-uses[name].requests, name))
        weights = [Fraction(uses[name].engine_s) for name in ordered]
        moneys: list[Money | None] = [None] * len(ordered)
        if self.money is not None and any(weights):
            moneys = _shares(self.money, weights)
        return [
            CostRow(name=name or "-", money=money, use=uses[name])
            for name, money in zip(ordered, moneys, strict=True)
        ]

    def _grouped(self, name_of: Callable[[Sum], str]) -> dict[str, Use]:
        groups: dict[str, list[Use]] = defaultdict(list)
        for each, use in self._uses:
            groups[name_of(each)].append(use)
        return {name: cost_use.add(uses) for name, uses in groups.items()}


def _shares(money: Money, weights: Sequence[Fraction]) -> list[Money | None]:
    """Split what was spent; which part of a bill is whose cannot be told."""
    return [
        Money(metered_usd=MicroUsd(part), unbilled_usd=MicroUsd(part))
        for part in split(money.spent_usd, weights)
    ]


def _shown(key: Key, name: str) -> str:
    if key == OWN_KEY:
        return OWN
    which = " ".join(part for part in key if part)
    return f"{name} ({which})" if name else f"not on record ({which})"
