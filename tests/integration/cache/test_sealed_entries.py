"""What lies in a real SQLite file and a real Valkey: unreadable, and believed only as it was put."""

import asyncio
import base64
import os
import sqlite3
import subprocess
import sys
import urllib.parse
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from llmctl.cache.address import redis_address
from llmctl.cache.entries import EntryStore
from llmctl.cache.entry import id_of
from llmctl.cache.keyspace import PREFIX, name_of
from llmctl.cache.marks import Mark, Marks
from llmctl.cache.redis import RedisStore
from llmctl.cache.sealed import Seal
from llmctl.cache.sqlite import SqliteStore
from llmctl.core.clock import SystemClock
from tests.clocks import ManualClock
from tests.integration.eventually import eventually
from tests.integration.valkey import PATIENT_S, Valkey, valkey
from tests.sealing import SEAL_KEY, entry

__all__ = ["valkey"]

KEYS = [bytes([number]) * 32 for number in range(1, 9)]
HOUR = 3600.0
CANARY = "c4n4ry where is the treasure of Lima"
SAID = "c4n4ry under the third palm"


class InSqlite:
    """The file as somebody who may write to it sees it."""

    def __init__(self, directory: Path, clock) -> None:
        self.path = directory / "answers.db"
        self._clock = clock

    def store(self):
        return SqliteStore(self.path, max_bytes=10_000_000, clock=self._clock)

    def _db(self):
        return closing(sqlite3.connect(self.path, isolation_level=None))

    def raw(self, key: bytes) -> bytes | None:
        with self._db() as db:
            row = db.execute("SELECT value FROM entries WHERE key=?", (key,)).fetchone()
        return None if row is None else row[0]

    def plant(self, key: bytes, value: bytes) -> None:
        row = (key, 4e9, self._clock.now(), value)
        with self._db() as db:
            db.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)", row)

    def drop(self, keys: list[bytes]) -> None:
        with self._db() as db:
            db.executemany("DELETE FROM entries WHERE key=?", [(key,) for key in keys])

    def everything(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.path.parent.iterdir() if path.is_file())


class InValkey:
    """The server as somebody who may write to it sees it."""

    def __init__(self, server: Valkey) -> None:
        self._server = server

    def store(self):
        address = redis_address(url=self._server.url)
        return RedisStore(address, clock=SystemClock(), budget_s=PATIENT_S)

    def raw(self, key: bytes) -> bytes | None:
        found = self._server.command("GET", name_of(key))
        return None if found == b"-1" else found

    def plant(self, key: bytes, value: bytes) -> None:
        self._server.command("SET", name_of(key), value)

    def drop(self, keys: list[bytes]) -> None:
        self._server.command("DEL", *map(name_of, keys))

    def everything(self) -> bytes:
        self._server.command("SAVE")
        self._server.command("CONFIG", "SET", "appendonly", "yes")
        return b"".join(
            path.read_bytes() for path in self._server.directory.rglob("*") if path.is_file()
        )


@pytest.fixture(params=["sqlite", "valkey"])
def place(request, tmp_path):
    if request.param == "sqlite":
        (tmp_path / "cache").mkdir()
        return InSqlite(tmp_path / "cache", SystemClock())
    return InValkey(request.getfixturevalue("valkey"))


@asynccontextmanager
async def opened(place, directory: Path, **fields):
    clock = SystemClock()
    marks = Marks(directory / "data" / "forgotten.json", clock=clock)
    wishes = {"seal": Seal(SEAL_KEY), "marks": marks, "clock": clock} | fields
    entries = EntryStore(place.store(), **wishes)
    entries.keep_newest_in(directory / "data" / "newest")
    await entries.start()
    await eventually(lambda: entries.status().healthy)
    try:
        yield entries
    finally:
        await entries.close()


async def put(entries, place, key, body=b"body", **about):
    before = place.raw(key) if Path(getattr(place, "path", "/")).exists() else None
    entries.put(key, entry(SystemClock().now(), body, **about))
    await eventually(lambda: place.raw(key) not in (None, before))
    return place.raw(key)


async def test_values_come_back(place, tmp_path):
    async with opened(place, tmp_path) as entries:
        await put(entries, place, KEYS[0], b"x" * 100_000)
        assert (await entries.get(KEYS[0])).body == b"x" * 100_000
        assert (await entries.get(KEYS[0])).meta().tenant == "local"


async def test_flipped_bits_swaps_and_foreign_values_are_misses(place, tmp_path, caplog):
    async with opened(place, tmp_path) as entries:
        one = await put(entries, place, KEYS[0])
        other = await put(entries, place, KEYS[1])
        bad = [bytes([*one[:at], one[at] ^ 1, *one[at + 1 :]]) for at in range(0, len(one), 7)]
        bad += [
            b"",
            b"\x01" + bytes(8) + b'{"text": "plain"}',
            other,
            Seal(b"\x09" * 32).seal(b"planted", KEYS[0]),
            one[:-1],
            one + b"\0",
        ]
        for value in bad:
            place.plant(KEYS[0], value)
            assert await entries.get(KEYS[0]) is None
        assert entries.status().rejected == len(bad)
        place.plant(KEYS[0], one)
        assert await entries.get(KEYS[0]) is not None
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1


