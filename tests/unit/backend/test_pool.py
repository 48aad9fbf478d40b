import asyncio

import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.breaker import COOLDOWN_S
from llmctl.backend.pool import MAX_ROUTES, Answering, Pool
from llmctl.config.schema import BackendConfig, ModelConfig, TimeoutConfig
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, broken_stream, invalid_request, overloaded
from tests.clocks import ManualClock
from tests.unit.backend.fakes import DONE, FakeEngine, model, plan_for

REFUSED = Unreachable("connection refused", retry_once=True)
BUSY = overloaded("the engine is busy")
OUT_OF_MEMORY = ApiError(500, "out of memory", another_backend=True)
BAD_XML = ApiError(500, "XML syntax error", another_backend=True, retry_once=True)
GOOD = [[EngineChunk(text="good")], [DONE]]


class Bench:
    """A pool of fake engines that have all been asked once."""

    def __init__(self, *engines: FakeEngine, config: BackendConfig | None = None, **fields) -> None:
        self.clock = ManualClock()
        backend = config or BackendConfig(url="ollama:")
        self.pool = Pool(
            [(engine, backend) for engine in engines],
            ModelConfig(**fields),
            TimeoutConfig(),
            self.clock,
        )

    async def __aenter__(self) -> Pool:
        await self.pool.start()
        return self.pool

    async def __aexit__(self, *exc: object) -> None:
        await self.pool.close()


async def begin(pool: Pool, asked: str = "claude-x", *, background: bool = False) -> Answering:
    return await pool.open(pool.resolve(asked), plan_for, background=background)


async def text_of(answering: Answering) -> str:
    return "".join([chunk.text async for chunks in answering.chunks for chunk in chunks])


async def ask(pool: Pool, asked: str = "claude-x") -> str:
    return await text_of(await begin(pool, asked))


def in_flight(pool: Pool) -> list[int]:
    return [status.in_flight for status in pool.status()]


# ------------------------------------------------------------------------------------------ routes


async def test_candidates_are_the_engines_that_have_the_model_in_order() -> None:
    first, second, third = FakeEngine("1"), FakeEngine("2", models=[model("x")]), FakeEngine("3")
    async with Bench(first, second, third) as pool:
        route = pool.resolve("qwen3-coder")
        assert [engine for engine, _ in route.candidates] == [first, third]
        assert route.model == model()
        assert route.model_name == "qwen3-coder:30b"


async def test_healthy_engines_come_first() -> None:
    first, second = FakeEngine("1", [REFUSED]), FakeEngine("2")
    async with Bench(first, second) as pool:
        first.models = REFUSED
        await ask(pool)
        assert [engine.name for engine, _ in pool.resolve("claude-x").candidates] == ["2", "1"]


async def test_models_of_an_engine_that_went_down_still_resolve() -> None:
    engine = FakeEngine("1", [REFUSED])
    async with Bench(engine) as pool:
        engine.models = REFUSED
        with pytest.raises(ApiError):
            await ask(pool)
        assert pool.status()[0].healthy is False
        assert pool.resolve("claude-x").model == model()
        with pytest.raises(ApiError, match=r"gpt-5 was not found.*not reachable: 1 \(connection"):
            pool.resolve("gpt-5")


async def test_nothing_resolves_before_any_engine_has_answered() -> None:
    async with Bench(FakeEngine("ollama:http://127.0.0.1:1", models=REFUSED)) as pool:
        with pytest.raises(ApiError) as caught:
            pool.resolve("claude-x")
    assert caught.value.status == 529
    assert "ollama:http://127.0.0.1:1 (connection refused)" in caught.value.message


async def test_an_unknown_model_may_be_on_an_engine_that_has_never_answered() -> None:
    known = FakeEngine("1", [REFUSED])
    async with Bench(known, FakeEngine("2", models=REFUSED)) as pool:
        with pytest.raises(ApiError) as caught:
            pool.resolve("gpt-5")
        assert caught.value.status == 404
        known.models = REFUSED
        with pytest.raises(ApiError):
            await ask(pool)
        with pytest.raises(ApiError) as caught:
            pool.resolve("gpt-5")
        assert caught.value.status == 529


