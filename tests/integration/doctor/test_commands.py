"""``doctor``, ``bench`` and ``health --deep`` as processes, against real HTTP on loopback."""

import asyncio
import json
import os
import sys

import pytest

from llmctl.core.paths import find_paths
from tests.e2e.processes import Proxy
from tests.emulators.market import ManualClock, Market
from tests.emulators.ollama import Answer, Delay, Model, OllamaEmulator
from tests.emulators.runpod import RunPod
from tests.emulators.vast import VastEmulator
from tests.integration.valkey import running

WORDS = Answer(*(f"word{number} " for number in range(12)))


async def llmctl(*arguments, **variables):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmctl",
        *arguments,
        env={**os.environ, **variables},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def engine():
    async with OllamaEmulator(WORDS) as emulator:
        yield emulator


@pytest.fixture
def path_of_its_own(tmp_path, monkeypatch):
    """Neither a GPU nor the client, whatever this machine has."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))
    return directory


async def findings(**variables):
    code, out, err = await llmctl("doctor", "--json", **variables)
    assert err == ""
    document = json.loads(out)
    assert document["healthy"] is (code == 0)
    assert code in (0, 3)
    found = {}
    for each in document["findings"]:
        found.setdefault(f"{each['section']}/{each['name']}", each)
    return code, found


class TestDoctor:
    async def test_all_is_well(self, engine, path_of_its_own):
        code, found = await findings(OLLAMA_HOST=engine.url)
        assert code == 0, [each for each in found.values() if each["state"] == "bad"]
        assert found["engine/context"]["state"] == "ok"
        assert found["gpu/here"]["state"] == "note"
        assert all(each["took_ms"] >= 0 for each in found.values())
        assert not find_paths(os.environ).state.exists()

    async def test_lines_for_people(self, engine, path_of_its_own):
        code, out, err = await llmctl("doctor", OLLAMA_HOST=engine.url)
        assert (code, err) == (0, "")
        assert out.endswith("\n\nnothing has to be done\n")
        assert "fix: npm install -g @anthropic-ai/claude-code\n" in out

    async def test_a_window_too_small_for_claude_code(self, path_of_its_own):
        small = Model(name="qwen2.5-coder:7b", context_length=8192, family="qwen2")
        async with OllamaEmulator(WORDS, models=(small,)) as emulator:
            code, found = await findings(OLLAMA_HOST=emulator.url)
        assert (code, found["engine/context"]["state"]) == (3, "bad")
        assert found["engine/context"]["fix"] == "llmctl serve --num-ctx 65536"

    async def test_a_broken_file_hides_nothing_else(self, path_of_its_own, llmctl_home):
        path = llmctl_home / "config" / "config.toml"
        path.parent.mkdir(parents=True)
        path.write_text("[serve]\nprot = 1\n")
        code, found = await findings()
        assert (code, found["configuration/file"]["state"]) == (3, "ok")
        assert {"machine/python", "credentials/vast", "network/paths"} <= found.keys()
        quiet = (await llmctl("doctor", "--quiet"))[1]
        assert quiet.splitlines()[0].startswith("bad  configuration  file")
        assert f"{path}:2: there is no setting 'serve.prot'" in quiet
        assert "fix: llmctl config edit\n" in quiet

    async def test_redis(self, engine, path_of_its_own):
        options = ("--maxmemory", "50mb", "--maxmemory-policy", "noeviction")
        with running(*options) as server:
            code, found = await findings(OLLAMA_HOST=engine.url, REDIS_URL=server.url)
        assert (code, found["redis/eviction"]["state"]) == (3, "bad")
        assert found["redis/speed"]["state"] == "ok"

    async def test_a_key_that_is_refused_and_one_that_is_taken(self, engine, path_of_its_own):
        async with VastEmulator() as vast, RunPod(Market(ManualClock())) as runpod:
            code, found = await findings(
                OLLAMA_HOST=engine.url,
                VAST_API_KEY="not-the-key-0000",
                LLMCTL_VAST_URL=vast.url,
                RUNPOD_API_KEY=runpod.key,
                RUNPOD_API_BASE_URL=runpod.url,
            )
        assert code == 3
        refused, taken = found["credentials/vast"], found["credentials/runpod"]
        assert (refused["state"], refused["fix"]) == ("bad", "llmctl auth login vast")
        assert "not-the-key" not in json.dumps(found)
        assert taken["state"] == "ok"
        assert "left, nothing runs" in taken["detail"]
        assert found["network/vast.ai"]["state"] == "ok"

    async def test_a_market_nobody_answers_for(self, engine, path_of_its_own):
        code, found = await findings(
            OLLAMA_HOST=engine.url, VAST_API_KEY="k", LLMCTL_VAST_URL="http://127.0.0.1:9"
        )
        assert code == 3
        assert found["network/vast.ai"]["fix"] == "curl -sSI http://127.0.0.1:9"
        assert found["credentials/vast"]["state"] == "unknown"
        assert found["engine/reached"]["state"] == "ok"


class TestBench:
    async def test_measured_kept_and_compared(self, engine):
        spec = {"OLLAMA_HOST": engine.url}
        code, out, err = await llmctl("bench", "--usd-per-hour", "0.36", "--json", **spec)
        assert code == 0, err
        first = json.loads(out)
        assert [level["concurrency"] for level in first["figures"]["levels"]] == [1, 2, 4, 8]
        assert first["usd_per_hour"] == "0.3600"
        assert first["money"]["cloud_model"] == "claude-sonnet-5"
        assert first["stopped"] == ""
        lines = [line.split(None, 2)[2] for line in err.splitlines()]
        assert lines[0].startswith("loading qwen3-coder:30b")
        assert lines[-1].startswith("measured")

        code, out, err = await llmctl("bench", "--quiet", **spec)
        assert (code, err) == (0, "")
        assert "no price is known: --usd-per-hour 0.40" in out

        _, out, _ = await llmctl("bench", "--history", "--json")
        assert [each["usd_per_hour"] for each in json.loads(out)] == ["0.3600", None]
        _, out, _ = await llmctl("bench", "--history")
        assert len(out.splitlines()) == 3

    async def test_no_cache_of_ours_is_between(self, engine):
        await llmctl("bench", "--quiet", OLLAMA_HOST=engine.url)
        prompts = [str(each.body["messages"]) for each in engine.chats]
        assert len(prompts) == 1 + 6 + 1 + 2 + 4 + 8
        assert len(set(prompts)) == len(prompts)
        assert {each.body["options"]["num_ctx"] for each in engine.chats} == {65536}
        assert len(engine.loads) == 1

    async def test_a_cap_on_time(self):
        async with OllamaEmulator(Answer(Delay(30.0), "late")) as emulator:
            code, out, err = await llmctl(
                "bench", "--max-time", "1s", "--json", OLLAMA_HOST=emulator.url
            )
        assert (code, out) == (6, "")
        error = json.loads(err.splitlines()[-1])["error"]
        assert error["hint"] == "llmctl bench --max-time 15m"

    async def test_a_cap_on_money(self):
        async with OllamaEmulator(Answer(Delay(30.0), "late")) as emulator:
            code, _, err = await llmctl(
                "bench",
                *("--usd-per-hour", "36", "--max-cost", "0.01"),
                OLLAMA_HOST=emulator.url,
            )
        assert code == 6
        assert "which the money allows" in err
        assert "hint: llmctl bench --max-cost 1.00" in err

    @pytest.mark.parametrize(
        "arguments",
        [
            ("--mix", "1:2"),
            ("--max-time", "soon"),
            ("--usd-per-hour", "much"),
            ("main", "--backend", "ollama"),
        ],
    )
    async def test_misuse_is_told(self, arguments):
        code, out, err = await llmctl("bench", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")

    async def test_a_name_that_is_on_no_record(self):
        code, _, err = await llmctl("bench", "nowhere")
        assert code == 5
        assert "there is no instance called 'nowhere'" in err


@pytest.fixture
async def proxy(engine, tmp_path):
    """Its engine, and the window it asks for, are known by flags alone."""
    flags = ("--backend", f"ollama:{engine.url}", "--num-ctx", "16384")
    found = Proxy(tmp_path / "home", flags, {})
    await found.start()
    yield found
    await found.stop()


class TestHealth:
    async def test_one_real_answer(self, engine, proxy):
        for _ in range(2):
            code, out, err = await llmctl("health", "--deep", "--json", **proxy.environment)
            assert (code, err) == (0, "")
            completion = json.loads(out)["links"][-1]
            assert completion["kind"] == "completion"
            assert completion["latency_ms"] > 0
        assert len(engine.chats) == 2  # neither came from a cache


class TestOfTheProxyThatRuns:
    async def test_the_doctor_looks_at_its_engine_and_window(self, engine, proxy, path_of_its_own):
        variables = {**proxy.environment, "PATH": str(path_of_its_own)}
        code, found = await findings(**variables)
        assert found["engine/reached"]["detail"].startswith(f"ollama:{engine.url} answers")
        assert (code, found["engine/context"]["state"]) == (3, "bad")
        assert "16,384 tokens" in found["engine/context"]["detail"]

    async def test_bench_measures_its_engine(self, engine, proxy):
        code, out, err = await llmctl("bench", "--quiet", "--json", **proxy.environment)
        assert (code, err) == (0, "")
        assert json.loads(out)["name"] == f"ollama:{engine.url}"
        assert {each.body["options"]["num_ctx"] for each in engine.chats} == {16_384}
