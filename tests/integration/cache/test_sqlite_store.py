"""``SqliteStore`` as the proxy uses it, with everything that may happen to its file."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from llmctl.cache.sqlite import INLINE_BYTES, QUEUE, REOPEN_S, TOUCH_S, SqliteStore
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.sqlitefile import connect
from tests.clocks import ManualClock
from tests.integration.eventually import eventually

MB = 1024 * 1024
DAY = 86_400.0


def make(path: Path, clock: Clock | None = None, *, max_bytes: int = 64 * MB) -> SqliteStore:
    return SqliteStore(path, max_bytes=max_bytes, clock=clock or ManualClock())


async def begun(store: SqliteStore) -> None:
    """Start it and wait for its file, however busy the disk; ``start`` waits half a second."""
    await store.start()
    await asyncio.wrap_future(store._thread.call(lambda: None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "responses.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    store = make(path, clock)
    await begun(store)
    yield store
    await store.close()


async def written(store: SqliteStore, entries: int) -> None:
    await eventually(lambda: store.status().entries == entries)


def rows(path: Path, question: str) -> list[tuple]:
    with closing(connect(path, busy_timeout_s=5)) as db:
        return db.execute(question).fetchall()


async def test_values_come_back_byte_for_byte_whatever_their_size(store):
    sizes = [0, 1, 4_000, INLINE_BYTES, INLINE_BYTES + 1, MB]
    for size in sizes:
        store.put(b"%d" % size, os.urandom(size // 2) * 2 + b"x" * (size % 2), ttl_s=60)
    await written(store, len(sizes))
    for size in sizes:
        value = await store.get(b"%d" % size)
        assert value is not None
        assert len(value) == size
    assert await store.get(b"absent") is None


async def test_the_last_write_of_a_key_counts(store):
    for number in range(50):
        store.put(b"k", b"%d" % number, ttl_s=60)
    store.put(b"last", b"", ttl_s=60)
    await written(store, 2)
    assert await store.get(b"k") == b"49"


async def test_values_expire_at_their_time(store, clock):
    store.put(b"k", b"value", ttl_s=DAY)
    store.put(b"never", b"value", ttl_s=0)
    await written(store, 1)
    clock.advance(DAY - 0.001)
    assert await store.get(b"k") == b"value"
    clock.advance(0.001)
    assert await store.get(b"k") is None


async def test_values_outlive_the_process_that_wrote_them(path, clock):
    first = make(path, clock)
    await begun(first)
    first.put(b"k", b"value", ttl_s=DAY)
    await first.close()
    second = make(path, clock)
    await begun(second)
    assert second.status().entries == 1
    assert await second.get(b"k") == b"value"
    await second.close()


async def test_the_time_of_reading_is_written_once_a_minute(store, path, clock):
    store.put(b"k", b"value", ttl_s=DAY)
    await written(store, 1)
    began = clock.now()
    read_at = "SELECT accessed FROM entries WHERE key = CAST('k' AS BLOB)"
    clock.advance(TOUCH_S - 1)
    await store.get(b"k")
    clock.advance(1)
    for number in range(3):
        await store.get(b"k")
        store.put(b"%d" % number, b"", ttl_s=60)
        await written(store, 2 + number)
    assert rows(path, read_at) == [(began + TOUCH_S,)]


async def test_the_oldest_writes_go_when_the_queue_is_full(path, clock):
    store = make(path, clock)
    for number in range(QUEUE + 44):
        store.put(b"%d" % number, b"value", ttl_s=60)
    assert store.status().dropped_writes == 44
    await begun(store)
    await written(store, QUEUE)
    assert await store.get(b"43") is None
    assert await store.get(b"44") == b"value"
    await store.close()


async def test_a_value_that_would_push_out_everything_is_not_kept(path, clock):
    store = make(path, clock, max_bytes=MB)
    await begun(store)
    store.put(b"big", b"x" * (MB // 4 + 1), ttl_s=60)
    store.put(b"small", b"x", ttl_s=60)
    await written(store, 1)
    assert await store.get(b"big") is None
    assert store.status().dropped_writes == 1
    await store.close()


async def test_clear_removes_what_is_stored_and_what_is_queued(store):
    for number in range(20):
        store.put(b"%d" % number, b"value", ttl_s=60)
    assert await store.clear() == 20
    assert store.status().entries == 0
    assert await store.get(b"0") is None


async def test_two_stores_on_one_file_see_each_others_writes(store, path, clock):
    other = make(path, clock)
    await begun(other)
    store.put(b"k", b"value", ttl_s=60)
    await written(store, 1)
    assert await other.get(b"k") == b"value"
    assert await other.clear() == 1
    assert await store.get(b"k") is None
    await other.close()


async def test_before_the_start_everything_is_a_miss(path):
    store = make(path)
    assert await store.get(b"k") is None
    assert store.status().healthy
    await store.close()


# -- files that are damaged


@pytest.mark.parametrize(
    "damage", [b"this is no database " * 500, b"SQLite format 3\0" + b"\xff" * 8192]
)
async def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(path, clock, damage, caplog):
    path.parent.mkdir()
    path.write_bytes(damage)
    store = make(path, clock)
    await begun(store)
    store.put(b"k", b"value", ttl_s=60)
    await written(store, 1)
    assert await store.get(b"k") == b"value"
    status = store.status()
    assert status.healthy
    aside = path.with_name("responses.db.corrupt-20270115T080000Z")
    assert aside.name in status.detail
    assert aside.read_bytes() == damage
    assert len([record for record in caplog.records if "was damaged" in record.message]) == 1
    await store.close()


def scribble(path: Path) -> None:
    """Destroy every page but the first, in place: whoever has the file open still has this one."""
    size = path.stat().st_size
    with path.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * (size - 4096))


async def filled(path: Path, clock: Clock) -> None:
    store = make(path, clock)
    await begun(store)
    for number in range(200):
        store.put(b"%d" % number, b"x" * 100_000, ttl_s=DAY)
        await written(store, number + 1)
    await store.close()


async def used_again(store: SqliteStore, clock: ManualClock) -> None:
    """Wait until it keeps and gives answers.

    A read that comes while the file is replaced may fail the opening of the new one, which is
    then tried again with a later write.
    """
    async with asyncio.timeout(20):
        while await store.get(b"new") != b"value":
            clock.advance(REOPEN_S)
            store.put(b"new", b"value", ttl_s=30 * DAY)
            await asyncio.sleep(0.01)
    await eventually(lambda: store.status().healthy)


async def test_damage_that_shows_in_a_read_is_a_miss_and_begins_a_new_file(path, clock, caplog):
    await filled(path, clock)
    store = make(path, clock)
    await begun(store)
    scribble(path)
    assert [await store.get(b"%d" % number) for number in range(5)] == [None] * 5
    assert store.status().failed_reads > 0
    await used_again(store, clock)
    assert "corrupt-" in store.status().detail
    assert len(list(path.parent.glob("*.corrupt-*Z"))) == 1
    await store.close()


async def test_damage_that_shows_in_a_big_value(path, clock):
    await filled(path, clock)
    store = make(path, clock)
    await begun(store)
    assert await store.get(b"0") is not None
    scribble(path)
    assert await store.get(b"0") is None
    await used_again(store, clock)
    assert "corrupt-" in store.status().detail
    await store.close()


async def test_damage_that_shows_in_a_write(path, clock):
    await filled(path, clock)
    store = make(path, clock)
    await begun(store)
    scribble(path)
    for number in range(50):
        store.put(b"new %d" % number, b"value", ttl_s=60)
    await eventually(lambda: list(path.parent.glob("*.corrupt-*Z")))
    await used_again(store, clock)
    assert "corrupt-" in store.status().detail
    await store.close()


async def test_two_stores_meet_the_same_damage_and_share_the_new_file(path, clock):
    path.parent.mkdir()
    path.write_bytes(b"this is no database " * 500)
    stores = [make(path, clock) for _ in range(2)]
    for store in stores:
        await begun(store)
    stores[0].put(b"k", b"value", ttl_s=60)
    await written(stores[0], 1)
    assert await stores[1].get(b"k") == b"value"
    assert len(list(path.parent.glob("*.corrupt-*Z*"))) == 1
    for store in stores:
        await store.close()


async def test_a_file_of_a_newer_llmctl_is_left_alone(path, clock, caplog):
    store = make(path, clock)
    await begun(store)
    await store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
    store = make(path, clock)
    await begun(store)
    store.put(b"k", b"value", ttl_s=60)
    await eventually(lambda: store.status().failed_writes == 1)
    assert await store.get(b"k") is None
    assert "a newer llmctl wrote it (schema 99" in store.status().detail
    assert len(caplog.records) == 1
    await store.close()
    assert not list(path.parent.glob("*.corrupt-*"))


# -- files that cannot be used


async def test_without_its_directory_every_read_is_a_miss_and_it_is_said_once(tmp_path, caplog):
    clock = ManualClock()
    (tmp_path / "file").touch()
    store = make(tmp_path / "file" / "responses.db", clock)
    await begun(store)
    for number in range(10):
        store.put(b"%d" % number, b"value", ttl_s=60)
        assert await store.get(b"%d" % number) is None
        clock.advance(10)
        await eventually(lambda count=number + 1: store.status().failed_writes == count)
    status = store.status()
    assert not status.healthy
    assert "the cache goes unused" in status.detail
    assert str(tmp_path / "file") in status.detail
    assert len(caplog.records) == 1
    with pytest.raises(LlmctlError, match="the cache was not cleared"):
        await store.clear()
    await store.close()


async def test_it_is_opened_when_that_becomes_possible(tmp_path):
    clock = ManualClock()
    blocker = tmp_path / "place"
    blocker.touch()
    store = make(blocker / "responses.db", clock)
    await begun(store)
    assert not store.status().healthy
    blocker.unlink()
    store.put(b"early", b"value", ttl_s=600)
    await eventually(lambda: store.status().failed_writes == 1)
    clock.advance(5)
    store.put(b"k", b"value", ttl_s=600)
    await written(store, 1)
    assert await store.get(b"k") == b"value"
    assert store.status().healthy
    await store.close()


async def test_a_locked_file_costs_the_write_and_not_the_reads(store, path):
    store.put(b"k", b"value", ttl_s=60)
    await written(store, 1)
    with closing(connect(path, busy_timeout_s=1)) as db:
        db.execute("BEGIN IMMEDIATE")
        store.put(b"lost", b"value", ttl_s=60)
        assert await store.get(b"k") == b"value"
        await eventually(lambda: "another process keeps" in store.status().detail)
        assert store.status().failed_writes == 1
        assert await store.get(b"k") == b"value"
        db.execute("ROLLBACK")
    store.put(b"kept", b"value", ttl_s=60)
    await written(store, 2)
    assert store.status().healthy


SCRIPT = """
import asyncio, os, resource, signal, sys
from pathlib import Path
from llmctl.cache.sqlite import SqliteStore
from llmctl.core.clock import SystemClock
from tests.integration.eventually import eventually

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    store = SqliteStore(Path(sys.argv[1]), max_bytes=1 << 30, clock=SystemClock())
    {body}
    await store.close()