async def test_routes_follow_what_the_engines_have() -> None:
    engine = FakeEngine("1", [ApiError(404, "model: x", another_backend=True)])
    async with Bench(engine) as pool:
        before = pool.resolve("claude-x")
        assert pool.resolve("claude-x") is before
        engine.models = [model("llama3.2")]
        with pytest.raises(ApiError):
            await ask(pool)
        while pool.resolve("claude-x") is before:
            await asyncio.sleep(0)
        assert pool.resolve("claude-x").model_name == "llama3.2"


async def test_remembered_routes_are_bounded() -> None:
    async with Bench(FakeEngine("1")) as pool:
        first = pool.resolve("claude-first")
        for number in range(MAX_ROUTES):
            pool.resolve(f"claude-{number}")
        assert pool.resolve("claude-first") is not first


async def test_names_are_those_that_resolve() -> None:
    engine = FakeEngine("1", models=[model("a"), model("b"), model("vectors", "embedding")])
    async with Bench(engine, aliases={"fast": "a", "gone": "c"}) as pool:
        assert pool.names() == ["a", "b", "fast"]
    async with Bench(engine, name="b") as pool:
        assert pool.names() == [
            "a",
            "b",
            "claude-opus-4-8",
            "claude-sonnet-5",
            "claude-haiku-4-5-20251001",
        ]


async def test_status_describes_every_backend() -> None:
    engine = FakeEngine("1", models=[model(note="loaded, 62 % on the GPU")])
    async with Bench(engine, FakeEngine("2", models=REFUSED)) as pool:
        answering = await begin(pool)
        up, down = pool.status()
        await answering.aclose()
    assert (up.name, up.kind, up.healthy, up.in_flight) == ("1", "ollama", True, 1)
    assert up.detail == "qwen3-coder:30b loaded, 62 % on the GPU"
    assert up.models == ["qwen3-coder:30b"]
    assert (down.healthy, down.detail, down.models) == (False, "connection refused", [])


async def test_closing_closes_the_engines() -> None:
    engine = FakeEngine("1")
    async with Bench(engine):
        pass
    assert engine.closed


# ----------------------------------------------------------------------------------------- answers


async def test_the_first_chunks_have_arrived_when_it_opens() -> None:
    engine = FakeEngine("1", [[EngineChunk(text="a")], BUSY])
    async with Bench(engine) as pool:
        answering = await begin(pool)
        assert (answering.engine_name, answering.model) == ("1", model())
        with pytest.raises(ApiError, match="busy"):
            await text_of(answering)
        assert in_flight(pool) == [0]


async def test_the_plan_is_made_for_the_model_that_answers() -> None:
    first = FakeEngine("1", [BUSY])
    second = FakeEngine("2", GOOD, models=[model("qwen2.5-coder:7b")])
    async with Bench(first, second) as pool:
        answering = await begin(pool)
        await text_of(answering)
    assert answering.model == model("qwen2.5-coder:7b")
    assert [plan.model.name for plan in second.plans] == ["qwen2.5-coder:7b"]


@pytest.mark.parametrize(
    ("failure", "asked"), [(BUSY, 1), (OUT_OF_MEMORY, 1), (REFUSED, 2), (BAD_XML, 2)]
)
async def test_a_failure_of_the_engines_own_goes_to_the_next(failure: ApiError, asked: int) -> None:
    first, second = FakeEngine("1", [failure]), FakeEngine("2")
    async with Bench(first, second) as pool:
        assert await ask(pool) == "2"
        assert in_flight(pool) == [0, 0]
    assert (len(first.plans), len(second.plans)) == (asked, 1)


