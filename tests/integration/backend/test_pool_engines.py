"""The pool with real engines on loopback: failing over, coming back, leaving nothing behind."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.openai import OpenAIEngine
from llmctl.backend.pool import Answering, Pool
from llmctl.config.schema import BackendConfig, ModelConfig, TimeoutConfig
from llmctl.core.clock import SystemClock
from llmctl.protocol.errors import ApiError
from tests.emulators.ollama import (
    Answer,
    Eof,
    ErrorLine,
    HttpError,
    Model,
    OllamaEmulator,
    Raw,
    Reset,
    Stall,
    busy,
    out_of_memory,
    xml_error,
)
from tests.emulators.openai import OpenAIEmulator
from tests.emulators.server import Emulator
from tests.unit.backend.fakes import plan_for

TIMEOUTS = TimeoutConfig(connect_s=2.0)


@asynccontextmanager
async def pool_of(*emulators: Emulator, parallel: int = 256, queue: int = 256):
    """A started pool of engines at these emulators."""
    engines = []
    for emulator in emulators:
        maker = OllamaEngine if isinstance(emulator, OllamaEmulator) else OpenAIEngine
        config = BackendConfig(url=emulator.url, parallel=parallel, queue=queue)
        engines.append((maker(emulator.url, timeouts=TIMEOUTS), config))
    pool = Pool(engines, ModelConfig(), TIMEOUTS, SystemClock())
    await pool.start()
    try:
        yield pool
    finally:
        await pool.close()


@pytest.fixture
async def two():
    """Two Ollamas with the same model, and a pool of them; the second says that it is the second."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(OllamaEmulator(Answer("first")))
        second = await stack.enter_async_context(OllamaEmulator(Answer("second")))
        pool = await stack.enter_async_context(pool_of(first, second))
        yield first, second, pool


async def begin(pool: Pool) -> Answering:
    return await pool.open(pool.resolve("claude-x"), plan_for, background=False)


async def ask(pool: Pool) -> str:
    answering = await begin(pool)
    return "".join([chunk.text async for chunks in answering.chunks for chunk in chunks])


async def until_healthy(pool: Pool, healthy: list[bool]) -> None:
    async with asyncio.timeout(20):
        while [status.healthy for status in pool.status()] != healthy:
            await asyncio.sleep(0.01)


async def test_the_first_engine_answers(two) -> None:
    first, second, pool = two
    assert await ask(pool) == "first"
    assert second.chats == []
    assert [status.healthy for status in pool.status()] == [True, True]


@pytest.mark.parametrize(
    ("fault", "asked"),
    [
        (busy(), 1),
        (out_of_memory(), 1),
        (Reset(), 2),
        (xml_error(), 2),
        (Answer(Eof()), 2),
        (Answer(Raw(b"<html>\n")), 2),
        (HttpError(404, {"error": "model 'qwen3-coder:30b' not found"}), 1),
        (Answer(ErrorLine("error unmarshalling llama-server response")), 2),
    ],
)
async def test_the_next_engine_answers_where_the_first_fails(two, fault, asked) -> None:
    first, second, pool = two
    first.script = fault
    assert await ask(pool) == "second"
    assert (len(first.chats), len(second.chats)) == (asked, 1)
    assert [status.in_flight for status in pool.status()] == [0, 0]


async def test_a_request_nobody_can_answer_is_asked_once(two) -> None:
    first, second, pool = two
    first.count = lambda _body: 100_000
    with pytest.raises(ApiError, match="prompt is too long: 100000 tokens > 4096 maximum"):
        await ask(pool)
    assert (len(first.chats), len(second.chats)) == (1, 0)


async def test_an_engine_that_dies_is_replaced_and_taken_back(two) -> None:
    first, _second, pool = two
    await first.refuse()
    assert await ask(pool) == "second"
    status = pool.status()[0]
    assert not status.healthy
    assert status.detail == f"cannot reach the engine at {first.url}: connection refused"
    assert await ask(pool) == "second"
    await first.listen()
    await until_healthy(pool, [True, True])
    assert await ask(pool) == "first"


