import pytest

from llmctl.core.model import LoadedModel
from llmctl.core.reports_health import (
    AuthLink,
    BackendLink,
    CheckState,
    CompletionLink,
    HealthReport,
    ProxyLink,
    TunnelLink,
)
from llmctl.render.amounts import duration
from llmctl.render.health import health_text


def shown(*links):
    return health_text(HealthReport(at=0.0, status="ok", links=list(links)))


def test_all_is_well():
    text = shown(ProxyLink(name="http://x", latency_ms=0.44, status="ok", version="1", uptime_s=61))
    assert text == "ok  proxy  http://x  0.4 ms  llmctl 1, up 1 min 1 s\n\nhealthy\n"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (1.0, "all on the GPU"),
        (0.5, "50 % on the GPU"),
        (0.0, "on the processor"),
        (None, "loaded"),
    ],
)
def test_where_a_model_is(share, words):
    loaded = LoadedModel(name="m", gpu_share=share)
    assert words in shown(
        BackendLink(name="ollama:x", engine="ollama", version="0.33.0", loaded=[loaded])
    )


def test_an_engine_with_nothing_in_memory():
    text = shown(BackendLink(name="ollama:x", engine="ollama", version="0.33.0"))
    assert "Ollama 0.33.0, no model is loaded" in text
    assert "waiting" not in text


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (AuthLink(name="t", required=False), "no token is asked for"),
        (AuthLink(name="t"), "ok  auth  t"),
        (
            TunnelLink(name="t", tunnel="up", connected_s=5.0),
            "up, connected for 5 s, no reconnects",
        ),
        (CompletionLink(name="-", state=CheckState.BAD, trouble="no proxy"), "no proxy"),
    ],
)
def test_what_there_is_to_say(link, words):
    assert words in shown(link)


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
