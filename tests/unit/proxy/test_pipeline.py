"""What becomes of a request: its window and tokens, whom it shares an answer with, what is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from llmctl.backend.pool import Route
from llmctl.cache.memory import MemoryStore
from llmctl.cache.policy import FULL, NONE, REFRESH
from llmctl.core.usage import CacheOutcome
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineDone, EngineModel, EngineToolCall
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.protocol.tokens import TokenCounter
from llmctl.proxy.answers import Answers
from llmctl.proxy.broadcast import Generation, Listener
from llmctl.proxy.counting import TokenCounts
from llmctl.proxy.pipeline import MAX_NAME_CHARS, Ask, Pipeline, Settings
from tests.clocks import ManualClock
from tests.integration.eventually import eventually
from tests.sealing import entries_in
from tests.unit.proxy.stage import settle

MODEL = EngineModel(name="m", digest="d", context_length=8192, capabilities=frozenset({"tools"}))


class Engine:
    """Has no vocabulary and no tokenizer."""

    async def vocabulary(self, _model: EngineModel) -> None:
        return None

    async def count(self, _request, _model: EngineModel) -> None:
        return None


class Answering:
    """What an engine says, from a list; it says nothing before ``gate`` is set."""

    engine_name = "fake"

    def __init__(self, model: EngineModel, chunks: list[EngineChunk], gate: asyncio.Event) -> None:
        self.model = model
        self.closed = False
        self.chunks = self._chunks(chunks, gate)

    async def _chunks(
        self, chunks: list[EngineChunk], gate: asyncio.Event
    ) -> AsyncIterator[list[EngineChunk]]:
        await gate.wait()
        yield chunks

    async def aclose(self) -> None:
        self.closed = True


class Pool:
    """Resolves every name to one model; ``answers_with`` is the one that answers in the end."""

    def __init__(self) -> None:
        self.route = Route(((Engine(), MODEL),))
        self.answers_with = MODEL
        self.says = [EngineChunk(text="Hello"), EngineChunk(done=EngineDone(reason="stop"))]
        self.gate = asyncio.Event()
        self.gate.set()
        self.plans: list[ChatPlan] = []
        self.background: list[bool] = []
        self.opened: list[Answering] = []

    def resolve(self, _name: str) -> Route:
        return self.route

    async def open(
        self, _route: Route, plan_for: Callable[[EngineModel], ChatPlan], *, background: bool
    ) -> Answering:
        self.plans.append(plan_for(self.answers_with))
        self.background.append(background)
        self.opened.append(Answering(self.answers_with, self.says, self.gate))
        return self.opened[-1]


class Stage:
    """A pipeline on a pool that answers as told."""

    def __init__(self, tmp_path: Path, **settings) -> None:
        self.pool = Pool()
        clock = ManualClock()
        store = MemoryStore(max_bytes=1_000_000, clock=clock)
        wishes = {"num_ctx": None, "keep_alive": "30m", "stable_prefix": True}
        wishes |= {"cache": True, "tool_answers": True}
        self.pipeline = Pipeline(
            pool=self.pool,
            answers=Answers(
                entries_in(store, clock, tmp_path),
                memory_bytes=1_000_000,
                ttl_s=3600,
                clock=clock,
            ),
            counts=TokenCounts(TokenCounter(), _NoTasks(), tmp_path / "counts.json"),
            settings=Settings(**(wishes | settings)),
            secret=b"s" * 32,
            clock=clock,
        )

    def ask(self, text: str = "hi", **fields) -> Ask:
        body = {"model": "claude-x", "max_tokens": 100, **fields}
        body.setdefault("messages", [{"role": "user", "content": text}])
        return self.pipeline.understand(msgspec.json.encode(body), "tenant")

    def begin(self, ask: Ask, use=FULL) -> tuple[Generation, CacheOutcome, Listener]:
        generation, outcome = self.pipeline.generation(ask, b"raw", use)
        return generation, outcome, generation.join(frames=True)

    async def answer(self, ask: Ask, use=FULL) -> Generation:
        generation, _, listener = self.begin(ask, use)
        await listener.end()
        generation.leave(listener)
        return generation

    def kept(self, ask: Ask) -> bool:
        return self.pipeline.answers.hot(ask.key) is not None


class _NoTasks:
    """Vocabularies are never fetched."""

    def start(self, work, *, name: str) -> asyncio.Future[None]:
        work.close()
        return asyncio.get_running_loop().create_future()


@pytest.fixture
async def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


# -- windows and tokens


@pytest.mark.parametrize(
    ("num_ctx", "trained", "window"),
    [(None, 8192, 8192), (None, 262_144, 65_536), (4096, 8192, 4096), (9999, 8192, 8192)],
)
async def test_the_window_is_the_wanted_one_or_the_models(tmp_path, num_ctx, trained, window):
    pipeline = Stage(tmp_path, num_ctx=num_ctx).pipeline
    model = msgspec.structs.replace(MODEL, context_length=trained)
    assert pipeline.window(model) == window


@pytest.mark.parametrize("num_ctx", [None, 4096])
async def test_the_window_of_a_model_that_does_not_tell_is_what_was_set(tmp_path, num_ctx):
    model = msgspec.structs.replace(MODEL, context_length=None)
    assert Stage(tmp_path, num_ctx=num_ctx).pipeline.window(model) == num_ctx


async def test_max_tokens_is_clamped_to_what_the_window_leaves(stage):
    await stage.answer(stage.ask(max_tokens=100))
    await stage.answer(stage.ask(max_tokens=32_000))
    small, large = (plan.max_tokens for plan in stage.pool.plans)
    assert small == 100
    assert 8000 < large < 8192
    assert {plan.num_ctx for plan in stage.pool.plans} == {8192}


async def test_a_prompt_that_cannot_fit_is_refused_in_the_clients_words(stage):
    with pytest.raises(ApiError, match=r"prompt is too long: \d+ tokens > 8192 maximum"):
        stage.begin(stage.ask("word " * 50_000))
    assert stage.pipeline.running == 0


async def test_a_name_beyond_all_measure_is_not_remembered_anywhere(stage):
    for name in ("claude-" + "x" * MAX_NAME_CHARS, "x" * 1_000_000):
        with pytest.raises(ApiError) as refused:
            stage.ask(model=name)
        assert refused.value.status == 404
        assert len(refused.value.message) < 200


async def test_only_requests_with_tools_go_before_others(stage):
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    await stage.answer(stage.ask())
    await stage.answer(stage.ask(tools=tools))
    assert stage.pool.background == [True, False]


async def test_only_what_the_engine_itself_counted_is_learned(stage):
    ask = stage.ask("some words of a prompt")
    counter = stage.pipeline.counts.counter
    counter.measure(ask.request, MODEL)
    before = counter.export_state()
    await stage.answer(ask, NONE)
    await settle()
    assert counter.export_state() == before
    stage.pool.says = [
        EngineChunk(text="x", done=EngineDone(reason="stop", prompt_tokens=40)),
    ]
    await stage.answer(ask, NONE)
    await settle()
    assert counter.export_state() != before


# -- sharing


async def test_the_same_question_joins_the_answer_in_progress(stage):
    stage.pool.gate.clear()
    first, missed, _ = stage.begin(stage.ask())
    second, shared, _ = stage.begin(stage.ask(metadata={"user_id": "somebody else"}))
    other, also_missed, _ = stage.begin(stage.ask("another"))
    assert second is first
    assert other is not first
    assert (missed, shared, also_missed) == ("miss", "shared", "miss")
    assert stage.pipeline.running == 2
    await stage.pipeline.close(overloaded("enough"))


@pytest.mark.parametrize("use", [REFRESH, NONE])
async def test_whoever_wants_a_fresh_answer_shares_none(stage, use):
    stage.pool.gate.clear()
    first, _, _ = stage.begin(stage.ask())
    fresh, outcome, _ = stage.begin(stage.ask(), use)
    another, _, _ = stage.begin(stage.ask(), use)
    joined, _, _ = stage.begin(stage.ask())
    assert len({id(first), id(fresh), id(another)}) == 3
    assert outcome is CacheOutcome.BYPASS
    assert joined is first
    await stage.pipeline.close(overloaded("enough"))


async def test_an_answer_that_everybody_left_is_begun_anew(stage):
    stage.pool.gate.clear()
    left, _, listener = stage.begin(stage.ask())
    left.leave(listener)
    again, outcome, listener = stage.begin(stage.ask())
    assert again is not left
    assert outcome is CacheOutcome.MISS
    await eventually(lambda: left.ended)
    joined, outcome, _ = stage.begin(stage.ask())
    assert joined is again
    assert outcome is CacheOutcome.SHARED
    stage.pool.gate.set()
    await listener.end()
    assert again.message.content[0].text == "Hello"
    assert stage.pipeline.running == 0


async def test_closing_ends_what_has_not_even_begun(stage):
    _, _, listener = stage.begin(stage.ask())
    await stage.pipeline.close(overloaded("going down"))
    await listener.end()
    assert stage.pipeline.running == 0
    assert b"going down" in b"".join(listener.take())


# -- keeping


async def test_a_good_answer_is_kept_and_found_by_bytes_and_by_meaning(stage):
    ask = stage.ask()
    assert await stage.pipeline.lookup(ask, b"raw") is None
    await stage.answer(ask)
    shortcut, replay = await stage.pipeline.recall(b"raw")
    assert (shortcut.asked, shortcut.stream) == ("claude-x", False)
    assert (await stage.pipeline.lookup(ask, b"other")).message == replay.message
    assert await stage.pipeline.recall(b"other") is not None


async def test_a_body_without_a_key_is_not_remembered(stage):
    assert await stage.pipeline.lookup(stage.ask(), b"") is None
    await stage.answer(stage.ask())
    await stage.pipeline.lookup(stage.ask(), b"")
    assert await stage.pipeline.recall(b"") is None


async def test_a_shortcut_leads_nowhere_once_the_model_has_changed(stage):
    await stage.answer(stage.ask())
    newer = msgspec.structs.replace(MODEL, digest="newer")
    stage.pool.route = Route(((Engine(), newer),))
    assert await stage.pipeline.recall(b"raw") is None
    assert not stage.kept(stage.ask())


async def test_the_answer_of_another_model_is_given_but_not_kept(stage):
    stage.pool.answers_with = msgspec.structs.replace(MODEL, name="other", digest="other")
    generation = await stage.answer(stage.ask())
    assert generation.message.model == "other"
    assert not stage.kept(stage.ask())


@pytest.mark.parametrize(("use", "kept"), [(FULL, True), (REFRESH, True), (NONE, False)])
async def test_who_may_write_keeps_the_answer(stage, use, kept):
    await stage.answer(stage.ask(), use)
    assert stage.kept(stage.ask()) is kept


@pytest.mark.parametrize("allowed", [True, False])
async def test_answers_that_call_tools_are_kept_where_that_is_wanted(tmp_path, allowed):
    stage = Stage(tmp_path, tool_answers=allowed)
    call = EngineToolCall(name="Read", arguments={"file_path": "/a"})
    stage.pool.says = [EngineChunk(tool_calls=(call,), done=EngineDone(reason="stop"))]
    ask = stage.ask(tools=[{"name": "Read", "input_schema": {"type": "object"}}])
    generation = await stage.answer(ask)
    assert generation.message.stop_reason == "tool_use"
    assert stage.kept(ask) is allowed


async def test_a_tool_call_with_an_integer_beyond_64_bits_is_answered_and_not_kept(stage):
    call = EngineToolCall(name="Read", arguments={"limit": 2**70})
    stage.pool.says = [EngineChunk(tool_calls=(call,), done=EngineDone(reason="stop"))]
    ask = stage.ask(tools=[{"name": "Read", "input_schema": {"type": "object"}}])
    generation = await stage.answer(ask)
    assert generation.message.content[0].input == {"limit": 2**70}
    assert str(2**70).encode() in generation.replay().json()
    assert not stage.kept(ask)


async def test_what_the_output_limit_cut_off_is_not_kept(stage):
    stage.pool.says = [EngineChunk(text="cut", done=EngineDone(reason="length"))]
    await stage.answer(stage.ask())
    assert not stage.kept(stage.ask())


async def test_what_is_kept_says_where_it_is_from(stage):
    ask = stage.ask("What is a monad?")
    await stage.answer(ask)
    (found,) = [each async for each in stage.pipeline.answers.store.found()]
    meta = found.meta
    assert (found.key, meta.tenant, meta.model, meta.asked) == (ask.key, "tenant", "m", "claude-x")
    assert (meta.excerpt, meta.tier) == ("What is a monad?", "exact")
    assert meta.total_ms >= 0
