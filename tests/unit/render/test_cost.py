"""The cost report as people and programs see it.

After a change that is meant: ``python -m tests.unit.render.test_cost`` writes the golden files anew.
"""

import csv
import io
import json
from datetime import UTC
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import (
    BreakEven,
    Compared,
    CostReport,
    CostRow,
    Limit,
    Money,
    Savings,
    Spend,
    UnitCosts,
    Use,
)
from llmctl.render.bars import bars
from llmctl.render.cost import cost_text, count, fine, signed
from llmctl.render.cost_documents import cost_csv, cost_document

GOLDEN = Path(__file__).parents[2] / "golden" / "cost"
START = 1_795_132_800.0  # 2026-11-20 00:00 UTC
DAY_S = 86_400.0
SOURCE = "https://example.com/prices"


def usd(dollars) -> MicroUsd:
    return MicroUsd(round(Decimal(str(dollars)) * 1_000_000))


def a_day(number, metered, billed, *, pending="0", use=None) -> CostRow:
    begins = START + number * DAY_S
    return CostRow(
        name=f"2026-11-{20 + number}",
        money=None
        if metered is None
        else Money(
            metered_usd=usd(metered),
            running_usd=usd(metered),
            running_s=36_000.0,
            billed_usd=None if billed is None else usd(billed),
            unbilled_usd=usd(metered if billed is None else pending),
        ),
        use=use or USE,
        begins=begins,
        ends=begins + DAY_S,
    )


USE = Use(
    requests=1_230, errors=12, hits=830, shared=18, misses=370,
    prompt_tokens=23_400_000, completion_tokens=512_000,
    hit_tokens=16_100_000, hit_completion_tokens=350_000,
    miss_tokens=7_812_000, miss_completion_tokens=162_000,
    hit_s=4.2, engine_s=3_700.0,
    cloud_usd=usd("51.92"), cloud_cached_usd=usd("9.8"), cloud_hits_usd=usd("35.10"),
)  # fmt: skip

FULL = CostReport(
    since=START,
    until=START + 3.5 * DAY_S,
    timezone="UTC",
    group_by="day",
    money=Money(
        metered_usd=usd("12.41"), running_usd=usd("12.105"), stopped_usd=usd("0.2"),
        traffic_usd=usd("0.105"), running_s=126_000.0, stopped_s=43_200.0,
        billed_usd=usd("9.8712"), unbilled_usd=usd("2.4"), unmetered_usd=usd("0.05"),
        refunded_usd=usd("0.10"), rounding_usd=usd("0.0015"),
    ),
    use=USE,
    unit=UnitCosts(
        usd_per_million_tokens=Decimal("0.513"), usd_per_hit=Decimal("0.0000165"),
        usd_per_miss=Decimal("0.0331"), busy_usd_per_hit=Decimal("0.00000171"),
        busy_usd_per_miss=Decimal("0.00346"),
    ),
    savings=Savings(
        cloud_usd=usd("51.92"), cloud_cached_usd=usd("9.8"), saved_usd=usd("39.6488"),
        saved_share=0.7636, least_saved_share=-0.252, cache_cloud_usd=usd("35.1"),
        cache_engine_s=7_993.8, cache_usd=usd("0.768"),
        compared_with=[
            Compared(model="claude-sonnet-5", asked="qwen3-coder", requests=1_100,
                     assumed=True, source=SOURCE, checked="2026-11-23"),
            Compared(model="claude-haiku-4-5", asked="claude-haiku-4-5", requests=118,
                     assumed=False, source=SOURCE, checked="2026-11-23"),
        ],
    ),
    break_even=BreakEven(utilisation=0.0294, break_even_utilisation=0.0069, hours_a_day=0.167),
    spend=Spend(
        at=START + 3.5 * DAY_S, timezone="UTC", usd_per_hour=usd("0.36"),
        today_usd=usd("2.5"), month_usd=usd("12.41"), projected_month_usd=usd("38.20"),
        left_running_month_usd=usd("77.21"),
        limits=[
            Limit(period="day", begins=START + 3 * DAY_S, ends=START + 4 * DAY_S,
                  budget_usd=usd(3), spent_usd=usd("2.5")),
            Limit(period="month", begins=START - 19 * DAY_S, ends=START + 11 * DAY_S,
                  budget_usd=usd(60), spent_usd=usd("12.41")),
        ],
    ),
    rows=[
        a_day(0, "3.61", "3.581"),
        a_day(1, "3.60", "3.6502", pending="0.4"),
        a_day(2, None, None, use=Use(requests=3, hits=3)),
        a_day(3, "2.5", None),
    ],
    notes=["what runpod billed is unknown: RunPod answered the bill with HTTP 500: internal error"],
)  # fmt: skip

