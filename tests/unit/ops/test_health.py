import httpx
import pytest

from llmctl.core.errors import AuthError, Unhealthy
from llmctl.ops.health import check
from llmctl.ops.running import Address, RunningProxy

DOCUMENT = {
    "status": "ok",
    "version": "0.1.0",
    "uptime_s": 12.5,
    "backends": [{"name": "ollama:x", "kind": "ollama", "healthy": True, "models": ["a"]}],
    "cache": {"kind": "sqlite", "healthy": True, "location": "/x"},
    "ledger": None,
    "streams": 3,
}


def asked(status, **content):
    transport = httpx.MockTransport(lambda _request: httpx.Response(status, **content))
    with RunningProxy(Address(url="http://x", source=""), None, transport=transport) as proxy:
        return check(proxy)


def test_what_is_known_and_the_whole_answer():
    checked = asked(200, json=DOCUMENT)
    assert checked.health.backends[0].healthy
    assert checked.health.cache is not None
    assert checked.health.ledger is None
    assert checked.document == DOCUMENT


@pytest.mark.parametrize(
    ("status", "serving"), [("ok", True), ("degraded", True), ("down", False), ("draining", False)]
)
def test_degraded_still_serves(status, serving):
    assert asked(200, json={**DOCUMENT, "status": status}).health.serving is serving


def test_the_http_status_does_not_matter():
    assert not asked(503, json={"status": "down"}).health.serving


def test_what_does_not_answer_is_unhealthy():
    with pytest.raises(Unhealthy, match="is not llmctl"):
        asked(200, text="hello")


def test_a_refused_token_is_about_credentials():
    with pytest.raises(AuthError):
        asked(401)
