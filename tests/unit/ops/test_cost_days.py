from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmctl.core.errors import ConfigError
from llmctl.ops.cost_days import (
    date_of,
    day_of,
    days,
    find_zone,
    month_of,
    offsets,
    read_moment,
)

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    UTC,
    BERLIN,
    ZoneInfo("America/New_York"),
    ZoneInfo("America/Santiago"),  # its clocks change at midnight
    ZoneInfo("Africa/Cairo"),
    ZoneInfo("America/Havana"),
    ZoneInfo("Australia/Lord_Howe"),  # by half an hour
    ZoneInfo("Asia/Kathmandu"),
    ZoneInfo("Pacific/Apia"),  # left a day out in 2011
]
HOUR = 3600


def at(text, zone=UTC):
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


moments = st.floats(at("2011-12-01"), at("2030-01-01"))


@pytest.mark.parametrize(
    ("day", "hours"),
    [("2026-03-28", 24), ("2026-03-29", 23), ("2026-10-25", 25), ("2026-10-26", 24)],
)
def test_days_are_longer_and_shorter_where_clocks_change(day, hours):
    found = day_of(at(f"{day}T12:00", BERLIN), BERLIN)
    assert found.date.isoformat() == day
    assert found.ends - found.begins == hours * HOUR


def test_a_day_that_has_no_midnight_begins_with_its_first_moment():
    santiago = ZoneInfo("America/Santiago")
    # 2026-09-06: 00:00 does not exist, 01:00 follows 23:59
    found = day_of(at("2026-09-06T12:00", santiago), santiago)
    assert found.ends - found.begins == 23 * HOUR
    assert datetime.fromtimestamp(found.begins, santiago).hour == 1


def test_a_day_that_was_left_out_is_nobodys():
    apia = ZoneInfo("Pacific/Apia")
    found = days(at("2011-12-29T12:00", apia), at("2012-01-01T12:00", apia), apia)
    assert [each.date.day for each in found] == [29, 31, 1]


@example(moment=1893455999.9999998, zone=UTC)
@given(moment=moments, zone=st.sampled_from(ZONES))
def test_every_moment_is_in_the_day_of_its_date(moment, zone):
    day = day_of(moment, zone)
    assert day.begins <= moment < day.ends
    assert day.date == date_of(moment, zone)
    assert month_of(moment, zone).begins <= day.begins
    assert day.ends <= month_of(moment, zone).ends


@given(since=moments, length=st.floats(0, 500 * 86_400), zone=st.sampled_from(ZONES))
def test_days_cover_a_range_without_gap_or_overlap(since, length, zone):
    until = since + length
    found = days(since, until, zone)
    if since == until:
        assert found == []
        return
    assert (found[0].begins, found[-1].ends) == (since, until)
    assert all(one.ends == other.begins for one, other in pairwise(found))
    assert all(each.begins < each.ends for each in found)


@given(
    since=moments,
    length=st.floats(1, 500 * 86_400),
    share=st.floats(0, 1, exclude_max=True),
    zone=st.sampled_from(ZONES),
)
def test_offsets_lead_to_the_local_date(since, length, share, zone):
    moment = since + length * share
    shifts = offsets(since, since + length, zone)
    offset = next(shift for until, shift in shifts if until is None or moment < until)
    assert date.fromordinal(719_163 + int((moment + offset) // 86_400)) == date_of(moment, zone)


def test_a_month_ends_where_the_next_begins():
    found = month_of(at("2026-10-31T23:30", BERLIN), BERLIN)
    assert found.begins == at("2026-10-01", BERLIN)
    assert found.ends == at("2026-11-01", BERLIN)
    assert found.ends - found.begins == 31 * 24 * HOUR + HOUR


def test_zones_by_name():
    assert find_zone("UTC") is UTC
    assert find_zone("local") is None
    assert find_zone("Europe/Berlin") == BERLIN
    for wrong in ("Mars/Olympus", "../../etc/passwd", ""):
        with pytest.raises(ConfigError, match="no such time zone"):
            find_zone(wrong)


def test_this_machines_own_zone(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        found = day_of(at("2026-10-25T12:00", BERLIN), None)
        assert found.ends - found.begins == 25 * HOUR
        change = at("2026-10-25T01:00")
        assert offsets(found.begins, found.ends, None) == [(change, 7200), (None, 3600)]
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("7d", at("2026-11-16T12:00")),
        ("90m", at("2026-11-23T10:30")),
        ("2026-11-01", at("2026-11-01", BERLIN)),
        ("2026-11-01T06:00", at("2026-11-01T06:00", BERLIN)),
        ("2026-11-01T06:00:00Z", at("2026-11-01T06:00")),
        ("today", at("2026-11-23", BERLIN)),
        ("month", at("2026-11-01", BERLIN)),
    ],
)
def test_moments_are_read_as_people_write_them(text, moment):
    assert read_moment(text, now=at("2026-11-23T12:00"), zone=BERLIN) == moment


def test_what_is_no_moment_is_refused():
    with pytest.raises(ValueError, match="expected a time ago"):
        read_moment("yesterday", now=0.0, zone=UTC)
