import os
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmctl.ledger.periods import bounds

BERLIN = ZoneInfo("Europe/Berlin")
KOLKATA = ZoneInfo("Asia/Kolkata")
ZONES = st.sampled_from([UTC, BERLIN, KOLKATA, ZoneInfo("America/St_Johns")])


def epoch(*fields, zone=UTC):
    return datetime(*fields, tzinfo=zone).timestamp()


@given(
    at=st.floats(min_value=0, max_value=4e9),
    by=st.sampled_from(["hour", "day", "month"]),
    zone=ZONES,
)
@example(at=1.9999995231628418, by="hour", zone=UTC)
def test_a_period_holds_its_moment_and_touches_the_next(at, by, zone):
    start, end = bounds(at, by, zone)
    assert start <= at < end
    assert bounds(start, by, zone) == (start, end)
    assert bounds(end, by, zone)[0] == end


@pytest.mark.parametrize(
    ("by", "start", "end"),
    [
        ("hour", (2026, 11, 23, 4), (2026, 11, 23, 5)),
        ("day", (2026, 11, 23), (2026, 11, 24)),
        ("month", (2026, 11, 1), (2026, 12, 1)),
    ],
)
def test_in_utc(by, start, end):
    assert bounds(epoch(2026, 11, 23, 4, 5, 6), by) == (epoch(*start), epoch(*end))


def test_days_where_clocks_change():
    for day, hours in ((datetime(2026, 3, 29), 23), (datetime(2026, 10, 25), 25)):
        at = day.replace(hour=12, tzinfo=BERLIN).timestamp()
        start, end = bounds(at, "day", BERLIN)
        assert start == day.replace(tzinfo=BERLIN).timestamp()
        assert end - start == timedelta(hours=hours).total_seconds()


def test_hours_of_a_zone_that_is_half_an_hour_off():
    at = epoch(2026, 11, 23, 9, 59, zone=KOLKATA)
    assert bounds(at, "hour", KOLKATA)[0] == epoch(2026, 11, 23, 9, zone=KOLKATA)


def test_without_a_zone_it_is_that_of_the_machine(monkeypatch):
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        at = epoch(2026, 10, 25, 3, 30)
        for by in ("hour", "day", "month"):
            assert bounds(at, by, None) == bounds(at, by, BERLIN)
    finally:
        monkeypatch.delenv("TZ")
        assert "TZ" not in os.environ
        time.tzset()
