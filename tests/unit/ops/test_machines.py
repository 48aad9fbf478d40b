import json

import pytest

from llmctl.core.errors import AuthError, HostKeyChanged, LlmctlError, ProviderError, SshError
from llmctl.core.model import LoadedModel
from llmctl.core.rental import InstanceState, Phase, ProviderName
from llmctl.core.reports_health import CheckState
from llmctl.ops.machines import look_at_machines, machine_links
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from llmctl.ssh.remote import HttpReply
from llmctl.ssh.watchdog import Armed
from tests.unit.ops.machines import LEFT_S, NOW, a_machine, a_rental, an_instance
from tests.unit.ops.rent.stage import FakeHost, FakeMachine, Stage, a_spec

PS = {"models": [{"name": "qwen3-coder", "size": 20, "size_vram": 15, "context_length": 65536}]}


class Engine:
    """What answers on the machine's port."""

    def __init__(self, version=b'{"version": "0.33.0"}', ps=json.dumps(PS).encode()):
        self.answers = {"/api/version": version, "/api/ps": ps}

    async def http(self, _port, _method, path, _body=None, *, timeout_s):
        return HttpReply(status=200, body=self.answers[path])


class Reached(FakeMachine):
    """A machine with an engine on it."""

    def __init__(self):
        super().__init__()
        self.engine = Engine()

    async def reach(self, target):
        await super().reach(target)
        host = FakeHost(self)
        host.remote, host.port = self.engine, 11434
        return host


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path)
    made.machine = Reached()
    made.world.reach = made.machine.reach
    yield made
    made.store.close()


async def ready(stage, **changes):
    plan = await plan_up(stage.world, a_spec(**changes))
    return (await up(stage.world, plan, stage.release)).rental


class TestLooking:
    async def test_everything_is_asked_and_nothing_changed(self, stage):
        await ready(stage)
        before = list(stage.market.calls)
        (machine,) = await look_at_machines(stage.world)
        assert stage.market.calls[len(before) :] == ["get"]
        assert machine.market.state is InstanceState.RUNNING
        assert machine.armed == stage.machine.armed
        assert machine.engine.version == "0.33.0"
        assert machine.engine.loaded == (
            LoadedModel(name="qwen3-coder", context_tokens=65536, gpu_share=0.75),
        )
        assert machine.latency_ms is not None
        assert stage.machine.calls[-1] == "close"

    async def test_nothing_is_asked_of_what_stands_still(self, stage):
        rental = await ready(stage)
        stage.store.advance(rental.uuid, Phase.STOPPED)
        logins = len(stage.machine.logins)
        (machine,) = await look_at_machines(stage.world)
        assert not machine.reached
        assert len(stage.machine.logins) == logins

    async def test_a_dead_machine_and_a_dead_market_are_told(self, stage):
        await ready(stage)
        stage.market.fails["get"] = ProviderError("503")
        stage.machine.fails["reach"] = [SshError("no route to host")]
        (machine,) = await look_at_machines(stage.world)
        assert machine.market_failure.message == "503"
        assert machine.login_failure.message == "no route to host"

    async def test_something_else_on_the_engines_port(self, stage):
        await ready(stage)
        stage.machine.engine = Engine(version=b"hello")
        (machine,) = await look_at_machines(stage.world)
        assert machine.reached
        assert "is not Ollama" in machine.engine_failure.message

    async def test_an_engine_that_does_not_say_what_it_holds(self, stage):
        await ready(stage)
        stage.machine.engine = Engine(ps=b"404 page not found")
        (machine,) = await look_at_machines(stage.world)
        assert (machine.engine.version, machine.engine.loaded) == ("0.33.0", ())

    async def test_without_its_key_a_market_is_not_asked(self, stage):
        await ready(stage)
        stage.world.providers = {}
        (machine,) = await look_at_machines(stage.world)
        assert machine.keyless

    async def test_what_is_gone_is_not_looked_at(self, stage):
        rental = await ready(stage)
        stage.store.advance(rental.uuid, Phase.GONE)
        assert await look_at_machines(stage.world) == []


def verdict(**changes):
    link = machine_links(a_machine(**changes), NOW)[0]
    return link.state, link.trouble, link.fix


