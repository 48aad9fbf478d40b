import pytest
from msgspec.structs import replace

from llmctl.core.errors import LlmctlError
from llmctl.core.reports_bench import Bench, Figures
from llmctl.ops.bench.record import before, keep, kept

FIRST = Bench(at=100.0, name="main", model="m", figures=Figures(load_s=1.5))


def test_kept_oldest_first_and_ours_alone(tmp_path):
    path = tmp_path / "state" / "bench.jsonl"
    later = replace(FIRST, at=200.0)
    keep(path, later)
    keep(path, FIRST)
    assert kept(path) == [FIRST, later]
    assert path.stat().st_mode & 0o777 == 0o600


def test_nothing_yet(tmp_path):
    assert kept(tmp_path / "none") == []


def test_lines_that_cannot_be_read_cost_only_themselves(tmp_path):
    path = tmp_path / "bench.jsonl"
    keep(path, FIRST)
    with path.open("ab") as file:
        file.write(b'{"at": 1, "na\n\n{}\n')
    keep(path, replace(FIRST, at=300.0))
    assert [each.at for each in kept(path)] == [100.0, 300.0]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LlmctlError, match="the result is not kept"):
        keep(tmp_path / "file" / "bench.jsonl", FIRST)


def test_the_one_before_is_of_the_same_machine_and_model():
    other = replace(FIRST, at=150.0, name="other")
    now = replace(FIRST, at=200.0)
    assert before([FIRST, other, now], now) is FIRST
    assert before([FIRST, other], other) is None
