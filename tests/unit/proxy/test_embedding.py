"""Which embedder is used, and that a request never waits for one that does not work."""

import asyncio
from collections import Counter

import pytest

pytest.importorskip("numpy")

from llmctl.backend.embedding import Displaced, EngineEmbedder
from llmctl.config.schema import SemanticConfig
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.proxy.embedding import (
    FAILURES,
    MAX_PAUSE_S,
    MAX_WAITING,
    Choice,
    Embedding,
    Unavailable,
)
from llmctl.semantic.index import unit
from tests.clocks import ManualClock
from tests.unit.proxy.virtual_time import run

VECTOR = unit([1.0, 0.0])
MODEL = EngineModel(name="nomic", digest="d", capabilities=frozenset({"embedding"}))


class Fake:
    """An embedder that fails and dawdles as told."""

    name = "fake"
    budget_s = 0.05

    def __init__(self, *, takes_s: float = 0.0, failure: Exception | None = None) -> None:
        self.takes_s = takes_s
        self.failure = failure
        self.unprepared: Exception | None = None
        self.prepared = 0
        self.embedded = 0

    async def prepare(self) -> None:
        self.prepared += 1
        if self.unprepared is not None:
            raise self.unprepared

    async def embed(self, _text: str):
        self.embedded += 1
        await asyncio.sleep(self.takes_s)
        if self.failure is not None:
            raise self.failure
        return VECTOR


class Chosen:
    """Chooses the one there is."""

    def __init__(self, embedder: Fake) -> None:
        self.embedder = embedder
        self.refused: list[str] = []

    def __call__(self) -> Fake:
        if self.refused:
            raise Unavailable("there is no other")
        return self.embedder

    def refuse(self, _embedder: Fake, reason: str) -> None:
        self.refused.append(reason)


class Stage:
    def __init__(self, embedder: Fake) -> None:
        self.embedder = embedder
        self.choice = Chosen(embedder)
        self.counts: Counter[str] = Counter()
        self.embedding = Embedding(self.choice, clock=ManualClock(), counts=self.counts)

    async def __aenter__(self) -> "Stage":
        self.embedding.start()
        await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.embedding.close()


def test_a_vector_comes_with_the_name_of_who_made_it():
    async def scene(_clock) -> None:
        async with Stage(Fake()) as stage:
            name, vector = await stage.embedding.vector("hello")
            assert name == "fake"
            assert list(vector) == [1.0, 0.0]

    run(scene)


def test_a_slow_embedder_costs_its_budget_three_times_and_then_nothing():
    async def scene(_clock) -> None:
        async with Stage(Fake()) as stage:
            stage.embedder.takes_s = 3600
            loop = asyncio.get_running_loop()
            began = loop.time()
            for _ in range(FAILURES):
                assert await stage.embedding.vector("hello") is None
            assert loop.time() - began == pytest.approx(FAILURES * 0.05)
            began = loop.time()
            for _ in range(10):
                assert await stage.embedding.vector("hello") is None
            assert loop.time() == began
            assert stage.counts == {"embedder_slow": FAILURES, "embedder_out": 10}
            assert "50 ms" in stage.embedding.detail
            asked = stage.embedder.embedded
            await asyncio.sleep(600)
            assert not stage.embedding.ready
            assert stage.embedder.embedded < asked + 20
            stage.embedder.takes_s = 0.0
            await asyncio.sleep(MAX_PAUSE_S + 1)
            assert stage.embedding.ready

    run(scene)


def test_one_that_fails_is_tried_in_the_background_until_it_works():
    async def scene(_clock) -> None:
        stage = Stage(Fake())
        async with stage:
            stage.embedder.failure = overloaded("the engine is gone")
            for _ in range(FAILURES):
                await stage.embedding.vector("hello")
            assert not stage.embedding.ready
            assert "the engine is gone" in stage.embedding.detail
            stage.embedder.failure = None
            await asyncio.sleep(2)
            assert stage.embedding.ready
            assert not stage.embedding.detail
            assert await stage.embedding.vector("hello") is not None

    run(scene)


def test_attempts_grow_rarer():
    async def scene(_clock) -> None:
        stage = Stage(Fake())
        stage.embedder.unprepared = overloaded("no such model")
        async with stage:
            await asyncio.sleep(600)
            assert 10 <= stage.embedder.prepared <= 7 + 600 / MAX_PAUSE_S
            assert "no such model" in stage.embedding.detail

    run(scene)


def test_one_failure_now_and_then_does_no_harm():
    async def scene(_clock) -> None:
        async with Stage(Fake()) as stage:
            for _ in range(4 * FAILURES):
                stage.embedder.failure = ValueError("hiccup")
                assert await stage.embedding.vector("hello") is None
                stage.embedder.failure = None
                assert await stage.embedding.vector("hello") is not None
            assert stage.counts["embedder_failed"] == 4 * FAILURES

    run(scene)


