"""Clients that stay and take nothing: ended in time, bounded in memory, harmless to others."""

import asyncio
import contextlib
import json
import socket

import pytest

from llmctl.proxy.silence import Silence
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask, text_of

PIECE = "word " * 2000
FLOOD = Answer(*[PIECE] * 1000)
"""Ten megabytes: more than the kernel's buffers take between two ends of a connection."""
GREAT_FLOOD = Answer(*[PIECE] * 4000)
"""More than they take on the whole way from the engine to the client."""


@pytest.fixture
async def engine():
    async with OllamaEmulator(FLOOD) as emulator:
        yield emulator


class Stalled:
    """A client that asks and reads nothing of the answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def ask(cls, proxy, body) -> "Stalled":
        data = json.dumps(body).encode()
        fields = f"Host: 127.0.0.1\r\nx-api-key: {proxy.token}\r\nContent-Length: {len(data)}"
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        stalled = cls(sock)
        await stalled._loop.sock_connect(sock, ("127.0.0.1", proxy.port))
        head = f"POST /v1/messages HTTP/1.1\r\n{fields}\r\n\r\n".encode()
        await stalled._loop.sock_sendall(sock, head + data)
        return stalled

    async def rest(self) -> bytes:
        """Read after all, to the end of the connection."""
        got = []
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                while data := await self._loop.sock_recv(self._sock, 1 << 20):
                    got.append(data)
        return b"".join(got)

    def close(self) -> None:
        self._sock.close()


async def stats(proxy) -> dict:
    await proxy.app._parts.ledger.flush()
    return (await proxy.get("/stats"))[1]


async def test_a_stream_nobody_takes_is_ended_and_the_engine_released(engine, start):
    engine.script = GREAT_FLOOD
    async with start(f"ollama:{engine.url}", silence=Silence(stall_s=0.2)) as proxy:
        stalled = await Stalled.ask(proxy, ask(stream=True))
        await engine.until(lambda: len(engine.closed) == 1)
        await eventually(lambda: proxy.app.health()["streams"] == 0)
        assert (await stats(proxy))["errors"] == {"client_gone": 1}
        assert b"message_stop" not in await stalled.rest()
        stalled.close()


async def test_a_finished_answer_nobody_takes_is_ended_too(engine, start):
    async with start(f"ollama:{engine.url}", silence=Silence(stall_s=0.2)) as proxy:
        _, _, message = await proxy.json(ask())
        length = len(message["content"][0]["text"])
        for stream in (True, False):
            stalled = await Stalled.ask(proxy, ask(stream=stream))
            await eventually(lambda: len(proxy.front.connections) == 2)
            await eventually(lambda: len(proxy.front.connections) == 1)
            got = await stalled.rest()
            assert b"x-llmctl-cache: hit" in got
            assert len(got) < length
            stalled.close()


async def test_twenty_who_take_nothing_and_one_who_does(engine, start):
    """They share one answer; the one who reads it does not wait for them."""
    async with start(f"ollama:{engine.url}", silence=Silence(stall_s=1.0)) as proxy:
        stalled = [await Stalled.ask(proxy, ask(stream=True)) for _ in range(20)]
        events = await proxy.events(ask())
        assert text_of(events) == PIECE * 1000
        assert len(engine.chats) == 1
        await eventually(lambda: proxy.app._open == 0)
        total = (await stats(proxy))["total"]
        assert total["requests"] == 21
        for client in stalled:
            client.close()


async def test_those_who_take_nothing_stop_their_own_engine(engine, start):
    """Each has an answer of its own; what waits for them is bounded at every stage."""
    engine.script = GREAT_FLOOD
    async with start(f"ollama:{engine.url}") as proxy:
        stalled = [await Stalled.ask(proxy, ask(f"question {n}", stream=True)) for n in range(20)]
        await engine.until(lambda: len(engine.active) == 20)
        engine.script = Answer("Hello")
        assert text_of(await proxy.events(ask("a healthy one"))) == "Hello"
        assert len(engine.active) == 20
        assert proxy.app.pipeline.running == 20
        for client in stalled:
            client.close()
        await engine.until(lambda: len(engine.closed) == 20)
        await eventually(lambda: proxy.app.pipeline.running == 0)