async def test_an_engine_killed_mid_answer_ends_the_answer_and_is_noticed(two) -> None:
    first, _second, pool = two
    first.script = Answer("so far", Stall())
    answering = await begin(pool)
    await first.refuse()
    with pytest.raises(ApiError, match="broke mid-answer"):
        [chunks async for chunks in answering.chunks]
    assert await ask(pool) == "second"


async def test_the_only_engine_is_down_and_comes_back() -> None:
    async with OllamaEmulator() as emu, pool_of(emu) as pool:
        await emu.refuse()
        with pytest.raises(ApiError) as caught:
            await ask(pool)
        assert (caught.value.status, caught.value.retry_after_s) == (529, 2)
        assert emu.url in caught.value.message
        await emu.listen()
        assert await ask(pool) == "Hello there."
        await until_healthy(pool, [True])


async def test_an_engine_that_starts_later_is_found() -> None:
    async with OllamaEmulator() as emu:
        await emu.refuse()
        async with pool_of(emu) as pool:
            with pytest.raises(ApiError, match="no engine has answered yet"):
                pool.resolve("claude-x")
            await emu.listen()
            await until_healthy(pool, [True])
            assert await ask(pool) == "Hello there."


async def test_a_silent_engine_does_not_hold_up_the_start() -> None:
    async with OllamaEmulator() as silent, OllamaEmulator() as emu:
        silent.faults = {"/api/tags": Stall()}
        async with pool_of(silent, emu) as pool:
            assert [status.healthy for status in pool.status()] == [False, True]
            assert await ask(pool) == "Hello there."


async def test_engines_of_two_kinds_have_names_of_their_own() -> None:
    coder = (Model("qwen2.5-coder:7b", family="qwen2", renderer=""),)
    async with OllamaEmulator(busy(), models=coder) as first, OpenAIEmulator() as second:
        async with pool_of(first, second) as pool:
            route = pool.resolve("claude-haiku-4-5-20251001")
            names = [model.name for _, model in route.candidates]
            assert names == ["qwen2.5-coder:7b", "qwen3-coder-30b"]
            answering = await begin(pool)
            await answering.aclose()
    assert answering.model.name == "qwen3-coder-30b"
    assert answering.engine_name == f"openai:{second.url}"


async def test_requests_beyond_the_slots_wait_and_those_that_leave_are_not_sent() -> None:
    async with OllamaEmulator(Answer("a", Stall())) as emu, pool_of(emu, parallel=1) as pool:
        answering = await begin(pool)
        waiting = [asyncio.get_running_loop().create_task(ask(pool)) for _ in range(3)]
        while pool.status()[0].queued < 3:
            await asyncio.sleep(0)
        for task in waiting[:2]:
            task.cancel()
        await asyncio.wait(waiting[:2])
        assert pool.status()[0].queued == 1
        assert len(emu.chats) == 1
        emu.script = Answer("b")
        await answering.aclose()
        assert await waiting[2] == "b"
        assert len(emu.chats) == 2


async def test_a_client_that_leaves_frees_the_engine_in_every_phase() -> None:
    async with OllamaEmulator(Answer(Stall())) as emu, pool_of(emu, parallel=1) as pool:
        before_headers = asyncio.get_running_loop().create_task(ask(pool))
        await emu.until(lambda: len(emu.chats) == 1)
        before_headers.cancel()
        await emu.until(lambda: len(emu.closed) == 1)
        emu.script = Answer("a", Stall())
        mid_stream = asyncio.get_running_loop().create_task(ask(pool))
        await emu.until(lambda: len(emu.chats) == 2)
        mid_stream.cancel()
        await emu.until(lambda: len(emu.closed) == 2)
        await asyncio.wait([before_headers, mid_stream])
        assert pool.status()[0].in_flight == 0


async def test_nothing_is_left_behind(two) -> None:
    first, second, pool = two
    faults = [Answer("x"), Reset(), busy(), Answer("a", Eof()), Answer("a", Raw(b"?\n"))]
    for fault in faults * 4:
        first.script = fault
        answers = await asyncio.gather(*(ask(pool) for _ in range(4)), return_exceptions=True)
        assert all(isinstance(answer, str | ApiError) for answer in answers)
    assert [status.in_flight for status in pool.status()] == [0, 0]
    await pool.close()
    await first.until(lambda: first.open_connections == 0)
    await second.until(lambda: second.open_connections == 0)