async def test_what_was_forgotten_or_replaced_cannot_be_put_back(place, tmp_path):
    async with opened(place, tmp_path) as entries:
        forgotten = await put(entries, place, KEYS[0])
        replaced = await put(entries, place, KEYS[1], b"old")
        await put(entries, place, KEYS[1], b"new!")
        assert (await entries.get(KEYS[1])).body == b"new!"
        cleared = await put(entries, place, KEYS[2])
        mark = Mark(before=SystemClock().now(), entry=id_of(KEYS[0]))
        assert await entries.forget(mark) == 1
        assert place.raw(KEYS[0]) is None
        place.plant(KEYS[0], forgotten)
        place.plant(KEYS[1], replaced)
        assert [await entries.get(key) is None for key in KEYS[:3]] == [True, True, False]
        assert entries.status().rejected == 2
        await entries.clear()
    for key, value in zip(KEYS, (forgotten, replaced, cleared), strict=False):
        place.plant(key, value)
    async with opened(place, tmp_path) as later:
        assert [await later.get(key) for key in KEYS[:3]] == [None, None, None]
        assert later.status().rejected == 3
        assert [found async for found in later.found()] == []


async def test_a_restart_does_not_bring_back_what_was_replaced(place, tmp_path):
    async with opened(place, tmp_path) as entries:
        old = [await put(entries, place, key, b"old") for key in KEYS]
    place.drop(KEYS)
    async with opened(place, tmp_path) as entries:
        assert [await entries.get(key) for key in KEYS] == [None] * len(KEYS)
        new = [await put(entries, place, key, b"new!") for key in KEYS]
    for key, value in zip(KEYS, old, strict=True):
        place.plant(key, value)
    async with opened(place, tmp_path) as later:
        assert [await later.get(key) for key in KEYS] == [None] * len(KEYS)
        assert later.status().rejected == len(KEYS)
        place.plant(KEYS[0], new[0])
        assert (await later.get(KEYS[0])).body == b"new!"
    assert (tmp_path / "data" / "newest").stat().st_mode & 0o077 == 0


async def test_nothing_that_was_asked_or_said_is_at_rest(place, tmp_path):
    async with opened(place, tmp_path) as entries:
        for key in KEYS:
            await put(entries, place, key, SAID.encode() * 50, excerpt=CANARY, tenant="c4n4ry-ada")
        await entries.forget(Mark(before=SystemClock().now(), entry=id_of(KEYS[0])))
        rest = place.everything()
    rest += place.everything()
    assert len(rest) > 1000
    for text in (CANARY, SAID, "c4n4ry"):
        for form in forms(text):
            assert form not in rest, form
    assert any(form in base64.b64encode(b"so " + CANARY.encode()) for form in forms(CANARY))


def forms(text: str) -> list[bytes]:
    """Return a text as it may be written: plainly, encoded, in another case."""
    plain = text.encode()
    found = [plain, plain.hex().encode(), plain.hex().upper().encode(), plain[::-1]]
    found += [urllib.parse.quote(text).encode(), text.encode("utf-16-le"), plain.upper()]
    if len(plain) > 12:
        # base64 of a text within others depends on where it begins
        found += [base64.b64encode(bytes(shift) + plain)[4:-4] for shift in range(3)]
    return found


async def test_scanning_finds_keys_by_their_beginning(place, tmp_path):
    async with opened(place, tmp_path) as entries:
        many = [bytes([9, number % 3, number]) + os.urandom(29) for number in range(250)]
        for key in [*KEYS, *many, b"\xff" * 32, b"\x00" * 32]:
            entries.put(key, entry(SystemClock().now()))
            await asyncio.sleep(0.001)  # the queue holds 256
        await eventually(lambda: place.raw(b"\x00" * 32) is not None)

        async def count(prefix: bytes) -> int:
            return len({found.key async for found in entries.found(prefix)})

        assert await count(b"") == 260
        assert await count(b"\x09") == 250
        assert await count(b"\x09\x01") == 83
        assert await count(many[7]) == 1
        assert await count(b"\xff") == await count(b"\x00") == 1
        assert await count(b"\xff\xff\x00") == 0


# -- SQLite alone


OLD = """
PRAGMA journal_mode=WAL;
PRAGMA auto_vacuum=INCREMENTAL;
CREATE TABLE entries (key BLOB NOT NULL UNIQUE, expires REAL NOT NULL, accessed REAL NOT NULL,
    value BLOB NOT NULL);
CREATE INDEX entries_expires ON entries (expires);
CREATE INDEX entries_accessed ON entries (accessed);
PRAGMA user_version=1;
"""


async def test_a_file_of_an_earlier_version_is_emptied_for_good(tmp_path):
    place = InSqlite(tmp_path, SystemClock())
    with closing(sqlite3.connect(place.path, isolation_level=None)) as db:
        db.executescript(OLD)
        for key in KEYS:
            row = (key, 4e9, 1.0, b"\x01" + bytes(8) + SAID.encode() * 500)
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?)", row)
    assert SAID.encode() in place.everything()
    async with opened(place, tmp_path / "home") as entries:
        await eventually(lambda: entries.status().entries == 0)
        assert SAID.encode() not in place.everything()
        await put(entries, place, KEYS[0])
        assert await entries.get(KEYS[0]) is not None


