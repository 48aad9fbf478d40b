"""The journal in SQLite and in a real Valkey: order, bounds, time, sharing, damage, kill -9."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")

from llmctl.cache.address import redis_address
from llmctl.semantic.evidence import Outcomes
from llmctl.semantic.index import unit
from llmctl.semantic.journal import START, Journal, limits
from llmctl.semantic.records import ENTRY, OUTCOME, entry_row, outcome_row, read_entry
from llmctl.semantic.redis import RedisJournal
from llmctl.semantic.shelves import LocalShelves, group_of
from llmctl.semantic.sqlite import SqliteJournal
from tests.clocks import ManualClock
from tests.integration.eventually import eventually
from tests.integration.valkey import Valkey, valkey
from tests.unit.semantic.library import SCOPE, AtOnce, entry, outcome, seal

__all__ = ["valkey"]

Open = Callable[..., Any]


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Return ``opened(clock=…, max_entries=…, house=…)``: journals in one place."""
    server = request.getfixturevalue("valkey") if request.param == "redis" else None

    @asynccontextmanager
    async def journal(
        *, clock: ManualClock | None = None, max_entries: int = 1000, house: str = "h"
    ) -> AsyncIterator[Journal]:
        clock, bounds = clock or ManualClock(), limits(max_entries)
        made: Journal = SqliteJournal(tmp_path / f"{house}.db", bounds, clock=clock)
        if server is not None:
            address = redis_address(url=server.url)
            made = RedisJournal(address, bounds, house=house, clock=clock)
        await made.start()
        try:
            yield made
        finally:
            await made.close()

    return journal


async def rows(journal: Journal, kind: int = ENTRY) -> list[bytes]:
    """Return the keys of all rows, page by page."""
    keys, after = [], START
    while page := await journal.read(kind, after):
        keys += [placed.key for placed in page]
        after = page[-1].position
    return keys


async def until(journal: Journal, count: int, kind: int = ENTRY) -> list[bytes]:
    """Wait until that many rows are there."""
    async with asyncio.timeout(20):
        while len(found := await rows(journal, kind)) != count:
            await asyncio.sleep(0.01)
    return found


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


async def test_rows_come_back_in_order_and_by_kind(opened):
    async with opened() as journal:
        for number in range(5):
            journal.append(entry_row(entry(number), seal()))
        journal.append(outcome_row(outcome(), b"o" * 16, seal()))
        assert await until(journal, 5) == [key(number) for number in range(5)]
        assert await until(journal, 1, OUTCOME) == [b"o" * 16]
        assert not journal.status().detail


async def test_they_are_there_after_a_restart(opened):
    async with opened() as journal:
        journal.append(entry_row(entry(7), seal()))
    async with opened() as journal:
        (placed,) = await journal.read(ENTRY, START)
        assert read_entry(placed, seal()) == entry(7)


async def test_more_than_a_page_is_followed(opened):
    async with opened(max_entries=5000) as journal:
        for start in range(0, 1200, 400):
            for number in range(start, start + 400):
                journal.append(entry_row(entry(number), seal()))
            found = await until(journal, start + 400)
            assert found == [key(number) for number in range(start + 400)]


async def test_two_proxies_see_each_others_entries_and_outcomes(opened):
    async with opened() as one, opened() as other:
        mine, theirs = shelves(one), shelves(other)
        mine.add(entry(1), unit([1.0, 0.0, 0.0]))
        Outcomes(one, seal(), counts=Counter()).note(outcome(entry=key(1)))
        await until(other, 1)
        await until(other, 1, OUTCOME)
        await theirs.follow()
        (found,) = await theirs.nearest(group_of("e", SCOPE), unit([1.0, 0.0, 0.0]), 5)
        assert found.known.key == key(1)
        learnt = Outcomes(other, seal(), counts=Counter())
        await learnt.follow()
        assert len(learnt.evidence(key(1), "e for local").observations) == 1


async def test_two_installs_do_not_meet(opened):
    async with opened(house="one") as one, opened(house="two") as two:
        one.append(entry_row(entry(1), seal()))
        await until(one, 1)
        assert await rows(two) == []


async def test_clear_removes_all_and_forget_what_it_is_given(opened):
    async with opened() as journal:
        for number in (1, 2, 3):
            journal.append(entry_row(entry(number), seal()))
        journal.append(outcome_row(outcome(), b"o" * 16, seal()))
        await until(journal, 3)
        assert await journal.forget([key(2)]) == 1
        assert await rows(journal) == [key(1), key(3)]
        assert await journal.forget([key(1), key(2), key(3)]) == 2
        journal.append(entry_row(entry(9), seal()))
        await until(journal, 1)
        assert await journal.clear() == 2
        assert await rows(journal) == []


def shelves(journal: Journal, counts: Counter[str] | None = None) -> LocalShelves:
    return LocalShelves(
        journal,
        seal(),
        max_entries=1000,
        clock=ManualClock(),
        executor=AtOnce(),
        counts=Counter() if counts is None else counts,
    )


# -- sqlite


async def test_sqlite_keeps_the_newest_and_what_has_not_expired(tmp_path):
    clock = ManualClock()
    journal = SqliteJournal(tmp_path / "s.db", limits(10), clock=clock)
    await journal.start()
    for number in range(30):
        life_s = 100 if number < 25 else 3600
        journal.append(entry_row(entry(number, expires=clock.now() + life_s), seal()))
    await until_settled(journal)
    clock.advance(61)
    journal.append(entry_row(entry(30), seal()))
    assert await until(journal, 10) == [key(number) for number in range(21, 31)]
    clock.advance(61)
    journal.append(entry_row(entry(31), seal()))
    assert await until(journal, 7) == [key(number) for number in range(25, 32)]
    await journal.close()


