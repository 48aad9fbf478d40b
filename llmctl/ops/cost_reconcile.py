"""Our own record against the markets' bills, for each instance and each range of time; pure.

A bill comes late, has gaps, gives back, rounds, and counts by its own hours. Each line is laid over
the times we know of its instance, and split where the ranges asked for cut it. What no line covers
is *unbilled*, what we have no price or time for is *unmetered*, the rest is the difference:

    metered - unbilled + unmetered + difference = billed
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

import msgspec
from msgspec import Struct

from llmctl.core.billing import Charge
from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import Money
from llmctl.ops.cost_days import Day
from llmctl.ops.cost_meter import Key, Stretch, add

Cell = tuple[Key, int]
"""An instance, and the number of a range."""


class Reconciled(Struct, frozen=True, kw_only=True):
    """What each instance cost in each range; those without any are left out."""

    cells: dict[Cell, Money]
    names: dict[Key, str]
    """What the operator called each; empty for what is on a bill alone."""


def reconcile(
    stretches: Sequence[Stretch],
    charges: Sequence[Charge],
    ranges: Sequence[Day],
    *,
    label: str | None = None,
    now: float | None = None,
) -> Reconciled:
    """Compare for each instance and range; ``ranges`` follow on one another.

    Charges for instances that are not on record are somebody else's, unless their label begins with
    ``label``. What a line covers ends at ``now``: markets show whole hours.
    """
    ours = _by_key(stretches)
    bills = _bills(charges, ours, label)
    cells: dict[Cell, Money] = {}
    for key in ours.keys() | bills.keys():
        mine, lines = ours.get(key, []), bills.get(key, [])
        shares = _spread(lines, mine, ranges)
        covered = _covered(lines, now)
        for number in _touched(mine, lines, ranges):
            money = _compared(mine, ranges[number], covered, shares.get(number))
            if money != _NOTHING:
                cells[key, number] = money
    names = {key: mine[-1].name for key, mine in ours.items()}
    return Reconciled(cells=cells, names=names | dict.fromkeys(bills.keys() - ours.keys(), ""))


_NOTHING = Money()


class _Share(Struct, frozen=True, kw_only=True):
    """What of a bill falls into one range."""

    amount: int = 0
    refunded: int = 0
    rounding: int = 0


def _by_key(stretches: Iterable[Stretch]) -> dict[Key, list[Stretch]]:
    found: dict[Key, list[Stretch]] = defaultdict(list)
    for each in stretches:
        found[each.key].append(each)
    return dict(found)


def _bills(
    charges: Iterable[Charge], ours: Mapping[Key, object], label: str | None
) -> dict[Key, list[Charge]]:
    found: dict[Key, list[Charge]] = defaultdict(list)
    for each in charges:
        key = (each.provider.value, each.instance_id)
        if key in ours or (label is not None and each.label.startswith(label)):
            found[key].append(each)
    return dict(found)


def _touched(
    mine: Iterable[Stretch], lines: Iterable[Charge], ranges: Sequence[Day]
) -> Iterator[int]:
    """Return the ranges that an instance has anything to do with, or that lie between two such."""
    spans = [(each.begins, each.ends) for each in mine] + [
        (each.begins, each.ends) for each in lines
    ]
    first, last = min(begins for begins, _ in spans), max(ends for _, ends in spans)
    return (n for n, day in enumerate(ranges) if first < day.ends and day.begins <= last)


def _compared(
    mine: Sequence[Stretch],
    day: Day,
    covered: Sequence[tuple[float, float]],
    billed: _Share | None,
) -> Money:
    metered = add(each.within(day.begins, day.ends) for each in mine)
    if billed is None:
        return msgspec.structs.replace(metered, unbilled_usd=metered.metered_usd)
    inside = add(
        each.within(max(begins, day.begins), min(ends, day.ends))
        for begins, ends in covered
        for each in mine
    )
    pending = max(metered.metered_usd - inside.metered_usd, 0)
    ours = metered.metered_usd - pending
    unknown = inside.unpriced_s > 0 or not (inside.running_s or inside.stopped_s)
    unmetered = max(billed.amount - ours, 0) if unknown else 0
    return msgspec.structs.replace(
        metered,
        billed_usd=MicroUsd(billed.amount),
        unbilled_usd=MicroUsd(pending),
        unmetered_usd=MicroUsd(unmetered),
        refunded_usd=MicroUsd(billed.refunded),
        rounding_usd=MicroUsd(billed.rounding),
    )


def _covered(lines: Iterable[Charge], now: float | None) -> list[tuple[float, float]]:
    """Return the times that lines speak of, joined where they touch."""
    found: list[tuple[float, float]] = []
    spans = sorted((each.begins, each.ends) for each in lines if each.ends > each.begins)
    for begins, until in spans:
        ends = until if now is None else min(until, now)
        if found and begins <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], ends))
        elif begins < ends:
            found.append((begins, ends))
    return found


def _spread(
    lines: Iterable[Charge], mine: Sequence[Stretch], ranges: Sequence[Day]
) -> dict[int, _Share]:
    """Return what falls into each range; what falls outside of all is left out."""
    found: dict[int, _Share] = {}
    begins = [day.begins for day in ranges]
    for line in lines:
        first = max(bisect_right(begins, line.begins) - 1, 0)
        near = ranges[first : bisect_right(begins, line.ends)]
        weights = _weights(line, mine, near)
        amounts = split(line.amount, weights)[: len(near)]
        for number, (amount, weight) in enumerate(zip(amounts, weights, strict=False), first):
            if not weight:
                continue
            before = found.get(number, _Share())
            found[number] = _Share(
                amount=before.amount + amount,
                refunded=before.refunded + max(-amount, 0),
                rounding=before.rounding + line.rounding,
            )
    return found


def _weights(line: Charge, mine: Sequence[Stretch], ranges: Sequence[Day]) -> list[Fraction]:
    """Return how much of a line belongs to each range near it, and last to none of them.

    By what we metered in it, by time where we metered nothing; a moment belongs to one range.
    """
    if line.begins == line.ends:
        inside = [Fraction(day.begins <= line.begins < day.ends) for day in ranges]
        return [*inside, Fraction(not any(inside))]
    parts = [(max(line.begins, day.begins), min(line.ends, day.ends)) for day in ranges]
    whole = sum(each.within(line.begins, line.ends).metered_usd for each in mine)
    if whole:
        weights = [
            Fraction(sum(each.within(*part).metered_usd for each in mine)) if part[0] < part[1]
            else Fraction(0)
            for part in parts
        ]  # fmt: skip
        return [*weights, whole - sum(weights, Fraction(0))]
    seconds = [Fraction(max(end - start, 0.0)) for start, end in parts]
    return [*seconds, Fraction(line.ends - line.begins) - sum(seconds, Fraction(0))]


def split(amount: int, weights: Sequence[Fraction]) -> list[int]:
    """Split an amount by weights so that the parts add up to it: the largest remainders get more.

    Parts have the sign of ``amount``; all are zero where the weights are.
    """
    total = sum(weights, Fraction(0))
    if not total:
        return [0] * len(weights)
    sign = -1 if amount < 0 else 1
    exact = [abs(amount) * weight / total for weight in weights]
    parts = [int(each) for each in exact]
    order = sorted(range(len(parts)), key=lambda n: exact[n] - parts[n], reverse=True)
    for number in order[: abs(amount) - sum(parts)]:
        parts[number] += 1
    return [sign * part for part in parts]
