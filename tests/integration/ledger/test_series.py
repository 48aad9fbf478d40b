"""``series`` against sums made in Python; ledgers of the first schema."""

import random
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from datetime import UTC, datetime
from math import ceil
from zoneinfo import ZoneInfo

import pytest

from llmctl.core.sqlitefile import open_database
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.queries import series, summary
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.schema import MIGRATIONS
from llmctl.ledger.writer import ADD_KIND, LedgerWriter
from tests.clocks import ManualClock

START = datetime(2026, 10, 23, 21, tzinfo=UTC).timestamp()
BERLIN = ZoneInfo("Europe/Berlin")
ADD_AS_ONCE = """INSERT INTO requests (at, kind, prompt_tokens, completion_tokens,
    cached_prompt_tokens, first_token_ms, first_token_step, total_ms, request_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
"""How versions before the third wrote a row."""
LABELS = {"hour": "%Y-%m-%dT%H%z", "day": "%Y-%m-%d", "month": "%Y-%m"}


def random_usages(count: int) -> list[Usage]:
    """Requests over eleven days, the end of summer time and of a month among them."""
    chance = random.Random(7)
    return [random_usage(chance, START + chance.random() * 11 * 86_400) for _ in range(count)]


def random_usage(chance: random.Random, at: float) -> Usage:
    failed = chance.random() < 0.1
    first = None if failed else chance.lognormvariate(5, 2)
    return Usage(
        at=at,
        request_id="r",
        tenant=chance.choice("abc"),
        model_asked=chance.choice(["claude-a", "claude-b"]),
        model_used="" if failed else "qwen",
        backend="ollama:http://a",
        prompt_tokens=chance.randrange(9000),
        completion_tokens=chance.randrange(1, 900),
        cached_prompt_tokens=chance.randrange(100),
        cache=chance.choice(list(CacheOutcome)),
        first_token_ms=first,
        total_ms=(first or 0) + chance.randrange(5000),
        status=529 if failed else 200,
        error=chance.choice(["", "overloaded_error"]) if failed else "",
    )


async def write(path, usages):
    writer = LedgerWriter(path, clock=ManualClock())
    await writer.start()
    for usage in usages:
        writer.append(usage)
    await writer.close()


@pytest.fixture
def usages():
    return random_usages(2000)


@pytest.fixture
async def ledger(tmp_path, usages):
    await write(tmp_path / "ledger.db", usages)
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        yield connection


def label(at, by, zone):
    return datetime.fromtimestamp(at, zone).strftime(LABELS[by])


def percentile(values, share):
    return sorted(values)[ceil(share * len(values)) - 1]


@pytest.mark.parametrize("zone", [UTC, BERLIN])
@pytest.mark.parametrize("by", LABELS)
@pytest.mark.parametrize("limits", [(None, None), (START + 90_000, START + 400_000)])
def test_periods_hold_the_rows_of_their_time(ledger, usages, by, zone, limits):
    since, until = limits
    expected = defaultdict(list)
    for usage in sorted(usages, key=lambda usage: usage.at):
        if (since or 0) <= usage.at < (until or 1e12):
            expected[label(usage.at, by, zone)].append(usage)
    found = series(ledger, since, until, by=by, zone=zone)
    assert [label(period.start, by, zone) for period in found.periods] == list(expected)
    for period, rows in zip(found.periods, expected.values(), strict=True):
        assert period.start <= min(row.at for row in rows)
        assert max(row.at for row in rows) < period.end
        total = period.total
        assert total.requests == len(rows)
        assert total.prompt_tokens == sum(row.prompt_tokens for row in rows)
        assert total.completion_tokens == sum(row.completion_tokens for row in rows)
        assert {name: n for name, n in total.cache.items() if n} == Counter(
            row.cache for row in rows
        )
        assert period.errors == Counter(
            row.error or "status 529" for row in rows if row.status >= 400
        )
        latencies = [row.first_token_ms for row in rows if row.first_token_ms is not None]
        assert total.first_token_ms.p95 == pytest.approx(percentile(latencies, 0.95), rel=0.0101)


@pytest.mark.parametrize("limits", [(None, None), (START + 90_000, None)])
def test_together_they_are_the_summary(ledger, limits):
    found = series(ledger, *limits, by="day")
    whole = summary(ledger, *limits)
    assert found.total == whole.total
    assert found.errors == whole.errors
    assert found.total.tokens_per_s is not None


def test_speed_is_tokens_after_the_first_over_their_time(ledger, usages):
    rows = [row for row in usages if row.status == 200 and row.cache in ("miss", "bypass")]
    tokens = sum(row.completion_tokens - 1 for row in rows)
    seconds = sum(int(row.total_ms - row.first_token_ms) for row in rows) / 1000
    assert summary(ledger).total.tokens_per_s == pytest.approx(tokens / seconds, rel=0.01)


async def test_no_requests_no_periods(tmp_path):
    await write(tmp_path / "ledger.db", [])
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        found = series(connection, by="hour")
    assert (found.periods, found.total.requests, found.errors) == ([], 0, {})


async def test_years_without_requests_cost_nothing(tmp_path):
    far = [Usage(at=at, request_id="r", tenant="t", model_asked="m") for at in (5.0, START)]
    await write(tmp_path / "ledger.db", far)
    statements = []
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        connection.set_trace_callback(statements.append)
        found = series(connection, by="hour")
    assert [period.start for period in found.periods] == [0.0, START]
    assert len(statements) < 12


@pytest.fixture
def first_schema(tmp_path, usages):
    """A ledger as llmctl 0.2 left it."""
    path = tmp_path / "old.db"
    with closing(open_database(path, MIGRATIONS[:1])) as db:
        for number, usage in enumerate(usages, 1):
            kind = (usage.tenant, "asked", usage.model_used, "b", number, usage.cache.value)
            db.execute(ADD_KIND, (*kind, usage.status, usage.error))
            figures = (usage.prompt_tokens, usage.completion_tokens, usage.cached_prompt_tokens)
            latency = (usage.first_token_ms, None if usage.first_token_ms is None else 7)
            db.execute(ADD_AS_ONCE, (usage.at, number, *figures, *latency, usage.total_ms, "r"))
    return path


def test_older_files_are_read_as_they_are(first_schema):
    with closing(open_read_only(first_schema)) as connection:
        before = summary(connection), series(connection, by="day")
    with closing(sqlite3.connect(first_schema)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    with closing(open_database(first_schema, MIGRATIONS)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
    with closing(open_read_only(first_schema)) as connection:
        assert (summary(connection), series(connection, by="day")) == before


def test_the_view_for_people_survives(first_schema, usages):
    open_database(first_schema, MIGRATIONS).close()
    with closing(sqlite3.connect(first_schema)) as db:
        rows = db.execute("SELECT prompt_tokens FROM ledger").fetchall()
    assert rows == [(usage.prompt_tokens,) for usage in usages]


def test_an_older_llmctl_that_has_the_file_open_loses_nothing(first_schema, usages):
    """It adds rows, and kinds, as it always did, while a new one reads them."""
    with closing(open_database(first_schema, MIGRATIONS[:2])) as older:
        open_database(first_schema, MIGRATIONS).close()
        kind = ("zoe", "asked", "qwen", "b", True, "miss", 200, "")
        number = older.execute(ADD_KIND, kind).lastrowid
        older.execute(ADD_AS_ONCE, (START, number, 7, 8, 9, 100.0, 230, 600.0, "late"))
    with closing(open_read_only(first_schema)) as connection:
        found = summary(connection)
        days = series(connection, by="day")
    assert found.by_tenant["zoe"].prompt_tokens == 7
    assert found.total.requests == days.total.requests == len(usages) + 1
    assert found.total == days.total