WRITER = """
import asyncio, sys
from pathlib import Path
from llmctl.cache.sqlite import SqliteStore
from llmctl.core.clock import SystemClock
from tests.sealing import entries_in, entry

async def main():
    store = SqliteStore(Path(sys.argv[1]), max_bytes=50_000_000, clock=SystemClock())
    entries = entries_in(store, SystemClock(), Path(sys.argv[2]))
    await entries.start()
    number = int(sys.argv[3]) * 100_000
    while True:
        number += 1
        key = number.to_bytes(4, "big") * 8
        entries.put(key, entry(SystemClock().now(), key * 200))
        if number % 50 == 0:
            while await store.get(key) is None:
                await asyncio.sleep(0.001)
            print(number, flush=True)

asyncio.run(main())
"""


async def test_a_process_killed_while_it_writes_leaves_no_wrong_answer(tmp_path):
    place = InSqlite(tmp_path, SystemClock())
    numbers = []
    for round_ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place.path), str(tmp_path), str(round_)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(1 + round_ % 3):
            numbers.append(int(process.stdout.readline()))
        process.kill()
        process.communicate()
    clock = SystemClock()
    marks = Marks(tmp_path / "forgotten.json", clock=clock)
    entries = EntryStore(place.store(), seal=Seal(SEAL_KEY), marks=marks, clock=clock)
    await entries.start()
    found = [each async for each in entries.found()]
    assert all(each.entry.body == each.key * 200 for each in found)
    assert {number.to_bytes(4, "big") * 8 for number in numbers} <= {each.key for each in found}
    assert entries.status().rejected == 0
    assert len(found) == entries.status().entries
    await entries.close()


async def test_evictions_are_counted_over_restarts_and_the_newest_stay(tmp_path):
    clock = ManualClock(SystemClock().now())

    def make():
        store = SqliteStore(tmp_path / "answers.db", max_bytes=400_000, clock=clock)
        return EntryStore(
            store,
            seal=Seal(SEAL_KEY),
            marks=Marks(tmp_path / "forgotten.json", clock=clock),
            clock=clock,
        )

    entries = make()
    await entries.start()
    place = InSqlite(tmp_path, clock)
    keys = [os.urandom(32) for _ in range(100)]
    for key in keys:
        clock.advance(1)
        entries.put(key, entry(clock.now(), os.urandom(8000)))
        # those of one batch are of one age
        await eventually(lambda key=key: place.raw(key))
    await eventually(lambda: entries.status().bytes <= 400_000)
    assert await entries.get(keys[-1]) is not None
    assert await entries.get(keys[0]) is None
    counted = entries.status().evicted
    await entries.close()
    again = make()
    await again.start()
    assert again.status().evicted == counted
    # time to live, by the same clock
    clock.advance(HOUR)
    assert await again.get(keys[-1]) is None
    assert again.status().rejected == 0
    await again.close()


# -- Redis alone


async def test_what_earlier_versions_left_is_swept(valkey, tmp_path):
    valkey.command("SET", "llmctl:v1:" + KEYS[0].hex(), b"\x01plain")
    valkey.command("SET", "theirs", "kept")
    async with opened(InValkey(valkey), tmp_path):
        await eventually(lambda: valkey.command("DBSIZE") == b"1")
    assert valkey.command("GET", "theirs") == b"kept"


@pytest.mark.parametrize(
    ("maxmemory", "policy", "advice"),
    [
        ("0", "noeviction", "may take all memory of its machine"),
        ("100mb", "noeviction", "will keep nothing new"),
        ("100mb", "volatile-lru", ""),
    ],
)
async def test_a_server_that_never_makes_room_is_told(valkey, tmp_path, maxmemory, policy, advice):
    valkey.command("CONFIG", "SET", "maxmemory", maxmemory)
    valkey.command("CONFIG", "SET", "maxmemory-policy", policy)
    async with opened(InValkey(valkey), tmp_path) as entries:
        await eventually(lambda: entries.status().evicted == 0)
        await eventually(lambda: entries.status().healthy)
        status = entries.status()
        assert status.healthy
        assert advice in status.advice
        assert bool(status.advice) is bool(advice)


async def test_proxies_on_other_machines_forget_too(valkey, tmp_path):
    place = InValkey(valkey)
    async with opened(place, tmp_path / "a") as here, opened(place, tmp_path / "b") as there:
        told = []
        there.on_forgotten.append(lambda: told.append(True))
        value = await put(here, place, KEYS[0])
        assert await there.get(KEYS[0]) is not None
        await here.forget(Mark(before=SystemClock().now(), entry=id_of(KEYS[0])))
        await eventually(lambda: told)
        place.plant(KEYS[0], value)
        assert await there.get(KEYS[0]) is None
        assert there.status().rejected == 1
    assert valkey.command("EXISTS", PREFIX + "news") == b"1"
