"""What is known of the newest entries, within a process and after it."""

import pytest

from llmctl.cache.newest import REMEMBERED, Newest
from tests.clocks import ManualClock

KEY, OTHER = b"\x01" * 32, b"\x02" * 32
NEVER = float("-inf")


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "newest"


def saved(newest: Newest) -> None:
    newest.save(newest.unsaved())


def loaded(path, clock) -> Newest:
    newest = Newest(path, clock=clock)
    newest.load()
    return newest


def test_it_is_known_after_a_restart_until_the_entry_has_ended(path, clock):
    newest = Newest(path, clock=clock)
    newest.note(KEY, 900.0, 1100.0, writing_s=5.0)
    assert newest.on_its_way(KEY)
    saved(newest)
    later = loaded(path, clock)
    assert later.created(KEY) == 900.0
    assert later.created(OTHER) == NEVER
    assert not later.on_its_way(KEY)
    clock.advance(100)
    assert later.created(KEY) == NEVER
    assert loaded(path, clock).created(KEY) == NEVER


def test_the_newest_of_two_processes_counts(path, clock):
    here, there = Newest(path, clock=clock), Newest(path, clock=clock)
    here.note(KEY, 900.0, 2000.0)
    here.note(OTHER, 950.0, 2000.0)
    there.note(KEY, 910.0, 2000.0)
    saved(there)
    saved(here)
    assert loaded(path, clock).created(KEY) == 910.0
    assert loaded(path, clock).created(OTHER) == 950.0
    here.load()
    assert here.created(KEY) == 910.0


def test_nothing_is_written_where_nothing_is_new(path, clock):
    newest = Newest(path, clock=clock)
    assert newest.unsaved() == []
    newest.note(KEY, 900.0, 2000.0)
    saved(newest)
    newest.note(KEY, 900.0, 2000.0)
    assert newest.unsaved() == []
    nowhere = Newest(None, clock=clock)
    nowhere.note(KEY, 900.0, 2000.0)
    nowhere.load()
    saved(nowhere)
    assert nowhere.created(KEY) == 900.0


def test_their_number_is_bounded_and_the_oldest_go(path, clock):
    for process in range(2):
        newest = Newest(path, clock=clock)
        for number in range(REMEMBERED):
            key = bytes([process]) + number.to_bytes(4, "big")
            newest.note(key, process * 100 + number / 1000, 2000.0)
        saved(newest)
    later = loaded(path, clock)
    assert later.created(b"\x00" + bytes(4)) == NEVER
    assert later.created(b"\x01" + bytes(4)) == 100.0


@pytest.mark.parametrize("content", [b"", b"\xff\xff", b"\x93\x01\x02\x03"])
def test_a_damaged_file_is_as_none(path, clock, caplog, content):
    path.parent.mkdir()
    path.write_bytes(content)
    newest = loaded(path, clock)
    assert "is not used" in caplog.text
    newest.note(KEY, 900.0, 2000.0)
    saved(newest)
    assert loaded(path, clock).created(KEY) == 900.0


def test_a_place_that_cannot_be_written_is_told(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("")
    newest = Newest(tmp_path / "file" / "newest", clock=clock)
    newest.note(KEY, 900.0, 2000.0)
    saved(newest)
    assert "cannot write" in caplog.text
