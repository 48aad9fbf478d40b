import pytest

from llmctl.core.model import Health, LoadedModel, PartHealth, SemanticHealth
from llmctl.core.reports_health import CheckState
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ops.health_links import (
    backend_link,
    cache_link,
    engine_fix,
    file_fix,
    ledger_link,
    links_of,
    on_record,
    proxy_link,
    semantic_link,
    tunnel_link,
)
from tests.unit.ops.machines import a_rental

NO_OLLAMA = "ollama serve  # or: llmctl serve --backend embedded; llmctl up"


class TestTheProxy:
    @pytest.mark.parametrize(
        ("status", "state", "fix"),
        [
            ("ok", CheckState.OK, ""),
            ("degraded", CheckState.OK, ""),
            ("down", CheckState.BAD, "llmctl doctor"),
            ("draining", CheckState.BAD, "llmctl serve"),
        ],
    )
    def test_by_its_own_word(self, status, state, fix):
        link = proxy_link(Health(status=status, version="1"), "http://x", 1.0)
        assert (link.state, link.fix, link.status) == (state, fix, status)


class TestTheCache:
    def test_well(self):
        part = PartHealth(kind="redis", healthy=True, location="redis://h:6379/0", breaker="closed")
        link = cache_link(part)
        assert (link.state, link.trouble, link.breaker) == (CheckState.OK, "", "closed")

    @pytest.mark.parametrize(
        ("part", "fix"),
        [
            (
                PartHealth(kind="redis", location="redis://h:6379/0", detail="did not answer"),
                "redis-cli -u redis://h:6379/0 ping",
            ),
            (
                PartHealth(kind="redis", location="unix:///r.sock?db=0", detail="gone"),
                "redis-cli -s /r.sock ping",
            ),
            (
                PartHealth(
                    kind="redis",
                    location="redis://h:6379/0",
                    detail="asks for a password; set REDIS_PASSWORD",
                ),
                "export REDIS_PASSWORD=…, then llmctl serve",
            ),
            (
                PartHealth(
                    kind="sqlite", location="/a b/c.db", detail="no space is left for /a b/c.db"
                ),
                "df -h '/a b'",
            ),
        ],
    )
    def test_trouble_brings_its_fix(self, part, fix):
        link = cache_link(part)
        assert (link.state, link.trouble, link.fix) == (CheckState.BAD, part.detail, fix)

    def test_advice_is_no_trouble(self):
        link = cache_link(PartHealth(kind="redis", healthy=True, advice="set maxmemory"))
        assert (link.state, link.trouble) == (CheckState.NOTE, "set maxmemory")

    def test_what_became_of_a_damaged_file_is_worth_a_word(self):
        link = cache_link(PartHealth(kind="sqlite", healthy=True, detail="it was damaged"))
        assert (link.state, link.fix) == (CheckState.NOTE, "")


def test_the_ledger():
    link = ledger_link(PartHealth(location="/l.db", detail="another process keeps /l.db locked"))
    assert (link.state, link.fix) == (CheckState.BAD, "fuser -v /l.db")


class TestAnEngine:
    def test_well(self):
        loaded = LoadedModel(name="m", context_tokens=65536, gpu_share=1.0)
        part = PartHealth(
            name="ollama:http://h:1", kind="ollama", healthy=True, loaded=[loaded], models=["m"]
        )
        link = backend_link(part)
        assert (link.state, link.models, link.loaded) == (CheckState.OK, 1, [loaded])

    def test_spilled_to_the_processor(self):
        loaded = LoadedModel(name="m", context_tokens=131072, gpu_share=0.82)
        link = backend_link(PartHealth(name="ollama:http://h:1", healthy=True, loaded=[loaded]))
        assert link.state is CheckState.NOTE
        assert link.trouble == "18 % of m runs on the processor, which is slow"
        assert link.fix == "llmctl serve --num-ctx 65536"

    @pytest.mark.parametrize("share", [None, 0.0, 1.0])
    def test_what_is_no_spill(self, share):
        loaded = LoadedModel(name="m", gpu_share=share)
        part = PartHealth(name="ollama:http://h:1", healthy=True, loaded=[loaded])
        assert backend_link(part).state is CheckState.OK

    def test_cooling_down(self):
        part = PartHealth(name="ollama:http://h:1", healthy=True, cooldown_s=4.5)
        assert backend_link(part).trouble.endswith("others are preferred for 4.5 s")

    @pytest.mark.parametrize(
        ("name", "detail", "fix"),
        [
            ("ollama:http://127.0.0.1:11434", "connection refused", NO_OLLAMA),
            ("ollama:http://gpu:11434", "refused", "curl -sS http://gpu:11434/api/version"),
            ("openai:http://gpu:8000", "refused", "curl -sS http://gpu:8000/v1/models"),
            (
                "openai:http://gpu:8000",
                "asks for a key (LLMCTL_BACKEND_API_KEY)",
                "export LLMCTL_BACKEND_API_KEY=…, then llmctl serve",
            ),
            ("ollama:http://main.localhost:11434", "gone", "llmctl up main"),
            ("embedded:smollm", "crashed", "llmctl serve --backend embedded"),
        ],
    )
    def test_each_failure_has_its_fix(self, name, detail, fix):
        assert engine_fix(name, detail) == fix
        link = backend_link(PartHealth(name=name, detail=detail))
        assert (link.state, link.fix) == (CheckState.BAD, fix)


