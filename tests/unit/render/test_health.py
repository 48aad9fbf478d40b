import pytest

from llmctl.core.model import Health, PartHealth
from llmctl.render.health import duration, health_text


def test_a_line_for_every_part():
    health = Health(
        status="degraded",
        version="0.1.0",
        uptime_s=11_560,
        backends=[
            PartHealth(name="ollama:http://a:11434", healthy=True),
            PartHealth(name="openai:http://b:8000", detail="connection refused"),
        ],
        cache=PartHealth(kind="redis", location="redis://cache:6379", detail="timed out"),
        ledger=PartHealth(location="/state/ledger.db", healthy=True),
    )
    assert health_text(health, "http://127.0.0.1:8000") == (
        "proxy    http://127.0.0.1:8000     degraded, llmctl 0.1.0, up 3 h 12 min\n"
        "backend  ollama:http://a:11434     ready\n"
        "backend  openai:http://b:8000      not ready: connection refused\n"
        "cache    redis redis://cache:6379  not ready: timed out\n"
        "ledger   /state/ledger.db          ready\n"
    )


def test_parts_that_are_switched_off_are_not_shown():
    text = health_text(Health(status="ok", cache=PartHealth(kind="memory", healthy=True)), "u")
    assert [line.split()[0] for line in text.splitlines()] == ["proxy", "cache"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (90_000, "1 d 1 h"),
    ],
)
def test_the_two_largest_units(seconds, text):
    assert duration(seconds) == text