async def test_a_model_that_vanished_goes_to_the_next_and_is_looked_for() -> None:
    missing = ApiError(404, "model: x", another_backend=True)
    first, second = FakeEngine("1", [missing]), FakeEngine("2")
    async with Bench(first, second) as pool:
        first.models = [model("other")]
        assert await ask(pool) == "2"
        while len(pool.resolve("claude-x").candidates) == 2 and first.discoveries < 2:
            await asyncio.sleep(0)
        assert pool.status()[0].models == ["other"]


async def test_a_failure_of_the_request_does_not() -> None:
    first, second = FakeEngine("1", [invalid_request("prompt is too long")]), FakeEngine("2")
    async with Bench(first, second) as pool:
        with pytest.raises(ApiError, match="prompt is too long"):
            await ask(pool)
        assert in_flight(pool) == [0, 0]
    assert second.plans == []


@pytest.mark.parametrize("failure", [REFUSED, BAD_XML, broken_stream("cut")])
async def test_the_same_engine_is_asked_a_second_time(failure: ApiError) -> None:
    engine = FakeEngine("1", [failure], GOOD)
    async with Bench(engine) as pool:
        assert await ask(pool) == "good"
        assert pool.status()[0].healthy
    assert len(engine.plans) == 2


async def test_and_not_a_third_time() -> None:
    engine = FakeEngine("1", [broken_stream("cut")])
    async with Bench(engine) as pool:
        with pytest.raises(ApiError, match="cut"):
            await ask(pool)
    assert len(engine.plans) == 2


async def test_an_answer_without_a_chunk_is_a_broken_one() -> None:
    async with Bench(FakeEngine("1", [])) as pool:
        with pytest.raises(ApiError, match="1 gave an empty answer"):
            await ask(pool)


async def test_nothing_is_repeated_once_something_was_said() -> None:
    engine = FakeEngine("1", [[EngineChunk(text="a")], broken_stream("cut")])
    async with Bench(engine, FakeEngine("2")) as pool:
        answering = await begin(pool)
        with pytest.raises(ApiError, match="cut"):
            await text_of(answering)
    assert len(engine.plans) == 1


async def test_the_last_failure_is_told_when_all_fail() -> None:
    async with Bench(FakeEngine("1", [BUSY]), FakeEngine("2", [OUT_OF_MEMORY])) as pool:
        with pytest.raises(ApiError, match="out of memory"):
            await ask(pool)


async def test_an_error_of_ours_gives_the_slot_back() -> None:
    def wrong(_model):
        raise invalid_request("prompt is too long")

    async with Bench(FakeEngine("1")) as pool:
        with pytest.raises(ApiError, match="too long"):
            await pool.open(pool.resolve("claude-x"), wrong, background=False)
        assert in_flight(pool) == [0]


# --------------------------------------------------------------------------------------- cooldowns


async def fail_often(pool: Pool, times: int = 3) -> None:
    for _ in range(times):
        await ask(pool)


async def test_an_engine_that_fails_often_is_left_alone_for_a_while() -> None:
    first, second = FakeEngine("1", [BUSY]), FakeEngine("2")
    bench = Bench(first, second)
    async with bench as pool:
        await fail_often(pool)
        assert pool.status()[0].cooldown_s == COOLDOWN_S
        assert await ask(pool) == "2"
        assert len(first.plans) == 3
        bench.clock.advance(COOLDOWN_S)
        first.scripts = [GOOD]
        assert await ask(pool) == "good"
        assert pool.status()[0].cooldown_s == 0


async def test_failures_in_the_middle_of_answers_count() -> None:
    first = FakeEngine("1", [[EngineChunk(text="a")], broken_stream("cut")])
    async with Bench(first, FakeEngine("2")) as pool:
        for _ in range(3):
            with pytest.raises(ApiError):
                await ask(pool)
        assert await ask(pool) == "2"


