"""``health``, ``doctor`` and ``bench`` as people and programs see them.

After a change that is meant: ``python -m tests.unit.render.test_reports_golden`` writes them anew.
"""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.core.reports_bench import Figures
from llmctl.render.bench import bench_document, bench_text, history_text
from llmctl.render.doctor import doctor_document, doctor_text
from llmctl.render.health import health_document, health_text
from llmctl.render.json import document
from tests.unit.render.reports import BENCH, DOCTOR, HEALTH

GOLDEN = Path(__file__).parents[2] / "golden"
EARLIER = replace(
    BENCH, at=BENCH.at - 86_400, figures=replace(BENCH.figures, levels=[BENCH.figures.levels[0]])
)
SHOWN = {
    "health/piped.txt": lambda: health_text(HEALTH),
    "health/60.txt": lambda: health_text(HEALTH, width=60),
    "health/120.txt": lambda: health_text(HEALTH, width=120),
    "health/colour.txt": lambda: health_text(HEALTH, width=120, colour=True),
    "health/document.json": lambda: document(health_document(HEALTH)),
    "doctor/piped.txt": lambda: doctor_text(DOCTOR),
    "doctor/60.txt": lambda: doctor_text(DOCTOR, width=60),
    "doctor/120.txt": lambda: doctor_text(DOCTOR, width=120),
    "doctor/quiet.txt": lambda: doctor_text(DOCTOR, quiet=True),
    "doctor/document.json": lambda: document(doctor_document(DOCTOR)),
    "bench/report.txt": lambda: bench_text(BENCH, EARLIER),
    "bench/60.txt": lambda: bench_text(BENCH, EARLIER, width=60),
    "bench/no-price.txt": lambda: bench_text(
        replace(
            BENCH, usd_per_hour=None, money=None, spent_usd=None, stopped="the time was used up"
        ),
        None,
    ),
    "bench/history-60.txt": lambda: history_text([EARLIER, BENCH], width=60),
    "bench/history-120.txt": lambda: history_text([EARLIER, BENCH], width=120),
    "bench/document.json": lambda: document(bench_document(BENCH)),
}


@pytest.mark.parametrize("name", SHOWN)
def test_as_recorded(name):
    assert SHOWN[name]() == (GOLDEN / name).read_text()


@pytest.mark.parametrize("name", [name for name in SHOWN if "60" in name or "120" in name])
def test_words_wrap_and_what_is_copied_stays_whole(name):
    width = 60 if "60" in name else 120
    for line in (GOLDEN / name).read_text().splitlines():
        words = [word for word in line.split() if len(word) > 30]
        assert len(line) <= width or "fix: " in line or words, line


def test_every_fix_is_on_a_line_of_its_own():
    lines = health_text(HEALTH, width=60).splitlines()
    for link in HEALTH.links:
        if link.fix:
            assert sum(line.strip() == f"fix: {link.fix}" for line in lines) == 1


def test_a_verdict_for_scripts():
    assert json.loads(SHOWN["health/document.json"]())["healthy"] is False
    assert json.loads(SHOWN["doctor/document.json"]())["healthy"] is False


def test_nothing_measured_yet():
    assert history_text([]) == "nothing was measured yet: llmctl bench\n"
    nothing = replace(BENCH, figures=Figures(), money=None, stopped="the engine died")
    assert "too little was measured" in bench_text(nothing, None)


def _write() -> None:
    for name, make in SHOWN.items():
        (GOLDEN / name).parent.mkdir(exist_ok=True)
        (GOLDEN / name).write_text(make())


if __name__ == "__main__":
    _write()
