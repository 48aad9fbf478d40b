"""Clients that leave: the engine is released in every phase, and the slot is free again."""

import asyncio
import contextlib

import pytest

from tests.emulators.ollama import Answer, OllamaEmulator, Stall, Thinking
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask

ROUNDS = 20


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}", backend_parallel=1) as running:
        yield running


def slots(proxy) -> tuple[int, int]:
    backend = proxy.app.health()["backends"][0]
    return backend.in_flight, backend.queued


@contextlib.asynccontextmanager
async def asking(proxy, body):
    """A client in the middle of its request; gone at the end."""

    async def wait() -> None:
        async with proxy.post(body) as response:
            await response.read()

    task = asyncio.create_task(wait())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def recorded(proxy, requests: int) -> dict:
    await proxy.app._parts.ledger.flush()
    _, stats = await proxy.get("/stats")
    assert stats["total"]["requests"] == requests
    return stats["errors"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize(
    "script",
    [Answer(Stall()), Answer(Thinking("hm"), Stall()), Answer("some words", Stall())],
    ids=["before the first byte", "thinking", "in the middle"],
)
async def test_while_an_answer_is_made(engine, proxy, script, stream):
    engine.script = script
    for number in range(ROUNDS):
        async with asking(proxy, ask(f"question {number}", stream=stream)):
            await engine.until(lambda number=number: len(engine.chats) == number + 1)
            if script.pieces[0] == "some words" and stream:
                await eventually(lambda: proxy.app.health()["streams"] == 1)
        await engine.until(lambda number=number: len(engine.closed) == number + 1)
    await eventually(lambda: slots(proxy) == (0, 0))
    assert proxy.app.pipeline.running == 0
    assert proxy.app.health()["streams"] == 0
    engine.script = Answer("Hello")
    status, _, _ = await proxy.json(ask("at last"))
    assert status == 200
    assert await recorded(proxy, ROUNDS + 1) == {"client_gone": ROUNDS}


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_while_they_wait_for_a_slot(engine, proxy, stream):
    engine.script = Answer("some words", Stall())
    async with asking(proxy, ask("first", stream=stream)):
        await engine.until(lambda: len(engine.chats) == 1)
        for number in range(ROUNDS):
            async with asking(proxy, ask(f"queued {number}", stream=stream)):
                await eventually(lambda: slots(proxy) == (1, 1))
            await eventually(lambda: slots(proxy) == (1, 0))
        assert len(engine.chats) == 1
        assert not engine.closed
    await engine.until(lambda: len(engine.closed) == 1)
    await eventually(lambda: slots(proxy) == (0, 0))
    assert await recorded(proxy, ROUNDS + 1) == {"client_gone": ROUNDS + 1}


async def test_the_next_in_line_goes_when_the_one_before_leaves(engine, proxy):
    engine.script = lambda asked: (
        Answer(Stall()) if "first" in asked.raw.decode() else Answer("Hello")
    )
    async with asking(proxy, ask("first")):
        await engine.until(lambda: len(engine.chats) == 1)
        second = asyncio.create_task(proxy.json(ask("second")))
        await eventually(lambda: slots(proxy) == (1, 1))
    status, _, _ = await second
    assert status == 200
    assert slots(proxy) == (0, 0)


async def test_in_the_middle_of_their_body(engine, proxy):
    for _ in range(ROUNDS):
        _, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        fields = f"Host: 127.0.0.1\r\nx-api-key: {proxy.token}\r\nContent-Length: 1000"
        writer.write(f"POST /v1/messages HTTP/1.1\r\n{fields}\r\n\r\n{{".encode())
        await eventually(lambda: proxy.app._open == 1)
        writer.transport.abort()
        await eventually(lambda: proxy.app._open == 0)
    assert not engine.chats
    assert await recorded(proxy, ROUNDS) == {"client_gone": ROUNDS}


async def test_many_at_once_at_any_moment(engine, start):
    """Whatever the moment, in the end nothing is left of them."""
    engine.script = Answer(*["word "] * 20, Stall())
    async with start(f"ollama:{engine.url}", backend_parallel=4) as proxy:
        for delay in range(40):
            clients = [
                asyncio.create_task(_ask(proxy, ask(f"question {n % 5}", stream=bool(n % 2))))
                for n in range(10)
            ]
            await asyncio.sleep(delay / 4000)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        # requests of clients that are gone may still be on their way in
        await eventually(lambda: nothing_left(proxy))
        await engine.until(lambda: not engine.active)
        engine.script = Answer("Hello")
        assert (await proxy.json(ask("at last")))[0] == 200


def nothing_left(proxy) -> bool:
    pipeline = proxy.app.pipeline
    busy = (proxy.app._open, pipeline.running, len(pipeline._flights), *slots(proxy))
    return not any(busy) and proxy.app.health()["streams"] == 0


async def _ask(proxy, body) -> None:
    async with proxy.post(body) as response:
        await response.read()