class TestATunnel:
    def status(self, state, **changes):
        return TunnelStatus(name="gpu", state=state, **changes)

    def test_well(self):
        link = tunnel_link(
            self.status(TunnelState.UP, uptime_s=60.0, connections=3, round_trip_ms=41.0),
            holder="proxy",
        )
        assert (link.state, link.reconnects, link.connected_s) == (CheckState.OK, 2, 60.0)
        assert link.latency_ms == 41.0

    @pytest.mark.parametrize(
        ("status", "holder", "fix"),
        [
            (
                {"state": TunnelState.DOWN, "detail": "host key", "given_up": True},
                "proxy",
                "llmctl instance trust gpu",
            ),
            ({"state": TunnelState.UP, "detail": "nothing answers"}, "proxy", "llmctl up gpu"),
            ({"state": TunnelState.CONNECTING}, "proxy", "llmctl instance show gpu"),
            (
                {"state": TunnelState.DOWN, "detail": "no route"},
                "pid 7",
                "llmctl tunnel stop gpu; llmctl tunnel gpu --background",
            ),
        ],
    )
    def test_each_failure_has_its_fix(self, status, holder, fix):
        link = tunnel_link(self.status(**status), holder=holder)
        assert (link.state, link.fix) == (CheckState.BAD, fix)
        assert link.trouble

    def test_a_late_answer_is_not_the_end(self):
        assert (
            tunnel_link(self.status(TunnelState.SUSPECT), holder="proxy").state is CheckState.NOTE
        )


def test_what_a_proxy_does_without_is_no_link():
    assert links_of(Health(status="ok")) == []


@pytest.mark.parametrize(
    ("detail", "fix"),
    [
        ("nfs is a network file system", "export LLMCTL_HOME=… on a local disk, then llmctl serve"),
        ("/d/f.db is read-only", "ls -ld /d /d/f.db"),
    ],
)
def test_files(detail, fix):
    assert file_fix("/d/f.db", detail) == fix


def test_a_rental_on_record():
    made = on_record(a_rental())
    assert made.name == "main"
    assert (made.phase, made.deadline) == ("ready", a_rental().deadline)


class TestSemantic:
    def test_a_tier_that_is_well_says_in_which_mode(self):
        link = semantic_link(SemanticHealth(mode="on", healthy=True, entries=7))
        assert (link.name, link.state, link.fix) == ("in other words: on", CheckState.OK, "")

    @pytest.mark.parametrize(
        ("detail", "journal", "fix"),
        [
            (
                "no embedder: pip install 'llmctl[semantic]'",
                PartHealth(),
                "pip install 'llmctl[semantic]'",
            ),
            (
                "gone",
                PartHealth(kind="redis", location="redis://h/0", detail="gone"),
                "redis-cli -u redis://h/0 ping",
            ),
            ("it is slow", PartHealth(), "llmctl cache test"),
        ],
    )
    def test_one_that_is_not_names_its_own_cure(self, detail, journal, fix):
        link = semantic_link(SemanticHealth(mode="on", detail=detail, journal=journal))
        assert (link.state, link.trouble, link.fix) == (CheckState.BAD, detail, fix)