async def test_only_one_request_tries_after_the_cooldown() -> None:
    gate = asyncio.Event()
    first, second = FakeEngine("1", [BUSY]), FakeEngine("2")
    bench = Bench(first, second)
    async with bench as pool:
        await fail_often(pool)
        bench.clock.advance(COOLDOWN_S)
        first.scripts = [[gate.wait, *GOOD]]
        trying = asyncio.get_running_loop().create_task(ask(pool))
        while len(first.plans) < 4:
            await asyncio.sleep(0)
        assert await ask(pool) == "2"
        gate.set()
        assert await trying == "good"
        assert await ask(pool) == "good"


async def test_a_probe_that_is_cancelled_leaves_the_way_free() -> None:
    first, second = FakeEngine("1", [BUSY]), FakeEngine("2")
    bench = Bench(first, second)
    async with bench as pool:
        await fail_often(pool)
        bench.clock.advance(COOLDOWN_S)
        first.scripts = [[asyncio.Event().wait]]
        trying = asyncio.get_running_loop().create_task(ask(pool))
        while len(first.plans) < 4:
            await asyncio.sleep(0)
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
        first.scripts = [GOOD]
        assert await ask(pool) == "good"


async def test_the_only_engine_is_asked_even_in_its_cooldown() -> None:
    engine = FakeEngine("1", [OUT_OF_MEMORY])
    async with Bench(engine) as pool:
        for _ in range(4):
            with pytest.raises(ApiError, match="out of memory"):
                await ask(pool)
        engine.scripts = [GOOD]
        assert await ask(pool) == "good"
        assert pool.status()[0].cooldown_s == 0


# ------------------------------------------------------------------------------------------- slots

ONE_SLOT = BackendConfig(url="ollama:", parallel=1, queue=1)


async def test_a_slot_is_held_until_the_answer_ends() -> None:
    async with Bench(FakeEngine("1", GOOD), config=ONE_SLOT) as pool:
        answering = await begin(pool)
        assert in_flight(pool) == [1]
        await text_of(answering)
        assert in_flight(pool) == [0]
        await answering.aclose()
        assert in_flight(pool) == [0]


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_early_gives_the_slot_back_and_ends_the_generation(read: int) -> None:
    engine = FakeEngine("1", GOOD)
    async with Bench(engine, config=ONE_SLOT) as pool:
        answering = await begin(pool)
        for _ in range(read):
            await anext(answering.chunks)
        await answering.aclose()
        await answering.aclose()
        assert in_flight(pool) == [0]
        assert engine.ended == 1


async def test_a_reader_that_is_cancelled_gives_the_slot_back() -> None:
    engine = FakeEngine("1", [[EngineChunk(text="a")], asyncio.Event().wait])
    async with Bench(engine, config=ONE_SLOT) as pool:
        reading = asyncio.get_running_loop().create_task(ask(pool))
        while not engine.plans:
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        assert in_flight(pool) == [0]
        assert engine.ended == 1


async def test_a_full_queue_sends_requests_to_the_next_engine() -> None:
    first, second = FakeEngine("1", GOOD), FakeEngine("2")
    async with Bench(first, second, config=ONE_SLOT) as pool:
        answering = await begin(pool)
        waiting = asyncio.get_running_loop().create_task(ask(pool))
        while pool.status()[0].queued == 0:
            await asyncio.sleep(0)
        assert await ask(pool) == "2"
        await answering.aclose()
        assert await waiting == "good"


async def test_main_requests_get_the_slot_before_background_ones() -> None:
    order: list[str] = []

    async def visit(pool: Pool, name: str, *, background: bool) -> None:
        answering = await begin(pool, background=background)
        order.append(name)
        await text_of(answering)

    config = BackendConfig(url="ollama:", parallel=1)
    async with Bench(FakeEngine("1", GOOD), config=config) as pool:
        answering = await begin(pool)
        tasks = []
        for name, background in [("title", True), ("main", False)]:
            visiting = visit(pool, name, background=background)
            tasks.append(asyncio.get_running_loop().create_task(visiting))
            while pool.status()[0].queued < len(tasks):
                await asyncio.sleep(0)
        await answering.aclose()
        await asyncio.gather(*tasks)
    assert order == ["main", "title"]
