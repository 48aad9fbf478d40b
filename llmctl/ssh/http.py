"""HTTP to a service on the machine's 127.0.0.1, over whatever stream leads there."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

import h11

from llmctl.core.errors import DeadlineExceeded, RemoteFailed
from llmctl.ssh.remote import HttpReply

T = TypeVar("T")

READ_BYTES = 64 * 1024
CONNECT_S = 15.0
LINE_BYTES = 8 * 1024 * 1024
ERROR_BYTES = 64 * 1024

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[int], Awaitable[Stream]]
"""Opens a stream to a port of the machine; raises ``RemoteFailed`` where nothing listens."""


class LoopbackHttp:
    """One request for each connection: short questions, and the long answer of a pull.

    Raises ``RemoteFailed`` for services that refuse, break off or talk nonsense, and
    ``DeadlineExceeded``. Whether the link itself broke is for the caller to see.
    """

    def __init__(self, dial: Dial, where: str) -> None:
        self._dial = dial
        self._where = where

    async def ask(
        self, port: int, method: str, path: str, body: bytes | None, *, timeout_s: float
    ) -> HttpReply:
        """Return the whole answer."""
        try:
            async with asyncio.timeout(timeout_s), self._exchange(port, method, path, body) as talk:
                status = await talk.status()
                content = b"".join([chunk async for chunk in talk.chunks()])
        except TimeoutError:
            raise DeadlineExceeded(
                f"{method} {path} on port {port} of {self._where} took more than {timeout_s:g} s"
            ) from None
        return HttpReply(status=status, body=content)

    async def lines(
        self, port: int, path: str, body: bytes, *, idle_s: float
    ) -> AsyncGenerator[bytes, None]:
        """POST and yield the answer's lines; ``idle_s`` bounds every silence."""
        what = f"POST {path} on port {port} of {self._where}"
        async with self._exchange(port, "POST", path, body) as talk:
            status = await _within(idle_s, talk.status(), what)
            chunks = talk.chunks()
            if status != 200:
                content = await _within(idle_s, _first_bytes(chunks), what)
                raise RemoteFailed(f"{what} failed: {_words(status, content)}")
            rest = b""
            while (chunk := await _within(idle_s, anext(chunks, None), what)) is not None:
                *whole, rest = (rest + chunk).split(b"\n")
                for line in whole:
                    yield line
                if len(rest) > LINE_BYTES:
                    raise RemoteFailed(f"{what} sent a line of more than {LINE_BYTES} bytes")
            if rest:
                yield rest

    @contextlib.asynccontextmanager
    async def _exchange(
        self, port: int, method: str, path: str, body: bytes | None
    ) -> AsyncIterator["_Talk"]:
        try:
            async with asyncio.timeout(CONNECT_S):
                reader, writer = await self._dial(port)
        except TimeoutError:
            raise DeadlineExceeded(
                f"port {port} of {self._where} took no connection within {CONNECT_S:g} s"
            ) from None
        talk = _Talk(reader, writer, f"the service on port {port} of {self._where}")
        try:
            await talk.send(port, method, path, body)
            yield talk
        finally:
            writer.transport.abort()


class _Talk:
    """One request and its answer."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, who: str
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._who = who
        self._connection = h11.Connection(h11.CLIENT)

    async def send(self, port: int, method: str, path: str, body: bytes | None) -> None:
        headers = [("Host", f"127.0.0.1:{port}"), ("Connection", "close")]
        if body is not None:
            headers += [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        request = h11.Request(method=method, target=path, headers=headers)
        parts = [self._connection.send(request)]
        if body is not None:
            parts.append(self._connection.send(h11.Data(data=body)))
        parts.append(self._connection.send(h11.EndOfMessage()))
        try:
            self._writer.write(b"".join(part for part in parts if part))
            await self._writer.drain()
        except OSError as failure:
            raise RemoteFailed(f"{self._who} broke the connection: {failure}") from failure

    async def status(self) -> int:
        while not isinstance(event := await self._next(), h11.Response):
            pass
        return event.status_code

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        while not isinstance(event := await self._next(), h11.EndOfMessage):
            assert isinstance(event, h11.Data)
            yield bytes(event.data)

    async def _next(self) -> object:
        try:
            while (event := self._connection.next_event()) is h11.NEED_DATA:
                self._connection.receive_data(await self._reader.read(READ_BYTES))
        except h11.RemoteProtocolError as failure:
            raise RemoteFailed(f"{self._who} broke off its answer: {failure}") from failure
        except OSError as failure:
            raise RemoteFailed(f"{self._who} broke the connection: {failure}") from failure
        return event


async def _within(idle_s: float, work: Awaitable[T], what: str) -> T:
    try:
        async with asyncio.timeout(idle_s):
            return await work
    except TimeoutError:
        raise DeadlineExceeded(f"{what} was silent for {idle_s:g} s") from None


async def _first_bytes(chunks: AsyncIterator[bytes]) -> bytes:
    content = b""
    async for chunk in chunks:
        content += chunk
        if len(content) > ERROR_BYTES:
            break
    return content


def _words(status: int, content: bytes) -> str:
    """Return what a service says of its refusal: Ollama's ``{"error": "..."}``, or plain text."""
    try:
        decoded = json.loads(content)
        if isinstance(decoded, dict) and isinstance(decoded.get("error"), str):
            return str(decoded["error"])
    except ValueError:
        pass
    text = content[:200].decode(errors="replace").strip()
    return f"HTTP {status}" + (f" {text}" if text else "")
