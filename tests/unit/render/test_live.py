"""The screen of ``stats --watch``, character for character, at several widths.

After a change that is meant: ``python -m tests.unit.render.test_live`` writes them anew.
"""

import os
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.core.model import Health, LoadedModel, PartHealth
from llmctl.core.reports_live import GpuUse, LiveReport, ProxyState, Recent, Stream, Trouble
from llmctl.render.live import Log, Look, live_line, live_text

GOLDEN = Path(__file__).parents[2] / "golden" / "live"
AT = 1_795_409_902.0
STEPS = 90
HEALTH = Health(
    status="degraded",
    version="0.3.0",
    uptime_s=7300,
    backends=[
        PartHealth(
            name="ollama:http://main.localhost:11434",
            healthy=True,
            in_flight=2,
            queued=1,
            loaded=[LoadedModel(name="qwen3-coder:30b", gpu_share=0.83)],
        ),
        PartHealth(name="openai:http://10.0.0.6:8000", detail="connection refused"),
    ],
)
RECENT = Recent(
    step_s=10,
    tokens_per_s=[float(number % 45) for number in range(STEPS)],
    cached=[number % 3 for number in range(STEPS)],
    engine=[1] * STEPS,
    failed=[0] * (STEPS - 1) + [2],
    first_token_p50_ms=[None] * 45 + [400.0 + number for number in range(45)],
    hit_ratio=0.4987,
    p50_ms=431.6,
    p95_ms=2135.0,
)
BUSY = LiveReport(
    at=AT,
    url="http://127.0.0.1:8000",
    proxy=ProxyState(
        at=AT,
        everything=True,
        health=HEALTH,
        open=[
            Stream(
                request_id="req_1",
                tenant="local",
                model="qwen3-coder:30b",
                backend="ollama:http://main.localhost:11434",
                stage="answering",
                age_s=75,
                tokens=12_345,
                tokens_per_s=43.12,
            ),
            Stream(
                request_id="req_2",
                tenant="a-colleague-with-a-long-name",
                model="claude-sonnet-4-5",
                backend="",
                stage="waiting",
                age_s=3,
                tokens=0,
                tokens_per_s=None,
            ),
        ],
        open_total=2,
        tokens_per_s=43.1,
        queued=1,
        requests=1203,
        hit_ratio=0.58,
        recent=RECENT,
        failures=[
            Trouble(
                at=AT - 5,
                model="qwen3-coder:30b",
                status=529,
                type="overloaded_error",
                message="openai:http://10.0.0.6:8000 cannot be\nreached: connection refused",
            )
        ],
    ),
    gpus=[
        GpuUse(machine="main", name="RTX 4090", used_mib=18_740, memory_mib=24_564, busy=0.93),
        GpuUse(machine="here", name="Tesla T4", used_mib=3, memory_mib=15_360, busy=None),
    ],
)
NOTHING = Recent(
    step_s=10,
    tokens_per_s=[0.0] * STEPS,
    cached=[0] * STEPS,
    engine=[0] * STEPS,
    failed=[0] * STEPS,
    first_token_p50_ms=[None] * STEPS,
    hit_ratio=None,
    p50_ms=None,
    p95_ms=None,
)
IDLE = replace(
    BUSY,
    gpus=[],
    proxy=replace(
        BUSY.proxy,
        everything=False,
        health=replace(HEALTH, status="ok", backends=HEALTH.backends[:1]),
        open=[],
        open_total=0,
        queued=0,
        tokens_per_s=0.0,
        recent=NOTHING,
        failures=[],
    ),
)
DOWN = replace(
    BUSY, proxy=None, problem="no proxy answers at http://127.0.0.1:8000: connection refused"
)
SCREENS = {
    "busy-120.txt": (BUSY, Look(120, blocks=True, colour=False)),
    "busy-80.txt": (BUSY, Look(80, blocks=True, colour=False)),
    "busy-60.txt": (BUSY, Look(60, blocks=True, colour=False)),
    "busy-60-plain.txt": (BUSY, Look(60, blocks=False, colour=False)),
    "busy-colour.txt": (BUSY, Look(80, blocks=True, colour=True)),
    "idle-80.txt": (IDLE, Look(80, blocks=True, colour=False)),
    "down-80.txt": (DOWN, Look(80, blocks=True, colour=False)),
}


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The clock on the screen is the operator's own."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("name", SCREENS)
def test_screens_are_as_recorded(name):
    assert live_text(*SCREENS[name]) == (GOLDEN / name).read_text()


@pytest.mark.parametrize("report", [BUSY, IDLE], ids=["busy", "idle"])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_no_line_is_wider_than_the_terminal(report, width):
    for line in live_text(report, Look(width, blocks=True, colour=False)).splitlines():
        assert len(line) <= width


def test_colour_only_adds():
    plain = live_text(BUSY, Look(80, blocks=True, colour=False))
    coloured = live_text(BUSY, Look(80, blocks=True, colour=True))
    for code in ("\033[1m", "\033[1;31m", "\033[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


def test_one_line():
    assert live_line(BUSY) == (
        "degraded, 2 open, 1 queued, 43.1 tokens/s, 14 requests/min, 49.9% hits, first token 432 ms"
    )
    assert live_line(IDLE) == "ok, 0 open, 0 queued, 0.0 tokens/s, 0 requests/min"
    assert live_line(DOWN) == DOWN.problem


def test_a_log_says_what_is_new_and_that_it_is_alive():
    log = Log()
    said = [log.news(replace(IDLE, at=AT + second)) for second in range(0, 62, 2)]
    assert [line for line in said if line] == [
        f"{clock} {live_line(IDLE)}\n" for clock in ("04:58:22", "04:58:52", "04:59:22")
    ]
    assert log.news(replace(DOWN, at=AT + 63)) == f"04:59:25 {DOWN.problem}\n"


def _write() -> None:
    os.environ["TZ"] = "UTC"
    time.tzset()
    GOLDEN.mkdir(exist_ok=True)
    for name, screen in SCREENS.items():
        (GOLDEN / name).write_text(live_text(*screen))


if __name__ == "__main__":
    _write()