UNKNOWN = replace(
    FULL,
    money=None,
    unit=UnitCosts(),
    savings=replace(
        FULL.savings, saved_usd=None, saved_share=None, least_saved_share=None, cache_usd=None
    ),
    break_even=BreakEven(utilisation=None, break_even_utilisation=None),
    rows=[a_day(0, None, None)],
    notes=[
        "nothing was rented in this time: what it cost is unknown; "
        "--usd-per-hour gives a price to your own machine"
    ],
)

NAMED = replace(
    FULL,
    group_by="instance",
    rows=[
        replace(a_day(0, "7.21", "7.2312"), name="main (vast 30000017)", begins=None, ends=None),
        replace(a_day(0, "5.20", None), name="big (runpod x7k2pod0001)", begins=None, ends=None),
        replace(a_day(0, None, None), name="cache", begins=None, ends=None),
    ],
    notes=[],
)

REPORTS = {"full": FULL, "unknown": UNKNOWN, "instances": NAMED}
WIDTHS = (60, 120)


def made(name: str) -> str:
    which, _, form = name.partition("-")
    report = REPORTS[which]
    if form == "json":
        return cost_document(report)
    if form == "csv":
        return cost_csv(report)
    kind, _, width = form.partition("-")
    return cost_text(report, zone=UTC, width=int(width), blocks=kind == "table")


NAMES = [
    *(f"{which}-{kind}-{width}" for which in REPORTS for kind in ("table", "plain") for width in WIDTHS),
    *(f"{which}-{form}" for which in REPORTS for form in ("json", "csv")),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_it_looks_as_recorded(name):
    assert made(name) == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("which", REPORTS)
@pytest.mark.parametrize("width", [60, 80, 96, 120, 200])
def test_no_line_is_wider_than_the_terminal(which, width):
    text = cost_text(REPORTS[which], zone=UTC, width=width)
    assert [line for line in text.splitlines() if len(line) > width] == []


@pytest.mark.parametrize("which", REPORTS)
def test_plain_text_is_ascii(which):
    text = cost_text(REPORTS[which], zone=UTC, width=120, blocks=False)
    assert text.isascii()
    assert ("####" in text) == (which != "unknown")


def test_unknown_is_never_shown_as_zero():
    text = cost_text(UNKNOWN, zone=UTC, width=120)
    assert "metered  unknown" in text
    assert "a miss            unknown" in text
    document = json.loads(cost_document(UNKNOWN))
    assert document["money"] is None
    assert document["rows"][0]["money"] is None
    assert document["savings"]["saved_usd"] is None
    (row,) = csv.DictReader(io.StringIO(cost_csv(UNKNOWN)))
    assert row["metered_usd"] == row["billed_usd"] == row["difference_usd"] == ""


def test_times_are_those_of_the_zone():
    text = cost_text(FULL, zone=ZoneInfo("Europe/Berlin"), width=120)
    assert text.startswith("2026-11-20 01:00 Europe/Berlin to 2026-11-23 13:00 Europe/Berlin")
    assert json.loads(cost_document(FULL))["since"] == "2026-11-20T00:00:00Z"


def test_documents_add_up_to_the_micro_dollar():
    for money in (json.loads(cost_document(FULL))["money"], *rows_of(FULL)):
        if money["billed_usd"]:
            parts = ("metered_usd", "unmetered_usd", "difference_usd")
            known = sum(Decimal(money[part]) for part in parts) - Decimal(money["unbilled_usd"])
            assert known == Decimal(money["billed_usd"])


def rows_of(report):
    return [
        row
        for row in csv.DictReader(io.StringIO(cost_csv(report)))
        if row["metered_usd"]
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("dollars", "text"),
    [
        ("12.346", "$12.35"),
        ("0.513", "$0.51"),
        ("0.0331", "$0.033"),
        ("0.00346", "$0.0035"),
        ("0.00000171", "$0.0000017"),
        ("0", "$0.00"),
        (None, "unknown"),
    ],
)
def test_small_prices_keep_two_digits(dollars, text):
    assert fine(None if dollars is None else Decimal(dollars)) == text


def test_amounts_below_zero_and_counts():
    assert signed(MicroUsd(-30_000)) == "-$0.03"
    assert signed(None) == "unknown"
    assert [count(n) for n in (17, 9_949, 9_950, 999_499, 999_500, 24_123_000)] == [
        "17", "9,949", "10 k", "999 k", "1.0 M", "24.1 M",
    ]  # fmt: skip


def test_bars_are_in_proportion_and_show_whatever_is_there():
    assert bars([8.0, 4.0, 0.01, 0.0, None], width=4, blocks=True) == ["████", "██", "▏", "", ""]
    assert bars([8.0, 4.0, 0.01, None], width=4, blocks=False) == ["####", "##", "#", ""]
    assert bars([None, 0.0], width=4, blocks=True) == ["", ""]
    assert bars([], width=4, blocks=True) == []
    assert bars([5.5, 8.0], width=8, blocks=True)[0] == "█████▌"


if __name__ == "__main__":
    for each in NAMES:
        (GOLDEN / f"{each}.txt").write_text(made(each))
