"""What was spent and what it bought, as tables for a terminal of any width."""

from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from decimal import Decimal

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import Compared, CostReport, Limit, Money, Use
from llmctl.render.amounts import duration, per_hour
from llmctl.render.amounts import usd as amount
from llmctl.render.bars import bars
from llmctl.render.tables import Cell, table
from llmctl.render.wrapping import wrapped

NARROW = 96
"""Below this many columns the table of rows has only the columns that matter most."""
_LEAST_BAR = 6
_MOST_BAR = 30
_UNKNOWN = "unknown"


def cost_text(
    report: CostReport, *, zone: tzinfo | None, width: int = 80, blocks: bool = True
) -> str:
    """Return the report for people; ``zone`` is the report's, None for this machine's.

    Lines are at most ``width`` columns wide where that can be; notes are wrapped, rows lose
    columns and bars get shorter.
    """
    parts = [f"{_moment(report.since, zone)} to {_moment(report.until, zone)}\n"]
    for title, rows in (
        ("spent", _spent(report.money)),
        ("bought", _bought(report.use)),
        ("price", _prices(report)),
        ("cloud", _cloud(report)),
        ("now", _now(report)),
    ):
        parts.append(_section(title, [row for row in rows if row[1]], width))
    if report.rows:
        parts.append(_rows(report, width=width, blocks=blocks))
    notes = [wrapped(f"note: {each}", width) + "\n" for each in report.notes]
    return "\n".join([*parts, *(["".join(notes)] if notes else [])])


Line = tuple[str, str, str]
"""What, how much, and what there is to say of it."""


def _section(title: str, rows: list[Line], width: int) -> str:
    names = max(len(name) for name, _, _ in rows)
    values = max(len(value) for _, value, _ in rows)
    indent = 4 + names + values
    lines = [f"{title}\n"]
    for name, value, more in rows:
        start = f"  {name:<{names}}  {value:>{values}}"
        lines.append(wrapped(f"{start}  {more}".rstrip(), width, indent=indent + 2) + "\n")
    return "".join(lines)


def _spent(money: Money | None) -> Iterator[Line]:
    if money is None:
        yield "metered", _UNKNOWN, ""
        return
    known = not money.unpriced_s
    parts = (
        ("running", money.running_usd),
        ("stopped", money.stopped_usd),
        ("traffic", money.traffic_usd),
    )
    shown = ", ".join(f"{name} {signed(part)}" for name, part in parts if part)
    times = f"{duration(money.running_s)} running" if money.running_s else ""
    missing = "" if known else f"{duration(money.unpriced_s)} of unknown price not in it"
    yield "metered", signed(money.metered_usd), "; ".join(filter(None, (shown, times, missing)))
    if money.billed_usd is None:
        yield "billed", _UNKNOWN, ""
        return
    unbilled = f"{signed(money.unbilled_usd)} of the metered not billed yet"
    refunded = f"{signed(money.refunded_usd)} refunded"
    more = [unbilled if money.unbilled_usd else "", refunded if money.refunded_usd else ""]
    yield "billed", signed(money.billed_usd), "; ".join(filter(None, more))
    if money.unmetered_usd:
        yield "unmetered", signed(money.unmetered_usd), "billed for what has no price on record"
    difference = money.difference_usd
    rounding = f"the bill's rounding explains up to {signed(money.rounding_usd)}"
    yield "difference", signed(difference), rounding if difference and money.rounding_usd else ""


def _bought(use: Use) -> Iterator[Line]:
    looked = use.answers
    share = f" ({use.hits / looked:.0%})" if looked else ""
    kinds = f"{use.hits:,} from the cache{share}, {use.shared:,} shared, {use.misses:,} generated"
    failed = f"; {use.errors:,} failed" if use.errors else ""
    yield "answers", f"{use.answers:,}", kinds + failed
    prompt, completion = count(use.prompt_tokens), count(use.completion_tokens)
    free = f"; {count(use.hit_tokens)} of them from the cache" if use.hit_tokens else ""
    yield "tokens", count(use.tokens), f"{prompt} prompt, {completion} answer{free}"


def _prices(report: CostReport) -> Iterator[Line]:
    unit = report.unit
    yield "a million tokens", fine(unit.usd_per_million_tokens), ""
    yield "a hit", fine(unit.usd_per_hit), _busy(unit.busy_usd_per_hit)
    yield "a miss", fine(unit.usd_per_miss), _busy(unit.busy_usd_per_miss)
    even = report.break_even
    if even.utilisation is not None:
        yield "utilisation", f"{even.utilisation:.1%}", "engine time by the time the machines ran"
    if even.break_even_utilisation is not None and even.hours_a_day is not None:
        hours = duration(even.hours_a_day * 3600)
        text = f"{hours} of engine time in 24 rented hours"
        yield "breaks even at", f"{even.break_even_utilisation:.1%}", text


def _busy(price: Decimal | None) -> str:
    return "" if price is None else f"{fine(price)} without idle time"


