"""``CacheFile``: what it keeps, for how long, and how big it grows; the clock is ours."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from llmctl.cache.file import CHUNK, SWEEP_S, CacheFile, Put, Touch
from llmctl.core.sqlitefile import connect
from tests.clocks import ManualClock

DAY = 86_400.0
MB = 1024 * 1024


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def file(tmp_path: Path, clock: ManualClock) -> Iterator[CacheFile]:
    file = CacheFile(tmp_path / "c.db", max_bytes=MB, clock=clock)
    file.open()
    yield file
    file.close()


def keys(file: CacheFile) -> set[bytes]:
    with closing(connect(file.path, busy_timeout_s=1)) as db:
        return {key for (key,) in db.execute("SELECT key FROM entries")}


def puts(clock: ManualClock, *names: str, size: int = 10, ttl_s: float = DAY) -> list[Put]:
    return [Put(name.encode(), b"v" * size, clock.now() + ttl_s) for name in names]


def test_entries_are_counted_once_however_often_they_are_written(file, clock):
    file.write(puts(clock, "a", "b", "a"))
    file.write(puts(clock, "b", "c"))
    assert file.entries == 3
    assert keys(file) == {b"a", b"b", b"c"}


def test_a_file_that_is_opened_again_knows_what_it_holds(file, clock, tmp_path):
    file.write(puts(clock, "a", "b"))
    file.close()
    again = CacheFile(tmp_path / "c.db", max_bytes=MB, clock=clock)
    assert not again.is_open
    again.open()
    assert again.entries == 2
    again.close()


def test_expired_entries_go_once_a_minute(file, clock):
    file.write([*puts(clock, "short", ttl_s=5), *puts(clock, "long")])
    clock.advance(SWEEP_S - 1)
    file.write(puts(clock, "early"))
    assert keys(file) == {b"short", b"long", b"early"}
    clock.advance(1)
    file.write(puts(clock, "due"))
    assert keys(file) == {b"long", b"early", b"due"}
    assert file.entries == 3


def test_more_expired_entries_than_one_transaction_removes(file, clock):
    many = CHUNK + 10
    file.write(puts(clock, *(f"{n}" for n in range(many)), size=1, ttl_s=5))
    clock.advance(SWEEP_S)
    file.write(puts(clock, "new"))
    assert keys(file) == {b"new"}


def test_the_tenth_that_was_read_longest_ago_makes_room(file, clock):
    names = [f"{n:02}" for n in range(20)]
    for name in names:
        file.write(puts(clock, name, size=40_000))
        clock.advance(1)
    assert file.entries == 20
    # read in this order, so 18 and 19 are the oldest now
    for name in names[:18]:
        file.write([Touch(name.encode())])
        clock.advance(1)
    before = 0
    while file.entries > before:
        before = file.entries
        names.append(f"{len(names):02}")
        file.write(puts(clock, names[-1], size=40_000))
        clock.advance(1)
    gone = set(names) - {key.decode() for key in keys(file)}
    assert gone == {"18", "19"}


@pytest.mark.parametrize("size", [100, 4_000, 60_000, 200_000])
def test_the_file_stays_near_its_bound_whatever_the_size_of_values(file, clock, size):
    numbers = range(3 * MB // size)
    for first in numbers[::10]:
        file.write(puts(clock, *(f"{number}" for number in numbers[first : first + 10]), size=size))
        clock.advance(1)
    assert file.bytes <= MB
    assert file.path.stat().st_size <= MB + 11 * size + 64 * 1024
    assert file.bytes >= MB // 2
    assert file.entries == len(keys(file)) > 0


def test_a_lower_bound_shrinks_the_file(file, clock, tmp_path):
    file.write(puts(clock, *(f"{n}" for n in range(20)), size=40_000))
    file.close()
    smaller = CacheFile(tmp_path / "c.db", max_bytes=MB // 4, clock=clock)
    smaller.open()
    smaller.write(puts(clock, "new"))
    smaller.close()
    assert file.path.stat().st_size <= MB // 4
    assert b"new" in keys(file)


def test_clear_leaves_no_byte_of_a_value_behind(file, clock, tmp_path):
    canary = b"canary-of-a-private-prompt"
    file.write([Put(b"a", canary * 5000, clock.now() + DAY), *puts(clock, "b")])
    assert any(canary in found.read_bytes() for found in tmp_path.iterdir())
    assert file.clear() == 2
    assert (file.entries, keys(file)) == (0, set())
    assert not any(canary in found.read_bytes() for found in tmp_path.iterdir())
    file.write(puts(clock, "c"))
    assert keys(file) == {b"c"}


def test_a_batch_that_fails_changes_nothing(file, clock):
    file.write(puts(clock, "a"))
    unfit = Put(b"b", None, clock.now() + DAY)
    with pytest.raises(Exception, match="NOT NULL"):
        file.write([*puts(clock, "c"), unfit])
    assert keys(file) == {b"a"}
    assert file.entries == 1
    file.write(puts(clock, "d"))
    assert keys(file) == {b"a", b"d"}


def test_entries_of_other_processes_are_evicted_too(file, clock, tmp_path):
    other = CacheFile(tmp_path / "c.db", max_bytes=MB, clock=clock)
    other.open()
    for number in range(15):
        other.write(puts(clock, f"other-{number}", size=40_000))
        clock.advance(1)
    for number in range(30):
        file.write(puts(clock, f"{number}", size=40_000))
        clock.advance(1)
    other.close()
    assert file.bytes <= MB
    assert not any(key.startswith(b"other") for key in keys(file))