class TestVerdicts:
    def test_well(self):
        instance, engine = machine_links(a_machine(), NOW)
        assert (instance.state, instance.trouble, instance.fix) == (CheckState.OK, "", "")
        assert instance.watchdog is CheckState.OK
        assert (instance.armed_until, instance.ends_in_s) == (NOW + LEFT_S, LEFT_S)
        assert (instance.market, instance.gpu) == ("running", "RTX 4090")
        assert engine.name == "ollama:http://main.localhost:11434"
        assert (engine.state, engine.version, engine.latency_ms) == (CheckState.OK, "0.33.0", 44.0)

    @pytest.mark.parametrize(
        ("changes", "state", "trouble", "fix"),
        [
            ({"busy": True}, CheckState.NOTE, "another llmctl works on it now", ""),
            (
                {"rental": a_rental(phase=Phase.STOPPED)},
                CheckState.NOTE,
                "it is stopped, and its disk may be billed",
                "llmctl start main",
            ),
            (
                {"rental": a_rental(phase=Phase.DESTROYING)},
                CheckState.BAD,
                "its end was begun and is not proved",
                "llmctl down main",
            ),
            (
                {"rental": a_rental(phase=Phase.PULLED)},
                CheckState.BAD,
                "it is half done (pulled)",
                "llmctl up main",
            ),
            (
                {"keyless": True},
                CheckState.NOTE,
                "there is no key to ask vast about it",
                "llmctl auth login vast",
            ),
            (
                {"market": None, "market_failure": AuthError("refused")},
                CheckState.BAD,
                "refused",
                "llmctl auth login vast",
            ),
            (
                {"market": None},
                CheckState.BAD,
                "vast does not know it any more",
                "llmctl up main",
            ),
            (
                {"market": an_instance(state=InstanceState.STOPPED, detail="no credit")},
                CheckState.BAD,
                "vast says it is stopped: no credit",
                "llmctl start main",
            ),
            (
                {"market": an_instance(state=InstanceState.LOST)},
                CheckState.BAD,
                "vast says it is lost",
                "llmctl up main",
            ),
            (
                {"login_failure": SshError("cannot reach it")},
                CheckState.BAD,
                "cannot reach it",
                "llmctl up main",
            ),
            (
                {"login_failure": HostKeyChanged("another key")},
                CheckState.BAD,
                "another key",
                "llmctl instance trust main",
            ),
            (
                {"armed": None},
                CheckState.BAD,
                "its watchdog does not answer: it may not end by itself",
                "llmctl up main --ttl 8h",
            ),
            (
                {"armed": Armed(deadline=NOW + 60, idle_s=0, pid=1)},
                CheckState.NOTE,
                "its watchdog ends it -21540 s from what is on record",
                "llmctl up main --ttl 8h",
            ),
            (
                {
                    "rental": a_rental(deadline=NOW + 300),
                    "armed": Armed(deadline=NOW + 300, idle_s=0, pid=1),
                },
                CheckState.NOTE,
                "it ends itself soon",
                "llmctl up main --ttl 8h",
            ),
        ],
    )
    def test_each_trouble_has_its_fix(self, changes, state, trouble, fix):
        assert verdict(**changes) == (state, trouble, fix)

    def test_a_market_that_fails_is_not_the_machines_trouble(self):
        assert verdict(market=None, market_failure=ProviderError("503"))[0] is CheckState.OK

    def test_a_machine_of_ones_own_has_no_watchdog(self):
        own = a_rental(provider=ProviderName.HOST, deadline=None, offer=None, instance_id=None)
        link = machine_links(a_machine(rental=own, market=None, armed=None), NOW)[0]
        assert (link.state, link.watchdog, link.ends_in_s) == (
            CheckState.OK,
            CheckState.UNKNOWN,
            None,
        )
        assert link.gpu == "NVIDIA GeForce RTX 4090"

    def test_an_engine_that_does_not_answer(self):
        _, engine = machine_links(
            a_machine(engine=None, engine_failure=LlmctlError("connection refused")), NOW
        )
        assert (engine.state, engine.trouble, engine.fix) == (
            CheckState.BAD,
            "connection refused",
            "llmctl logs main",
        )

    def test_what_was_not_reached_tells_nothing_of_its_engine(self):
        links = machine_links(a_machine(reached=False, login_failure=SshError("x")), NOW)
        assert len(links) == 1
