import asyncio

import pytest

from llmctl.config.load import load
from llmctl.core.errors import BackendError
from llmctl.core.money import MicroUsd
from llmctl.core.rental import StepState
from llmctl.ops.bench.run import Limits, Order, bench
from llmctl.protocol.errors import ApiError
from tests.clocks import ManualClock
from tests.unit.ops.bench.engines import MODEL, ScriptedEngine
from tests.unit.ops.machines import a_rental


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def engine(clock):
    return ScriptedEngine(clock, load_s=7.0)


def order(tmp_path, flags=None, **changes):
    loaded = load(flags=flags or {}, environ={"LLMCTL_HOME": str(tmp_path)})
    return Order(loaded=loaded, **changes)


async def measured(engine, clock, order, steps=None):
    return await bench(engine, order, clock, (steps if steps is not None else []).append)


class TestMeasuring:
    async def test_what_is_measured(self, engine, clock, tmp_path):
        result = await measured(engine, clock, order(tmp_path))
        figures = result.figures
        assert figures.load_s == pytest.approx(7.0, abs=0.1)
        assert figures.cold.prompt_tokens == pytest.approx(4000, rel=0.02)
        assert figures.cold.tokens_per_s == pytest.approx(1000, rel=0.01)
        assert figures.warm.tokens_per_s > 50 * figures.cold.tokens_per_s
        assert [level.concurrency for level in figures.levels] == [1, 2, 4, 8]
        assert figures.levels[0].tokens_per_s == pytest.approx(50, rel=0.02)
        assert figures.levels[0].completion_tokens == 128
        assert figures.levels[3].completion_tokens == 8 * 128
        assert figures.first_token_ms == figures.levels[0].first_token_ms
        assert (result.stopped, result.engine, result.model) == ("", "ollama 0.33.0", MODEL.name)
        assert result.at == pytest.approx(1_800_000_000.0)

    async def test_asked_as_the_proxy_asks_so_that_nothing_is_loaded_again(
        self, engine, clock, tmp_path
    ):
        asked = order(tmp_path, {"model.num_ctx": 32768, "model.keep_alive": "2h"})
        await measured(engine, clock, asked)
        wanted = {(32768, asked.loaded.config.model.keep_alive)}
        assert {(plan.num_ctx, plan.keep_alive) for plan in engine.plans} == wanted

    async def test_no_two_prompts_are_the_same(self, engine, clock, tmp_path):
        await measured(engine, clock, order(tmp_path))
        texts = [str(plan.request.messages) for plan in engine.plans]
        assert len(set(texts)) == len(texts)

    async def test_a_small_window_gets_a_small_prompt(self, engine, clock, tmp_path):
        result = await measured(engine, clock, order(tmp_path, {"model.num_ctx": 2048}))
        assert result.figures.cold.prompt_tokens <= 1024

    async def test_slow_reading_is_not_repeated(self, engine, clock, tmp_path):
        engine.read_per_s = 100.0
        limits = Limits(seconds=1e9)
        await measured(engine, clock, order(tmp_path, limits=limits))
        assert sum(plan.max_tokens == 8 for plan in engine.plans) == 3  # load, cold, warm

    async def test_a_model_with_nothing_to_say_has_read_all_the_same(self, engine, clock, tmp_path):
        engine.silent = True
        result = await measured(engine, clock, order(tmp_path))
        assert result.figures.cold.tokens_per_s == pytest.approx(1000, rel=0.01)
        assert result.money is None

    async def test_progress_is_said(self, engine, clock, tmp_path):
        steps = []
        await measured(engine, clock, order(tmp_path, usd_per_hour=MicroUsd(360_000)), steps)
        assert steps[0].text == f"loading {MODEL.name}"
        assert steps[-1].state is StepState.DONE
        assert steps[-1].spent > 0


class TestLimits:
    def test_money_may_be_shorter_than_time(self):
        limits = Limits(seconds=300.0, usd=MicroUsd(10_000))
        assert limits.within(MicroUsd(360_000)) == (100.0, "money")
        assert limits.within(MicroUsd(1)) == (300.0, "time")
        assert limits.within(None) == (300.0, "time")

    async def test_what_was_measured_counts(self, engine, clock, tmp_path):
        steps = []

        async def stuck(plan, first=engine.chat):
            if len(engine.plans) == 8:
                await asyncio.Event().wait()
            async for chunks in first(plan):
                yield chunks

        engine.chat = stuck
        result = await measured(engine, clock, order(tmp_path, limits=Limits(seconds=0.3)), steps)
        assert result.figures.warm is not None
        assert [level.concurrency for level in result.figures.levels] == [1]
        assert result.stopped == "the time was used up after 0 s"
        assert StepState.WARNING in [step.state for step in steps]

    async def test_nothing_was_measured(self, engine, clock, tmp_path):
        async def stuck(_plan):
            await asyncio.Event().wait()
            yield []

        engine.chat = stuck
        with pytest.raises(BackendError, match="nothing was measured") as failed:
            await measured(engine, clock, order(tmp_path, limits=Limits(seconds=0.01)))
        assert failed.value.hint == "llmctl bench --max-time 15m"


class TestFailures:
    async def test_an_engine_that_dies_in_the_middle(self, engine, clock, tmp_path):
        engine.fails_at, engine.failure = 10, ApiError(529, "out of memory")
        result = await measured(engine, clock, order(tmp_path))
        assert [level.concurrency for level in result.figures.levels] == [1, 2]
        assert result.stopped == "the engine failed: out of memory"

    async def test_an_engine_that_never_answers(self, engine, clock, tmp_path):
        engine.fails_at, engine.failure = 0, ApiError(529, "connection refused")
        with pytest.raises(BackendError, match="connection refused"):
            await measured(engine, clock, order(tmp_path))

    async def test_no_model_that_chats(self, engine, clock, tmp_path):
        engine.models = []
        with pytest.raises(BackendError) as failed:
            await measured(engine, clock, order(tmp_path))
        assert failed.value.hint == "llmctl doctor"

    async def test_several_models_and_none_is_the_default(self, engine, clock, tmp_path):
        engine.models = [
            type(MODEL)(name=name, digest="d", capabilities=MODEL.capabilities)
            for name in ("one", "two")
        ]
        with pytest.raises(BackendError) as failed:
            await measured(engine, clock, order(tmp_path))
        assert failed.value.hint == "llmctl bench --model one"


class TestMoney:
    async def test_a_rented_machine(self, engine, clock, tmp_path):
        rental = a_rental()
        result = await measured(
            engine, clock, order(tmp_path, rental=rental, usd_per_hour=rental.usd_per_hour)
        )
        assert (result.name, result.provider, result.gpu) == ("main", "vast", "RTX 4090")
        assert result.spent_usd == pytest.approx(result.seconds * 100, abs=2)
        assert result.money.usd_per_hour == 360_000

    async def test_no_price_no_money(self, engine, clock, tmp_path):
        result = await measured(engine, clock, order(tmp_path))
        assert (result.money, result.spent_usd) == (None, None)
