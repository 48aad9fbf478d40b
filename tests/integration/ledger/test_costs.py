"""Sums for the cost report over a real ledger file."""

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.errors import LlmctlError
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.costs import UTC, first_request, sums
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.writer import LedgerWriter
from llmctl.ops.cost_days import date_of, offsets

BERLIN = ZoneInfo("Europe/Berlin")


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


def a_usage(moment, **changes):
    usual = {
        "at": moment,
        "request_id": "r",
        "tenant": "me",
        "model_asked": "claude-sonnet-5",
        "model_used": "qwen3-coder",
        "backend": "ollama:http://main.localhost:11434",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        "cached_prompt_tokens": 40,
        "cache": CacheOutcome.MISS,
        "first_token_ms": 5.0,
        "total_ms": 1000.0,
    }
    return Usage(**(usual | changes))


@pytest.fixture
async def fill(tmp_path):
    path = tmp_path / "ledger.db"

    async def filled(*usages):
        ledger = LedgerWriter(path, clock=SystemClock())
        await ledger.start()
        for usage in usages:
            ledger.append(usage)
        await ledger.flush()
        await ledger.close()
        return open_read_only(path)

    return filled


async def test_tokens_and_time_by_kind(fill):
    usages = [a_usage(at("2026-11-23T10:00"))] * 3
    usages.append(a_usage(at("2026-11-23T10:00"), cache=CacheOutcome.HIT, backend="", total_ms=1.5))
    usages.append(a_usage(at("2026-11-23T10:00"), status=529, error="overloaded_error"))
    with closing(await fill(*usages)) as ledger:
        found = {(each.cache, each.failed): each for each in sums(ledger)}
    miss = found["miss", False]
    assert miss[7:] == (3, 300, 30, 120, 3000.0)
    assert date.fromordinal(719_163 + miss.day) == date(2026, 11, 23)
    assert (found["hit", False].backend, found["hit", False].total_ms) == ("", 1.5)
    assert found["miss", True].requests == 1


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-11-23"])
async def test_days_are_those_of_the_zone_also_where_clocks_change(fill, day):
    noon = at(f"{day}T12:00")
    moments = [noon + minutes * 60 for minutes in range(-3 * 1440, 3 * 1440, 7)]
    expected = Counter(date_of(moment, BERLIN) for moment in moments)
    shifts = offsets(moments[0], moments[-1], BERLIN)
    with closing(await fill(*map(a_usage, moments))) as ledger:
        found = sums(ledger, offsets=shifts)
    assert {date.fromordinal(719_163 + each.day): each.requests for each in found} == expected


@pytest.mark.parametrize("count", [2, 100])
async def test_the_end_of_a_range_is_not_in_it(fill, count):
    """A narrow range is read through the index, a wide one is not: both know the same rows."""
    moments = [1_795_000_000.0 + n for n in range(count)]
    with closing(await fill(*map(a_usage, moments))) as ledger:
        (inside,) = sums(ledger, moments[0], moments[1])
        assert inside.requests == 1
        (everything,) = sums(ledger, moments[0], moments[-1] + 1)
        assert everything.requests == count
        assert sums(ledger, moments[-1] + 1) == []


async def test_when_it_began(fill):
    with closing(await fill()) as ledger:
        assert first_request(ledger) is None
        assert sums(ledger, offsets=UTC) == []
    with closing(await fill(a_usage(7.0), a_usage(5.0))) as ledger:
        assert first_request(ledger) == 5.0


def test_what_is_no_ledger_is_said():
    with closing(sqlite3.connect(":memory:")) as database:
        with pytest.raises(LlmctlError, match="the ledger cannot be read"):
            sums(database)
        with pytest.raises(LlmctlError, match="the ledger cannot be read"):
            first_request(database)
