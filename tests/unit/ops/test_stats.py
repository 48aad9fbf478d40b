import asyncio

import httpx
import msgspec
import pytest

from llmctl.core.errors import AuthError, BackendError, ConfigError, NotFound
from llmctl.core.usage import Usage
from llmctl.ledger.queries import LedgerSeries, LedgerSummary
from llmctl.ledger.totals import Totals
from llmctl.ledger.writer import LedgerWriter
from llmctl.ops.running import Address, RunningProxy
from llmctl.ops.stats import Query, collect
from tests.clocks import ManualClock

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
SERIES = LedgerSeries(since=1.0, until=None, by="day", total=Totals(), errors={}, periods=[])


@pytest.fixture
def report(tmp_path):
    """Ask for a report, of a proxy that gives these answers."""

    def report(answer, query=Query(), *, elsewhere=False):
        transport = httpx.MockTransport(answer)
        return collect(
            query,
            ledger=tmp_path / "ledger.db",
            connect=lambda: RunningProxy(
                Address(url="http://x", source=""), None, transport=transport
            ),
            elsewhere=elsewhere,
        )

    return report


@pytest.fixture
def ledger(tmp_path):
    async def fill():
        writer = LedgerWriter(tmp_path / "ledger.db", clock=ManualClock())
        await writer.start()
        writer.append(Usage(at=5.0, request_id="r", tenant="t", model_asked="m"))
        await writer.close()

    asyncio.run(fill())
    return tmp_path / "ledger.db"


def refuse(_request):
    raise httpx.ConnectError("connection refused")


def never(_request):
    raise AssertionError("the proxy is not to be asked")


def test_the_file_is_read_whether_the_proxy_runs_or_not(report, ledger):
    found = report(never)
    assert (found.answer.total.requests, found.source) == (1, str(ledger))
    found = report(never, Query(since=0.0, by="hour"))
    assert [period.start for period in found.answer.periods] == [0.0]
    assert report(never, Query(until=5.0)).answer.total.requests == 0


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_proxy_is_asked_where_there_is_no_file(report, elsewhere):
    asked = []

    def answer(request):
        asked.append(str(request.url))
        return httpx.Response(
            200, content=msgspec.json.encode(SERIES if "by" in request.url.params else SUMMARY)
        )

    found = report(answer, elsewhere=elsewhere)
    assert (found.answer, found.source) == (SUMMARY, "http://x")
    assert report(answer, Query(since=1.0, until=2.5, by="day")).answer == SERIES
    assert asked == ["http://x/stats", "http://x/stats?since=1.0&until=2.5&by=day"]


def test_a_proxy_that_is_named_is_asked_although_there_is_a_file(report, ledger):
    found = report(
        lambda _request: httpx.Response(200, json=msgspec.to_builtins(SUMMARY)), elsewhere=True
    )
    assert found.source == "http://x"
    with pytest.raises(BackendError, match="no proxy answers at http://x"):
        report(refuse, elsewhere=True)


def test_neither_proxy_nor_file(report):
    with pytest.raises(NotFound, match="there is no ledger at .* and no proxy answers at http://x"):
        report(refuse)


def test_days_of_another_zone_need_the_file(report, ledger):
    local = Query(by="day", zone=None)
    assert len(report(never, local).answer.periods) == 1
    with pytest.raises(ConfigError, match="a proxy counts days in UTC only"):
        report(never, local, elsewhere=True)


def test_a_proxy_without_a_ledger_is_believed(report):
    off = {"type": "error", "error": {"type": "not_found_error", "message": "it is off"}}
    with pytest.raises(BackendError, match="it is off"):
        report(lambda _request: httpx.Response(404, json=off))


def test_a_refused_token_is_not_worked_around(report):
    with pytest.raises(AuthError):
        report(lambda _request: httpx.Response(401))