asyncio.run(main())
print("done")
"""


def script(body: str) -> str:
    return SCRIPT.replace("{body}", body.strip().replace("\n", "\n    "))


def run(body: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script(body), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


FULL = """
await store.start()
store.put(b"before", b"value", ttl_s=600)
await eventually(lambda: store.status().entries == 1)
fill()
for number in range(100):
    store.put(b"%d" % number, os.urandom(50_000), ttl_s=600)
    assert await store.get(b"before") == b"value"
    await asyncio.sleep(0)
await eventually(lambda: not store.status().healthy)
assert store.status().failed_writes > 0
print(store.status().detail)
assert await store.get(b"before") == b"value"
free()
store.put(b"after", b"value", ttl_s=600)
await eventually(lambda: store.status().healthy)
store.put(b"later", b"value", ttl_s=600)
before = store.status().entries
await eventually(lambda: store.status().entries >= before)
while await store.get(b"later") is None:
    await asyncio.sleep(0.01)
"""


def test_a_file_that_may_not_grow_is_read_and_written_again_later(path):
    body = "fill = lambda: limit(300_000)\nfree = lambda: limit(resource.RLIM_INFINITY)\n" + FULL
    outcome = run(body, path)
    assert outcome.stdout.endswith("done\n"), outcome.stderr
    assert "the cache keeps nothing new" in outcome.stdout
    assert outcome.stderr.count("keeps nothing new") == 1


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a full disk needs the right to mount one")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_is_said_once_and_forgotten_when_there_is_space(small_disk):
    body = (
        "filler = Path(sys.argv[2])\n"
        "free = filler.unlink\n"
        "def fill():\n"
        "    with filler.open('wb', 0) as stream:\n"
        "        try:\n"
        "            while stream.write(b'x' * 4096): pass\n"
        "        except OSError: pass\n"
    ) + FULL
    outcome = run(body, small_disk / "responses.db", small_disk / "filler")
    assert outcome.stdout.endswith("done\n"), outcome.stderr
    assert "no space is left for" in outcome.stdout
    assert outcome.stderr.count("no space is left for") == 1


async def test_a_read_only_disk_is_a_miss_and_said_once(small_disk, caplog):
    path = small_disk / "cache" / "responses.db"
    store = make(path)
    await begun(store)
    store.put(b"k", b"value", ttl_s=600)
    await store.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = make(path)
    await begun(store)
    for number in range(5):
        store.put(b"new", b"value", ttl_s=600)
        await eventually(lambda count=number + 1: store.status().failed_writes == count)
        assert await store.get(b"new") is None
    assert not store.status().healthy
    assert str(path) in store.status().detail
    assert len(caplog.records) == 1
    await store.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what nobody may")
async def test_a_directory_one_may_not_write_is_a_miss_and_said_once(path, caplog):
    path.parent.mkdir(mode=0o500)
    store = make(path)
    await begun(store)
    store.put(b"new", b"value", ttl_s=600)
    await eventually(lambda: store.status().failed_writes == 1)
    assert await store.get(b"new") is None
    assert "Permission denied" in store.status().detail
    assert len(caplog.records) == 1
    await store.close()


# -- processes that die, and processes that share


WRITER = """
import zlib
await store.start()
number = int(sys.argv[2]) * 1_000_000
while True:
    for _ in range(20):
        number += 1
        body = os.urandom(8_000)
        store.put(b"%d" % number, b"%d:" % number + body + zlib.crc32(body).to_bytes(4, 'big'), ttl_s=600)
    while await store.get(b"%d" % number) is None:
        await asyncio.sleep(0)
    print(number, flush=True)
