from importlib.util import find_spec

import pytest
from msgspec.structs import replace

from llmctl.config.load import load
from llmctl.config.schema import ModelConfig
from llmctl.core.model import EngineFacts, Health, LoadedModel, PartHealth
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.engines import (
    SeenEngine,
    answering_model,
    context_finding,
    embedded_findings,
    engine_findings,
    served_findings,
    version_finding,
)
from llmctl.ops.env import Served
from llmctl.ops.served import Running, as_served
from llmctl.protocol.engine import EngineModel

HERE = "ollama:http://127.0.0.1:11434"
MODEL = EngineModel(
    name="qwen3-coder:30b",
    digest="d",
    context_length=262_144,
    capabilities=frozenset({"completion", "tools"}),
)
LOADED = LoadedModel(name=MODEL.name, context_tokens=65536, gpu_share=1.0)
WELL = SeenEngine(
    name=HERE,
    kind="ollama",
    facts=EngineFacts(version="0.33.0", latency_ms=0.7, loaded=(LOADED,)),
    models=[MODEL],
)


def states(engine, config=ModelConfig()):
    return {each.name: each.state for each in engine_findings([engine], config)}


def one(name, engine, config=ModelConfig()):
    return [each for each in engine_findings([engine], config) if each.name == name][-1]


def test_well():
    assert states(WELL) == dict.fromkeys(("reached", "version", "model", "context"), CheckState.OK)
    assert one("reached", WELL).detail == f"{HERE} answers in 0.7 ms, with 1 model"


def test_out_of_reach():
    dead = SeenEngine(name=HERE, kind="ollama", failure="connection refused")
    (found,) = engine_findings([dead], ModelConfig())
    assert found.state is CheckState.BAD
    assert found.fix.startswith("ollama serve  # or: llmctl serve --backend embedded")


class TestVersions:
    @pytest.mark.parametrize("version", ["0.17.1", "0.33.0", "1.0.0", "v0.18.0"])
    def test_without_a_hole(self, version):
        assert version_finding(version, where=HERE).state is CheckState.OK

    @pytest.mark.parametrize(
        ("version", "holes"),
        [("0.17.0", ["CVE-2026-7482"]), ("0.1.30", ["CVE-2024-37032", "CVE-2026-7482"])],
    )
    def test_with_a_hole(self, version, holes):
        found = version_finding(version, where=HERE)
        assert found.state is CheckState.BAD
        assert all(hole in found.detail for hole in holes)
        assert found.fix == "curl -fsSL https://ollama.com/install.sh | sh"

    def test_on_a_machine_on_record(self):
        found = version_finding("0.16.0", where="main", fix="llmctl up main")
        assert found.fix == "llmctl up main"

    @pytest.mark.parametrize("version", ["", "0.0.0", "nightly"])
    def test_what_cannot_be_compared(self, version):
        assert version_finding(version, where=HERE).state is CheckState.UNKNOWN


class TestTheModel:
    def test_nothing_that_answers_for_claude(self):
        bare = replace(WELL, models=[replace(MODEL, name="llama3:8b"), replace(MODEL, name="x")])
        bad = one("model", bare)
        assert (bad.state, bad.fix) == (CheckState.BAD, "ollama pull qwen3-coder")
        assert answering_model([bare], ModelConfig()) is None

    def test_the_configured_one_is_missing(self):
        bad = one("model", WELL, ModelConfig(name="devstral"))
        assert bad.fix == "ollama pull devstral"

    def test_one_without_tools(self):
        plain = replace(WELL, models=[replace(MODEL, capabilities=frozenset({"completion"}))])
        assert one("model", plain).state is CheckState.BAD

    def test_which_one_it_is(self):
        assert answering_model([WELL], ModelConfig()) is MODEL