async def until_settled(journal: SqliteJournal) -> None:
    async with asyncio.timeout(20):
        while journal._thread.waiting():
            await asyncio.sleep(0.01)
    await rows(journal)


async def test_the_same_question_again_replaces_its_row(tmp_path):
    journal = SqliteJournal(tmp_path / "s.db", limits(10), clock=ManualClock())
    await journal.start()
    for question in ("one", "two"):
        journal.append(entry_row(entry(1, question=question), seal()))
    (placed,) = await journal.read(ENTRY, START)
    assert read_entry(placed, seal()).question == "two"
    await journal.close()


async def test_the_file_is_private_and_says_nothing(tmp_path):
    path = tmp_path / "s.db"
    journal = SqliteJournal(path, limits(10), clock=ManualClock())
    await journal.start()
    journal.append(entry_row(entry(1, question="the launch code"), seal()))
    await until(journal, 1)
    await journal.close()
    assert path.stat().st_mode & 0o077 == 0
    for file in tmp_path.iterdir():
        assert b"launch code" not in file.read_bytes()


async def test_flipped_and_swapped_rows_are_misses(tmp_path):
    path = tmp_path / "s.db"
    journal = SqliteJournal(path, limits(100), clock=ManualClock())
    await journal.start()
    for number in range(6):
        journal.append(entry_row(entry(number), seal()))
    await until(journal, 6)
    with sqlite3.connect(path) as db:
        values = dict(db.execute("SELECT key, value FROM journal"))
        one, two, three = key(0), key(1), bytearray(values[key(2)])
        db.execute("UPDATE journal SET value = ? WHERE key = ?", (values[two], one))
        db.execute("UPDATE journal SET value = ? WHERE key = ?", (values[one], two))
        three[50] ^= 4
        db.execute("UPDATE journal SET value = ? WHERE key = ?", (bytes(three), key(2)))
        db.execute("UPDATE journal SET key = ? WHERE key = ?", (b"z" * 32, key(3)))
    db.close()
    counts: Counter[str] = Counter()
    reader = shelves(journal, counts)
    await reader.follow()
    assert len(reader) == 2
    assert counts["damaged"] == 4
    await journal.close()


async def test_a_damaged_file_is_moved_aside(tmp_path):
    path = tmp_path / "s.db"
    path.write_bytes(b"this is no database at all" * 400)
    journal = SqliteJournal(path, limits(10), clock=ManualClock())
    await journal.start()
    journal.append(entry_row(entry(1), seal()))
    await until(journal, 1)
    assert not journal.status().detail
    assert list(tmp_path.glob("s.db.corrupt-*"))
    await journal.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from llmctl.semantic.journal import limits
from llmctl.semantic.records import entry_row
from llmctl.semantic.sqlite import SqliteJournal
from tests.clocks import ManualClock
from tests.unit.semantic.library import entry, seal

async def main():
    journal = SqliteJournal(Path(sys.argv[1]), limits(100_000), clock=ManualClock())
    await journal.start()
    number = int(sys.argv[2])
    while True:
        for _ in range(50):
            number += 1
            journal.append(entry_row(entry(number), seal()))
        await journal.read(1, str(10**9))
        print(number, flush=True)

asyncio.run(main())
"""


async def test_whatever_moment_a_writer_is_killed_no_row_is_torn(tmp_path):
    path = tmp_path / "s.db"
    acknowledged = 0
    for lap in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(lap * 1_000_000)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert writer.stdout is not None
        for _ in range(3 + 4 * lap):
            assert writer.stdout.readline()
            acknowledged += 50
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    journal = SqliteJournal(path, limits(100_000), clock=ManualClock())
    await journal.start()
    counts: Counter[str] = Counter()
    reader = LocalShelves(
        journal,
        seal(),
        max_entries=100_000,
        clock=ManualClock(),
        executor=AtOnce(),
        counts=counts,
    )
    await reader.follow()
    assert len(reader) >= acknowledged
    assert counts["damaged"] == 0
    await journal.close()


# -- redis


async def test_a_stream_keeps_about_as_many_as_it_may_and_ends_with_its_time(valkey: Valkey):
    clock = ManualClock()
    journal = RedisJournal(redis_address(url=valkey.url), limits(100), house="h", clock=clock)
    await journal.start()
    for number in range(400):
        journal.append(entry_row(entry(number, expires=clock.now() + 3600), seal()))
    await eventually(lambda: not journal._queue)
    await eventually(lambda: int(valkey.command("XLEN", "llmctl:semantic:v1:h:entries")) >= 100)
    assert int(valkey.command("XLEN", "llmctl:semantic:v1:h:entries")) <= 250
    left_ms = int(valkey.command("PTTL", "llmctl:semantic:v1:h:entries"))
    assert 3_500_000 < left_ms <= 3_600_000
    await journal.close()


async def test_without_redis_nothing_fails_and_afterwards_it_works(valkey: Valkey):
    journal = RedisJournal(
        redis_address(url=valkey.url), limits(100), house="h", clock=ManualClock()
    )
    valkey.kill()
    await journal.start()
    journal.append(entry_row(entry(1), seal()))
    assert await journal.read(ENTRY, START) == ()
    assert "cannot be used" in journal.status().detail
    await eventually(lambda: journal.status().failed_writes == 1)
    valkey.start(keep_port=True)
    journal.append(entry_row(entry(2), seal()))
    await until(journal, 1)
    assert not journal.status().detail
    await journal.close()
