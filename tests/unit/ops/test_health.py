import httpx
import msgspec
import pytest

from llmctl.core.errors import AuthError, BackendError, LlmctlError
from llmctl.core.model import Health, PartHealth
from llmctl.core.reports_health import BackendLink, CheckState, InstanceLink
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ops.health import Asked, Looks, ask, examine
from llmctl.ops.running import Address, NoAnswer, RunningProxy
from llmctl.ops.trial import Trial
from llmctl.ops.tunnel import Held
from llmctl.ops.tunnels import Background
from tests.clocks import ManualClock

WELL = {
    "status": "ok",
    "version": "0.1.0",
    "uptime_s": 12.5,
    "auth": True,
    "backends": [{"name": "ollama:http://x", "kind": "ollama", "healthy": True, "in_flight": 1}],
    "cache": {"kind": "sqlite", "healthy": True, "location": "/x"},
    "ledger": None,
    "streams": 3,
    "of_a_later_version": 1,
}
DOWN = Health(status="unreachable", backends=[PartHealth(name="ollama:http://y", healthy=True)])


def asked_of(answer):
    transport = httpx.MockTransport(answer)
    with RunningProxy(Address(url="http://x", source=""), None, transport=transport) as proxy:
        return ask(proxy)


def looks(asked, *, machines=(), tunnels=(), complete=None):
    async def itself():
        return DOWN

    async def on_record():
        return list(machines)

    return Looks(
        url="http://x",
        token_source="/token",
        ask=lambda: asked,
        itself=itself,
        tunnels=lambda: tunnels,
        machines=on_record,
        complete=complete,
        clock=ManualClock(),
    )


def well(**changes):
    health = Health(
        status="ok",
        version="1",
        auth=True,
        backends=[PartHealth(name="ollama:http://x", healthy=True)],
        cache=PartHealth(kind="sqlite", healthy=True, location="/c"),
        ledger=PartHealth(healthy=True, location="/l"),
    )
    return Asked(latency_ms=1.0, auth_ms=2.0, health=health, **changes)


def kinds(report):
    return [link.__struct_config__.tag for link in report.links]


class TestAsking:
    def test_the_way_and_the_token_are_timed_apart(self):
        asked = asked_of(lambda _request: httpx.Response(200, json=WELL))
        assert asked.latency_ms is not None
        assert asked.auth_ms is not None
        assert asked.health.backends[0].in_flight == 1
        assert asked.document == WELL

    def test_nobody_there(self):
        def refuse(request):
            raise httpx.ConnectError("refused", request=request)

        asked = asked_of(refuse)
        assert asked.latency_ms is None
        assert isinstance(asked.failure, NoAnswer)

    def test_a_refused_token_is_no_dead_proxy(self):
        asked = asked_of(lambda _request: httpx.Response(401))
        assert asked.latency_ms is not None
        assert isinstance(asked.failure, AuthError)

    def test_something_else_listens_there(self):
        asked = asked_of(lambda _request: httpx.Response(200, text="hello"))
        assert isinstance(asked.failure, BackendError)
        assert "is not llmctl" in asked.failure.message

    def test_an_older_proxy_without_the_short_question(self):
        def answer(request):
            if request.url.path == "/health":
                return httpx.Response(200, json={"status": "ok", "backends": []})
            return httpx.Response(404)

        assert asked_of(answer).health.serving


class TestTheChain:
    async def test_every_link_in_the_order_of_the_way(self):
        held = Held(
            status=TunnelStatus(name="gpu", state=TunnelState.UP, round_trip_ms=41.0), url="u"
        )
        background = Background(
            name="gpu", pid=7, started_at=0, updated_at=0, log="/log", held=held
        )
        report = await examine(
            looks(
                well(),
                machines=[InstanceLink(name="main")],
                tunnels=[background],
                complete=lambda: Trial(
                    model="m", first_token_ms=3.0, completion_tokens=9, tokens_per_s=50.0
                ),
            )
        )
        assert kinds(report) == [
            "proxy",
            "auth",
            "cache",
            "ledger",
            "backend",
            "tunnel",
            "instance",
            "completion",
        ]
        assert report.healthy
        assert [link.latency_ms for link in report.links] == [1, 2, None, None, None, 41, None, 3]

    async def test_without_a_proxy_the_parts_are_looked_at(self):
        failure = NoAnswer("no proxy answers", hint="llmctl serve")
        report = await examine(looks(Asked(failure=failure)))
        assert kinds(report) == ["proxy", "backend"]
        proxy, backend = report.links
        assert (proxy.state, proxy.trouble, proxy.fix) == (
            CheckState.BAD,
            "no proxy answers",
            "llmctl serve",
        )
        assert backend.name == "ollama:http://y"
        assert (report.status, report.healthy) == ("unreachable", False)

    async def test_a_refused_token_is_the_tokens_trouble(self):
        refused = Asked(latency_ms=1.0, failure=AuthError("refused our token"))
        proxy, auth, _backend = (await examine(looks(refused))).links
        assert proxy.state is CheckState.OK
        assert (auth.state, auth.trouble) == (CheckState.BAD, "refused our token")
        assert auth.fix.startswith("export LLMCTL_AUTH_TOKEN=")

    async def test_a_token_file_others_can_read_brings_its_own_fix(self):
        open_file = AuthError("others can read /t", hint="chmod 600 /t")
        _, auth, _ = (await examine(looks(Asked(latency_ms=1.0, failure=open_file)))).links
        assert auth.fix == "chmod 600 /t"

    async def test_an_engine_is_told_of_once(self):
        told = BackendLink(name="ollama:http://x")
        other = BackendLink(name="ollama:http://other")
        report = await examine(looks(well(), machines=[told, other]))
        assert [link.name for link in report.links if link.__struct_config__.tag == "backend"] == [
            "ollama:http://x",
            "ollama:http://other",
        ]

    async def test_a_tunnel_that_is_starting(self):
        starting = Background(name="gpu", pid=7, started_at=0, updated_at=0, log="/log")
        report = await examine(looks(well(), tunnels=[starting]))
        (tunnel,) = [link for link in report.links if link.__struct_config__.tag == "tunnel"]
        assert (tunnel.state, tunnel.holder) == (CheckState.UNKNOWN, "pid 7")
        assert report.healthy

    async def test_no_answer_to_a_real_question(self):
        def broken():
            raise BackendError("the answer broke off", hint="llmctl doctor")

        report = await examine(looks(well(), complete=broken))
        assert not report.healthy
        assert (report.links[-1].trouble, report.links[-1].fix) == (
            "the answer broke off",
            "llmctl doctor",
        )

    async def test_nobody_to_ask_a_real_question(self):
        def never():
            raise AssertionError("there is no proxy")

        report = await examine(looks(Asked(failure=NoAnswer("none")), complete=never))
        assert report.links[-1].fix == "llmctl serve"


async def test_a_record_that_cannot_be_read_is_told_and_hides_nothing_else():
    async def unreadable():
        raise LlmctlError("the record cannot be kept: it is damaged")

    given = msgspec.structs.replace(looks(well()), machines=unreadable)
    report = await examine(given)
    (instance,) = [link for link in report.links if link.__struct_config__.tag == "instance"]
    assert (instance.state, instance.trouble) == (
        CheckState.BAD,
        "the record cannot be kept: it is damaged",
    )
    assert len(report.links) == 6


@pytest.mark.parametrize(
    ("status", "serving"), [("ok", True), ("degraded", True), ("down", False), ("draining", False)]
)
def test_degraded_still_serves(status, serving):
    assert Health(status=status).serving is serving