class TestTheWindow:
    @pytest.mark.parametrize(
        ("window", "state", "fix"),
        [
            (4096, CheckState.BAD, "llmctl serve --num-ctx 65536"),
            (23_999, CheckState.BAD, "llmctl serve --num-ctx 65536"),
            (24_000, CheckState.NOTE, "llmctl serve --num-ctx 65536"),
            (65_536, CheckState.OK, ""),
        ],
    )
    def test_against_what_claude_code_needs(self, window, state, fix):
        found = context_finding("m", window)
        assert (found.state, found.fix) == (state, fix)

    def test_no_more_than_it_was_trained_for(self):
        small = replace(WELL, models=[replace(MODEL, context_length=8192)], facts=EngineFacts())
        assert one("context", small).state is CheckState.BAD

    def test_loaded_with_less_than_is_asked_for(self):
        short = replace(LOADED, context_tokens=4096)
        found = one("context", replace(WELL, facts=EngineFacts(version="0.33.0", loaded=(short,))))
        assert found.state is CheckState.NOTE
        assert "loaded with 4,096 tokens and is asked for 65,536" in found.detail


def test_spilled():
    spilled = replace(LOADED, gpu_share=0.5)
    found = one("memory", replace(WELL, facts=EngineFacts(version="0.33.0", loaded=(spilled,))))
    assert (found.state, found.fix) == (CheckState.NOTE, "llmctl serve --num-ctx 32768")


def test_open_to_a_network():
    found = one("exposed", replace(WELL, name="ollama:http://10.0.0.5:11434"))
    assert (found.state, found.fix) == (CheckState.NOTE, "llmctl tunnel --host root@10.0.0.5:22")


class TestTheEmbeddedOne:
    def of(self, tmp_path, backend):
        environ = {"LLMCTL_HOME": str(tmp_path)}
        return embedded_findings(load(flags={"backend": [backend]}, environ=environ))

    def test_where_it_is_configured(self, tmp_path):
        (found,) = self.of(tmp_path, "embedded")
        installed = find_spec("xllamacpp") is not None
        assert found.state is (CheckState.OK if installed else CheckState.BAD)
        assert found.fix == ("" if installed else "pip install 'llmctl[embedded]'")

    def test_where_it_is_not(self, tmp_path):
        assert self.of(tmp_path, "ollama") == []


def test_of_a_running_proxy_its_own_engine_is_told_and_the_others_are_asked():
    inside = PartHealth(
        name="embedded:smollm",
        kind="openai",
        healthy=True,
        loaded=[LoadedModel(name="smollm", context_tokens=8192)],
    )
    rented = PartHealth(name="ollama:http://main.localhost:11434", healthy=True)
    flagged = PartHealth(name="ollama:http://127.0.0.1:9", healthy=True)
    served = Health(status="ok", backends=[inside, rented, flagged])
    reached, window = served_findings(served)
    assert (reached.state, window.state) == (CheckState.OK, CheckState.BAD)
    assert "8,192 tokens" in window.detail
    used = as_served(load(flags={}, environ={}), Running(health=served))
    assert [each.url for each in used.config.backend] == ["ollama:http://127.0.0.1:9"]
    assert used.config.model == ModelConfig()


def test_the_model_and_the_window_are_those_the_proxy_answers_with():
    part = PartHealth(name=HERE, healthy=True, models=[MODEL.name])
    offered = Served(url="http://p", models={"SONNET": MODEL.name}, context_tokens=16_384)
    running = Running(health=Health(status="ok", backends=[part]), offered=offered)
    used = as_served(load(flags={}, environ={}), running)
    assert (used.config.model.name, used.config.model.num_ctx) == (MODEL.name, 16_384)
    assert one("context", WELL, used.config.model).state is CheckState.BAD


def test_a_broken_engine_of_the_proxy_says_how_to_begin_anew():
    broken = PartHealth(name="embedded:smollm", detail="it crashed")
    (found,) = served_findings(Health(status="down", backends=[broken]))
    assert (found.state, found.fix) == (CheckState.BAD, "llmctl serve --backend embedded")
