"""Engines that break HTTP itself, below the lines of their protocol."""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.reading import Reading
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.anthropic import MessagesRequest, Turn
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.protocol.ollama_stream import OllamaDecoder
from tests.streams import listening

SAID = b'{"model":"m","message":{"content":"so far"},"done":false}\n'
DONE = b'{"model":"m","message":{"content":"fine"},"done":true,"done_reason":"stop"}\n'
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Connect = Callable[[int], OllamaEngine]


@pytest.fixture
async def engine_at() -> AsyncIterator[Connect]:
    made: list[OllamaEngine] = []

    def make(port: int) -> OllamaEngine:
        made.append(OllamaEngine(f"http://127.0.0.1:{port}", timeouts=TimeoutConfig()))
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


def plan() -> ChatPlan:
    request = MessagesRequest(
        model="claude-x", max_tokens=64, messages=[Turn(role="user", content="hello")]
    )
    return ChatPlan(
        request=request, model=EngineModel(name="m", digest="d"), num_ctx=4096, max_tokens=64
    )


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def take_request(reader: asyncio.StreamReader) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    await reader.readexactly(length)


async def text_of(engine: OllamaEngine) -> str:
    return "".join([chunk.text async for chunks in engine.chat(plan()) for chunk in chunks])


@pytest.mark.parametrize("nonsense", [b"ZZ\r\nxx\r\n", b"F" * 20 + b"\r\nxx\r\n", b"-1\r\n"])
async def test_chunks_that_are_none_end_the_answer(engine_at, nonsense):
    """aiohttp notices, closes the connection, and leaves whoever reads the body waiting."""
    read = asyncio.Event()
    closed = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(CHUNKED + chunk(SAID))
        await read.wait()
        writer.write(nonsense)
        await reader.read()
        closed.set()

    async with listening(serve) as port, asyncio.timeout(20):
        answer = engine_at(port).chat(plan())
        assert [chunk.text for chunk in await anext(answer)] == ["so far"]
        read.set()
        with pytest.raises(ApiError, match="broke mid-answer"):
            await anext(answer)
        await closed.wait()


async def test_what_is_wrong_with_the_http_is_said_on_one_line(engine_at):
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(CHUNKED + b"-1\r\n")
        await reader.read()

    async with listening(serve) as port, asyncio.timeout(20):
        with pytest.raises(Unreachable) as caught:
            await text_of(engine_at(port))
    what = "Invalid character in chunk size"
    assert (
        caught.value.message
        == f"what listens at http://127.0.0.1:{port} does not speak HTTP: {what}"
    )


async def test_an_error_that_never_ends_is_told_as_far_as_it_came():
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 1000\r\n\r\nthe disk is gone")
        await reader.read()

    async with (
        listening(serve) as port,
        aiohttp.ClientSession() as session,
        asyncio.timeout(20),
    ):
        response = await session.post(f"http://127.0.0.1:{port}/api/chat", data=b"{}")
        reading = Reading(
            response, OllamaDecoder(model="m"), address="here", idle_s=900.0, error_s=0.2
        )
        with pytest.raises(ApiError, match="the disk is gone") as caught:
            await reading.first()
    assert caught.value.status == 500


async def test_a_second_try_takes_no_connection_from_before(engine_at):
    """A server that ends its idle connections does so with all of them."""
    together = asyncio.Barrier(5)
    taken = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await take_request(reader)
        taken.append("new")
        if len(taken) <= together.parties:
            await together.wait()
        writer.write(CHUNKED + chunk(DONE) + b"0\r\n\r\n")
        await take_request(reader)
        taken.append("again")
        writer.close()

    async with listening(serve) as port, asyncio.timeout(20):
        engine = engine_at(port)
        async with asyncio.TaskGroup() as group:
            for _ in range(together.parties):
                group.create_task(text_of(engine))
        with pytest.raises(Unreachable) as lost:
            await text_of(engine)
        assert lost.value.retry_once
        assert await text_of(engine) == "fine"
    assert taken == ["new"] * 5 + ["again", "new"]
