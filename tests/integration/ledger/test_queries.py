"""``summary`` against sums made in Python, over random ledgers."""

import asyncio
import random
import sqlite3
from collections import Counter
from contextlib import closing
from math import ceil
from pathlib import Path

import pytest

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.costs import sums
from llmctl.ledger.queries import series, summary
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.writer import LedgerWriter
from tests.clocks import ManualClock

START = 1_800_000_000.0


def random_usage(chance: random.Random, at: float) -> Usage:
    failed = chance.random() < 0.1
    outcome = chance.choice(list(CacheOutcome))
    return Usage(
        at=at,
        request_id=f"req_{at}",
        tenant=chance.choice(["ann", "bob"]),
        model_asked=chance.choice(["claude-sonnet-4-5", "claude-haiku-4-5"]),
        model_used="" if failed else chance.choice(["qwen3-coder", "qwen2.5-coder:7b"]),
        backend="" if failed else chance.choice(["ollama:http://a", "openai:http://b"]),
        stream=chance.random() < 0.5,
        prompt_tokens=chance.randrange(50_000),
        completion_tokens=chance.randrange(2000),
        cached_prompt_tokens=chance.randrange(1000),
        cache=outcome,
        first_token_ms=None if failed else chance.lognormvariate(5, 2),
        total_ms=chance.lognormvariate(8, 1),
        status=chance.choice([499, 529]) if failed else 200,
        error=chance.choice(["", "overloaded_error", "api_error"]) if failed else "",
    )


def write(path: Path, usages: list[Usage]) -> None:
    async def fill() -> None:
        writer = LedgerWriter(path, clock=ManualClock())
        await writer.start()
        for usage in usages:
            writer.append(usage)
        await writer.close()

    asyncio.run(fill())


@pytest.fixture(scope="module")
def usages() -> list[Usage]:
    chance = random.Random(5)
    return [random_usage(chance, START + 10 * number) for number in range(3000)]


@pytest.fixture(scope="module")
def path(tmp_path_factory, usages) -> Path:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    write(path, usages)
    return path


def nearest_rank(values: list[float], share: float) -> float:
    return sorted(values)[ceil(share * len(values)) - 1]


RANGES = {
    "all": (None, None),
    "most of it": (START + 1000, None),
    "the last minutes": (START + 29_700, None),
    "one hour": (START + 7200, START + 10_800),
    "until the middle": (None, START + 15_000),
    "before it began": (None, START),
    "after it ended": (START + 99_999, None),
}


@pytest.mark.parametrize("name", RANGES)
def test_sums_are_those_of_the_rows_in_the_range(path, usages, name):
    since, until = RANGES[name]
    inside = [
        usage
        for usage in usages
        if (since is None or usage.at >= since) and (until is None or usage.at < until)
    ]
    with closing(open_read_only(path)) as connection:
        found = summary(connection, since, until)
    total = found.total
    assert (found.since, found.until) == (since, until)
    assert total.requests == len(inside)
    assert total.errors == sum(usage.status >= 400 for usage in inside)
    assert total.prompt_tokens == sum(usage.prompt_tokens for usage in inside)
    assert total.completion_tokens == sum(usage.completion_tokens for usage in inside)
    assert total.cached_prompt_tokens == sum(usage.cached_prompt_tokens for usage in inside)
    outcomes = Counter(usage.cache for usage in inside)
    assert total.cache == {outcome.value: outcomes[outcome] for outcome in CacheOutcome}
    assert found.errors == Counter(
        usage.error or f"status {usage.status}" for usage in inside if usage.status >= 400
    )
    for part, key in (
        (found.by_cache, lambda usage: usage.cache.value),
        (found.by_model, lambda usage: usage.model_used or usage.model_asked),
        (found.by_backend, lambda usage: usage.backend),
        (found.by_tenant, lambda usage: usage.tenant),
    ):
        assert {name: sums.requests for name, sums in part.items()} == Counter(map(key, inside))
        assert sum(sums.prompt_tokens for sums in part.values()) == total.prompt_tokens
        assert list(part) == sorted(part, key=lambda name: (-part[name].requests, name))


@pytest.mark.parametrize("name", ["all", "one hour", "the last minutes"])
def test_percentiles_are_within_a_percent(path, usages, name):
    since, until = RANGES[name]
    inside = [
        usage
        for usage in usages
        if usage.first_token_ms is not None
        and (since is None or usage.at >= since)
        and (until is None or usage.at < until)
    ]
    with closing(open_read_only(path)) as connection:
        found = summary(connection, since, until)
    parts = [(found.total, inside)]
    parts += [
        (found.by_model[m], [u for u in inside if u.model_used == m]) for m in ("qwen3-coder",)
    ]
    parts += [(found.by_cache[c], [u for u in inside if u.cache == c]) for c in ("hit", "miss")]
    for figures, part in parts:
        latencies = [usage.first_token_ms for usage in part]
        for share, figure in (
            (0.50, figures.first_token_ms.p50),
            (0.95, figures.first_token_ms.p95),
            (0.99, figures.first_token_ms.p99),
        ):
            assert figure == pytest.approx(nearest_rank(latencies, share), rel=0.0101)