def test_more_than_a_few_do_not_queue():
    async def scene(_clock) -> None:
        async with Stage(Fake()) as stage:
            stage.embedder.takes_s = 0.01
            asked = [stage.embedding.vector("hello") for _ in range(MAX_WAITING + 5)]
            found = await asyncio.gather(*asked)
            assert sum(one is not None for one in found) == MAX_WAITING
            assert stage.counts == {"embedder_busy": 5}

    run(scene)


def test_one_that_displaces_the_model_that_chats_is_never_used_again():
    async def scene(_clock) -> None:
        stage = Stage(Fake())
        stage.embedder.unprepared = Displaced("it drops qwen3-coder to load nomic")
        async with stage:
            await asyncio.sleep(600)
            assert stage.embedder.prepared == 1
            assert stage.choice.refused == ["it drops qwen3-coder to load nomic"]

    run(scene)


# -- which one


class Pool:
    """Has an embedding model, or not."""

    def __init__(self, *, has: bool = True, all_answered: bool = True) -> None:
        self.has = has
        self.all_answered = all_answered
        self.asked: list[str | None] = []

    def embedding(self, name: str | None = None):
        self.asked.append(name)
        return (FakeEngine(), MODEL) if self.has else None


class FakeEngine:
    """Embeds; ``drops`` is what it unloads when it loads an embedding model."""

    name = "ollama:x"

    def __init__(self, *, loaded=(), drops=(), vector=(3.0, 4.0)) -> None:
        self.memory = set(loaded)
        self.drops = set(drops)
        self.vector = vector
        self.kept: list[str] = []

    async def embed(self, _text, model, *, keep_alive, within_s):
        self.kept.append(keep_alive)
        self.memory -= self.drops
        self.memory.add(model.name)
        return list(self.vector)

    async def loaded(self):
        return frozenset(self.memory)


def choose(pool: Pool, *, local: bool = True, **config):
    made = Fake() if local else None
    return (
        Choice(SemanticConfig(**config), pool, keep_alive="30m", local=lambda: made)
        if local
        else (Choice(SemanticConfig(**config), pool, keep_alive="30m", local=None))
    )


def test_the_engines_model_is_preferred():
    assert choose(Pool())().name == "nomic@d"


def test_the_configured_model_is_asked_for():
    pool = Pool()
    choose(pool, embedding_model="mxbai-embed-large")()
    assert pool.asked == ["mxbai-embed-large"]


def test_without_one_the_local_embedder_serves():
    assert choose(Pool(has=False))().name == "fake"
    assert choose(Pool(), embedder="local")().name == "fake"


def test_engines_that_have_not_answered_are_waited_for():
    with pytest.raises(Unavailable, match="not every engine"):
        choose(Pool(has=False, all_answered=False))()


def test_an_engines_model_that_is_gone_for_a_while_is_waited_for():
    pool = Pool()
    choice = choose(pool)
    choice()
    pool.has = False
    with pytest.raises(Unavailable, match="not well"):
        choice()
    pool.has = True
    assert choice().name == "nomic@d"


def test_without_any_the_operator_is_told_what_to_do():
    with pytest.raises(Unavailable, match=r"llmctl\[semantic\]"):
        choose(Pool(has=False), local=False)()
    with pytest.raises(Unavailable, match="no engine has an embedding model"):
        choose(Pool(has=False), embedder="engine")()


def test_a_refused_one_is_not_chosen_again():
    choice = choose(Pool())
    choice.refuse(choice(), "it drops others")
    assert choice().name == "fake"


# -- the engine's


async def test_loading_beside_the_others_is_fine():
    engine = FakeEngine(loaded={"qwen3-coder"})
    embedder = EngineEmbedder(engine, MODEL, keep_alive="30m")
    await embedder.prepare()
    assert list(await embedder.embed("x")) == pytest.approx([0.6, 0.8])
    assert engine.kept == ["30m", "30m"]


async def test_loading_in_the_place_of_another_gives_the_place_back():
    engine = FakeEngine(loaded={"qwen3-coder"}, drops={"qwen3-coder"})
    with pytest.raises(Displaced, match="qwen3-coder"):
        await EngineEmbedder(engine, MODEL, keep_alive="30m").prepare()
    assert engine.kept == ["30m", "0s"]


@pytest.mark.parametrize("vector", [[], [0.0, 0.0], [float("nan"), 1.0]])
async def test_a_vector_without_direction_is_a_failure(vector):
    embedder = EngineEmbedder(FakeEngine(vector=vector), MODEL, keep_alive="30m")
    with pytest.raises(ApiError, match="nomic"):
        await embedder.embed("x")