"""


def whole(key: bytes, value: bytes) -> bool:
    from zlib import crc32

    name, _, rest = value.partition(b":")
    return name == key and crc32(rest[:-4]).to_bytes(4, "big") == rest[-4:]


async def test_a_process_killed_while_it_writes_tears_nothing(path):
    acknowledged = 0
    for round_ in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", script(WRITER), str(path), str(round_)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(1 + round_ % 3):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.communicate()
        found = rows(path, "SELECT key, value FROM entries")
        assert all(whole(key, value) for key, value in found)
        assert str(acknowledged).encode() in {key for key, _ in found}
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    store = make(path)
    await begun(store)
    assert store.status().healthy
    assert store.status().detail == ""
    await store.close()


def test_processes_share_one_file_without_losing_or_tearing(path):
    body = """
import zlib
await store.start()
base = int(sys.argv[2]) * 1000
for number in range(base, base + 300):
    body = os.urandom(4_000)
    value = b"%d:" % number + body + zlib.crc32(body).to_bytes(4, "big")
    store.put(b"%d" % number, value, ttl_s=600)
    if number % 20 == 0:
        await asyncio.sleep(0.001)
    await store.get(b"%d" % (number - 500))
while await store.get(b"%d" % number) is None and not store.status().failed_writes:
    await asyncio.sleep(0.01)
await store.close()
status = store.status()
assert status.failed_reads == 0, status
print(status.failed_writes + status.dropped_writes)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script(body), str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    outputs = [process.communicate(timeout=100)[0] for process in processes]
    assert all(output.endswith("done\n") for output in outputs)
    lost = sum(int(output.split()[0]) for output in outputs)
    found = rows(path, "SELECT key, value FROM entries")
    assert all(whole(key, value) for key, value in found)
    assert len(found) + lost == 1200
    # a write waits a quarter of a second for the others, whatever else this machine is doing
    assert len(found) >= 600


async def test_closing_while_reads_are_under_way(path, clock):
    store = make(path, clock)
    await begun(store)
    store.put(b"big", b"x" * MB, ttl_s=60)
    await written(store, 1)
    reads = [asyncio.ensure_future(store.get(b"big")) for _ in range(8)]
    await asyncio.sleep(0)
    await store.close()
    assert all(value is None or len(value) == MB for value in await asyncio.gather(*reads))