def test_the_hit_ratio_leaves_out_what_did_not_look(tmp_path):
    outcomes = ["hit"] * 6 + ["miss"] * 1 + ["shared"] * 1 + ["bypass"] * 20
    write(
        tmp_path / "ledger.db",
        [
            Usage(
                at=START, request_id="r", tenant="t", model_asked="m", cache=CacheOutcome(outcome)
            )
            for outcome in outcomes
        ],
    )
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        found = summary(connection)
    assert found.total.hit_ratio == 0.75
    assert found.by_cache["bypass"].hit_ratio is None
    assert found.total.first_token_ms is None


def test_an_empty_ledger_sums_to_nothing(tmp_path):
    write(tmp_path / "ledger.db", [])
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        for since in (None, START):
            found = summary(connection, since)
            assert found.total.requests == 0
            assert found.total.hit_ratio is None
            assert set(found.total.cache) == set(CacheOutcome)
            assert (found.errors, found.by_model) == ({}, {})


async def test_it_is_read_while_it_is_written(tmp_path):
    writer = LedgerWriter(tmp_path / "ledger.db", clock=ManualClock())
    await writer.start()
    with closing(open_read_only(tmp_path / "ledger.db")) as connection:
        for number in range(1, 4):
            writer.append(Usage(at=START, request_id="r", tenant="t", model_asked="m"))
            await writer.flush()
            assert summary(connection).total.requests == number
    await writer.close()


READS = {
    "summary": summary,
    "series": lambda connection, since: series(connection, since, by="hour"),
    "sums": sums,
}


@pytest.mark.parametrize("since", [None, START + 29_700])
@pytest.mark.parametrize("name", READS)
def test_nothing_is_sorted_and_nothing_read_in_vain(path, name, since):
    """Each sum is a walk along an index between two times, without a look into the table."""
    statements: list[str] = []
    with closing(open_read_only(path)) as connection:
        connection.set_trace_callback(statements.append)
        READS[name](connection, since)
        connection.set_trace_callback(None)
        summed = next(text for text in statements if "count(*)" in text)
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {summed}"))
        program = connection.execute(f"EXPLAIN {summed}").fetchall()
        (table,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'requests'"
        ).fetchone()
    assert "=? AND at>? AND at<?)" in plan
    assert "TEMP B-TREE" not in plan
    # the table is opened, because a column is computed from it, and then never read
    cursors = {row[2] for row in program if row[1] == "OpenRead" and row[3] == table}
    assert [row for row in program if row[1] == "Column" and row[2] in cursors] == []


@pytest.mark.parametrize("name", READS)
def test_a_report_is_of_one_moment(usages, tmp_path, name):
    """What is written between two of its sums is in neither."""
    write(tmp_path / "ledger.db", usages)
    add = """INSERT INTO requests (at, kind, prompt_tokens, completion_tokens,
        cached_prompt_tokens, total_ms, request_id)
        SELECT at, kind, 1, 1, 1, 1.0, 'late' FROM requests"""
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    with closing(other), closing(open_read_only(tmp_path / "ledger.db")) as connection:
        before = READS[name](connection, None)
        late = [add]

        def between(statement: str) -> None:
            if "count(*)" in statement and late:
                other.execute(late.pop())

        connection.set_trace_callback(between)
        assert READS[name](connection, None) == before
        connection.set_trace_callback(None)
        assert late == []
        assert READS[name](connection, None) != before


def test_a_ledger_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(NotFound, match="no ledger at"):
        open_read_only(tmp_path / "ledger.db")
    assert not list(tmp_path.iterdir())


def test_a_ledger_that_cannot_be_read_says_why(tmp_path):
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(b"this is no database " * 500)
    with pytest.raises(LlmctlError, match="damaged.db is damaged"):
        open_read_only(damaged)
    newer = tmp_path / "newer.db"
    with closing(sqlite3.connect(newer)) as db:
        db.execute("PRAGMA user_version=99")
    with pytest.raises(
        LlmctlError, match="newer llmctl wrote the ledger at .*: it has schema 99, this one reads 3"
    ):
        open_read_only(newer)
    begun = tmp_path / "begun.db"
    begun.touch()
    with pytest.raises(LlmctlError, match="begun.db was begun, and nothing could be written"):
        open_read_only(begun)


def test_damage_found_while_reading_is_an_error_of_ours(path, tmp_path):
    content = path.read_bytes()
    damaged = tmp_path / "ledger.db"
    damaged.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with closing(open_read_only(damaged)) as connection:
        with pytest.raises(LlmctlError, match="the ledger cannot be read"):
            summary(connection)
