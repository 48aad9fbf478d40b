import httpx
import msgspec
import pytest

from llmctl.core.errors import AuthError, BackendError
from llmctl.ledger.queries import LedgerSummary, Totals
from llmctl.ops.running import Address, RunningProxy
from llmctl.ops.stats import collect

SUMMARY = LedgerSummary(
    since=None,
    until=None,
    total=Totals(requests=3),
    errors={},
    by_cache={},
    by_model={},
    by_backend={},
    by_tenant={},
)


def proxy(answer):
    transport = httpx.MockTransport(answer)
    return RunningProxy(Address(url="http://x", source=""), None, transport=transport)


def test_the_running_proxy_is_asked(tmp_path):
    asked = []

    def answer(request):
        asked.append(str(request.url))
        return httpx.Response(200, content=msgspec.json.encode(SUMMARY))

    with proxy(answer) as running:
        report = collect(running, tmp_path / "ledger.db", since=None)
        collect(running, tmp_path / "ledger.db", since=12.5)
    assert (report.summary, report.source) == (SUMMARY, "http://x")
    assert asked == ["http://x/stats", "http://x/stats?since=12.5"]


def refuse(_request):
    raise httpx.ConnectError("connection refused")


def test_neither_proxy_nor_file(tmp_path):
    with proxy(refuse) as running, pytest.raises(BackendError, match="no proxy answers"):
        collect(running, tmp_path / "ledger.db", since=None)


def test_a_proxy_without_a_ledger_is_believed(tmp_path):
    (tmp_path / "ledger.db").touch()
    off = {"type": "error", "error": {"type": "not_found_error", "message": "it is off"}}
    with (
        proxy(lambda _request: httpx.Response(404, json=off)) as running,
        pytest.raises(BackendError, match="it is off"),
    ):
        collect(running, tmp_path / "ledger.db", since=None)


def test_a_refused_token_is_not_worked_around(tmp_path):
    (tmp_path / "ledger.db").touch()
    with proxy(lambda _request: httpx.Response(401)) as running, pytest.raises(AuthError):
        collect(running, tmp_path / "ledger.db", since=None)