def _cloud(report: CostReport) -> Iterator[Line]:
    savings = report.savings
    least = f"{signed(savings.cloud_cached_usd)} if its prompt cache had held every prompt"
    yield "would have cost", signed(savings.cloud_usd), f"at least {least}"
    target = f"the aim is {savings.target_share:.0%}"
    if savings.saved_share is not None and savings.least_saved_share is not None:
        saved = f"{savings.saved_share:.1%}, at least {savings.least_saved_share:.1%}"
        target = f"{saved}; {target}"
    yield "saved", signed(savings.saved_usd), target
    spared = savings.cache_engine_s
    ours = "" if savings.cache_usd is None else f" ({signed(savings.cache_usd)} here)"
    time = "" if spared is None else f"{duration(spared)} of engine time{ours}"
    yield "by the cache", signed(savings.cache_cloud_usd), time
    for each in savings.compared_with[:3]:
        yield "priced as", each.model, _compared(each)


def _compared(each: Compared) -> str:
    instead = f" for {each.asked}" if each.assumed else ""
    read = f", prices of {each.checked}" if each.checked else ""
    return f"{each.requests:,} answers{instead}{read}"


def _now(report: CostReport) -> Iterator[Line]:
    spend = report.spend
    unpriced = f"and {spend.unpriced} of unknown price" if spend.unpriced else ""
    yield "burns", per_hour(spend.usd_per_hour), unpriced
    yield "today", signed(spend.today_usd), ""
    yield "this month", signed(spend.month_usd), ""
    left = f"{signed(spend.left_running_month_usd)} if what runs is left running"
    yield (
        "whole month",
        signed(spend.projected_month_usd),
        "at the pace of the last 7 days" + (f"; {left}" if spend.usd_per_hour else ""),
    )
    for limit in spend.limits:
        yield f"{limit.period}'s budget", signed(limit.budget_usd), _limit(limit)


def _limit(limit: Limit) -> str:
    used = f"{limit.share:.0%} used, {signed(limit.left_usd)} left"
    return f"{used}; what has no price is not counted" if limit.unpriced else used


def _rows(report: CostReport, *, width: int, blocks: bool) -> str:
    columns = _columns(report, wide=width >= NARROW)
    lines = table(list(zip(*columns, strict=True))).splitlines()
    longest = max(len(line) for line in lines)
    room = min(width - longest - 2, _MOST_BAR)
    spent = [None if row.money is None else float(row.money.spent_usd) for row in report.rows]
    drawn = bars(spent, width=room, blocks=blocks) if room >= _LEAST_BAR else [""] * len(spent)
    return "".join(
        f"{line:<{longest}}  {bar}".rstrip() + "\n"
        for line, bar in zip(lines, ["", *drawn], strict=True)
    )


def _columns(report: CostReport, *, wide: bool) -> list[list[Cell]]:
    """Return the columns with their heads, figures aligned to the right."""
    rows = report.rows

    def money(of: Callable[[Money], MicroUsd | None]) -> list[str]:
        return [signed(None if row.money is None else of(row.money)) for row in rows]

    names: list[Cell] = [report.group_by, *(row.name for row in rows)]
    answers = _right("answers", [f"{row.use.answers:,}" for row in rows])
    cloud = _right("cloud", [signed(row.use.cloud_usd) for row in rows])
    if not wide:
        return [names, _right("spent", money(lambda each: each.spent_usd)), answers, cloud]
    return [
        names,
        _right("metered", money(lambda each: each.metered_usd)),
        _right("billed", money(lambda each: each.billed_usd)),
        _right("difference", money(lambda each: each.difference_usd)),
        answers,
        _right("tokens", [count(row.use.tokens) for row in rows]),
        cloud,
    ]


def _right(head: str, cells: list[str]) -> list[Cell]:
    longest = max(len(each) for each in (head, *cells))
    return [f"{each:>{longest}}" for each in (head, *cells)]


def signed(money: MicroUsd | None) -> str:
    """Return dollars, ``-$0.03`` below zero, ``unknown`` where that is what they are."""
    if money is None:
        return _UNKNOWN
    return f"-{amount(MicroUsd(-money))}" if money < 0 else amount(money)


def fine(dollars: Decimal | None) -> str:
    """Return a small price with two digits that say something: ``$0.0042``, ``$0.00000031``."""
    if dollars is None:
        return _UNKNOWN
    if dollars == 0 or abs(dollars) >= 1:
        return f"${dollars:.2f}"
    places = max(2, 1 - dollars.adjusted())
    return f"${dollars:.{places}f}"


def count(tokens: int) -> str:
    """Return a number of tokens as it is said: ``24.1 M``, ``812 k``, ``17``."""
    if tokens >= 999_500:
        return f"{tokens / 1_000_000:,.1f} M"
    return f"{tokens / 1000:.0f} k" if tokens >= 9_950 else f"{tokens:,}"


def _moment(moment: float, zone: tzinfo | None) -> str:
    name = "local time" if zone is None else str(zone)
    return f"{datetime.fromtimestamp(moment, zone):%Y-%m-%d %H:%M} {name}"
