import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.entry import EntryMeta, id_of
from llmctl.cache.marks import MOST, Mark, Marks, load
from llmctl.core.errors import LlmctlError
from tests.clocks import ManualClock

KEY, OTHER = b"\x01" * 32, b"\x02" * 32
ADA = EntryMeta(tenant="ada", model="qwen", asked="claude-x")


@pytest.fixture
def clock():
    return ManualClock(1000.0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "forgotten.json"


def gone(marks, created, key=KEY, meta=ADA):
    return marks.gone(key, created, lambda: meta)


@pytest.mark.parametrize(
    ("mark", "covered"),
    [
        (Mark(before=500), True),
        (Mark(before=500, entry=id_of(KEY)), True),
        (Mark(before=500, entry=id_of(OTHER)), False),
        (Mark(before=500, tenant="ada"), True),
        (Mark(before=500, tenant="bob"), False),
        (Mark(before=500, model="qwen"), True),
        (Mark(before=500, model="claude-x"), True),
        (Mark(before=500, model="llama"), False),
        (Mark(before=500, tenant="ada", model="qwen"), True),
        (Mark(before=500, tenant="ada", model="llama"), False),
        (Mark(before=500, entry=id_of(KEY), tenant="bob"), False),
    ],
    ids=str,
)
def test_a_mark_covers_what_it_names_until_its_time(path, clock, mark, covered):
    marks = Marks(path, clock=clock)
    marks.add(mark)
    assert gone(marks, 500) is covered
    assert not gone(marks, 500.001)
    assert mark.covers(KEY, 500, lambda: ADA) is covered


def test_what_nothing_describes_is_gone_rather_than_kept(path, clock):
    marks = Marks(path, clock=clock)
    marks.add(Mark(before=500, tenant="bob"))
    assert gone(marks, 500, meta=None)


def test_without_a_file_nothing_is_gone(path, clock):
    marks = Marks(path, clock=clock)
    assert not marks.refresh()
    assert not gone(marks, 0.0)


def test_other_processes_notice_once(path, clock):
    here, there = Marks(path, clock=clock), Marks(path, clock=clock)
    there.add(Mark(before=500))
    assert here.refresh()
    assert gone(here, 500)
    assert not here.refresh()
    there.learn([Mark(before=400), Mark(before=300, entry=id_of(KEY))])
    assert not here.refresh()
    there.add(Mark(before=500))
    assert here.refresh()


def test_two_processes_lose_none_of_each_others(path, clock):
    here, there = Marks(path, clock=clock), Marks(path, clock=clock)
    here.add(Mark(before=500, entry=id_of(KEY)))
    there.add(Mark(before=600, entry=id_of(OTHER)))
    late = Marks(path, clock=clock)
    late.refresh()
    for marks in (there, late):
        assert gone(marks, 500)
        assert gone(marks, 600, OTHER)


def test_the_file_is_private(path, clock):
    Marks(path, clock=clock).add(Mark(before=1.0))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_a_damaged_file_forgets_what_it_may_have_meant(path, clock, caplog):
    Marks(path, clock=clock).add(Mark(before=1.0))
    path.write_bytes(b"{")
    clock.advance(path.stat().st_mtime + 10 - clock.now())
    marks = Marks(path, clock=clock)
    marks.refresh()
    assert gone(marks, path.stat().st_mtime)
    assert not gone(marks, path.stat().st_mtime + 1)
    assert "is damaged" in caplog.text


def test_a_clock_that_was_ahead_does_not_keep_the_cache_empty(path, clock):
    marks = Marks(path, clock=clock)
    marks.learn(
        [Mark(before=1e9), Mark(before=2e9, entry=id_of(KEY)), Mark(before=3e9, model="qwen")]
    )
    assert gone(marks, 1000.0)
    assert not gone(marks, 1001.0)


def test_a_place_that_cannot_be_written_is_told(tmp_path, clock):
    (tmp_path / "file").write_text("")
    with pytest.raises(LlmctlError, match="cannot be noted in .*forgotten.json"):
        Marks(tmp_path / "file" / "forgotten.json", clock=clock).add(Mark(before=1.0))


def test_what_is_dumped_can_be_loaded_elsewhere(path, clock, tmp_path):
    marks = Marks(path, clock=clock)
    marks.learn([Mark(before=500, tenant="ada"), Mark(before=400)])
    there = Marks(tmp_path / "there" / "forgotten.json", clock=clock)
    there.learn(load(marks.dump()))
    assert load(there.dump()) == [Mark(before=400), Mark(before=500, tenant="ada")]
    with pytest.raises(msgspec.MsgspecError):
        load(b"{}")


NAMED = st.builds(
    Mark,
    before=st.floats(0, 999),
    entry=st.none() | st.sampled_from([id_of(KEY), id_of(OTHER)]),
    tenant=st.none() | st.sampled_from(["ada", "bob"]),
    model=st.none() | st.sampled_from(["qwen", "llama"]),
)


@given(st.lists(NAMED, max_size=12), st.floats(0, 999), st.sampled_from([KEY, OTHER]))
def test_together_they_cover_what_each_of_them_does(given_marks, created, key):
    with TemporaryDirectory() as directory:
        marks = Marks(Path(directory) / "f.json", clock=ManualClock(1000.0))
        for mark in given_marks:
            marks.add(mark)
        expected = any(mark.covers(key, created, lambda: ADA) for mark in given_marks)
        assert gone(marks, created, key) is expected


def test_their_number_is_bounded_and_the_oldest_cover_more_then(path, clock):
    marks = Marks(path, clock=clock)
    ids = [f"{number:012x}" for number in range(MOST + 1)]
    marks.learn(Mark(before=number / 10, entry=entry) for number, entry in enumerate(ids))
    assert len(load(marks.dump())) == MOST // 2
    for number, entry in enumerate(ids):
        assert gone(marks, number / 10, bytes.fromhex(entry) + bytes(26))
