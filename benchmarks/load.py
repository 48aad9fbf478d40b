"""A small HTTP client that costs little: keep-alive connections on asyncio's bare protocols."""

import asyncio
import statistics
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.bodies import SESSION

LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True)
class Result:
    """What one round saw."""

    requests: int
    seconds: float
    latencies_s: list[float]
    client_busy: float
    """CPU share of the load generator: near 1 it measures itself."""

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.latencies_s) * 1000

    @property
    def p99_ms(self) -> float:
        return sorted(self.latencies_s)[int(len(self.latencies_s) * 0.99)] * 1000


@dataclass(frozen=True)
class Streamed:
    """One streamed answer."""

    first_s: float
    """Until the first text, from the moment before the request was written."""
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection; ``exchange`` sends a request and waits for the whole answer."""

    def __init__(self) -> None:
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(SystemExit(f"the connection was lost: {exc}"))

    async def exchange(self, request: bytes) -> float:
        """Return the seconds it took."""
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        return time.perf_counter() - began

    def close(self) -> None:
        self._transport.close()


class Repeated(_Connection):
    """Counts the bytes of an answer and keeps none."""

    def __init__(self) -> None:
        super().__init__()
        self._head = b""
        self._missing: int | None = None
        self._chunked = False
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        if self._missing is None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            data = self._head[end + 4 :]
            self._begin(self._head[:end])
            self._head = b""
        if self._chunked:
            self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
            complete = self._tail == LAST_CHUNK
        else:
            self._missing -= len(data)
            complete = self._missing <= 0
        if complete:
            self._missing, self._tail = None, b""
            self._done.set_result(None)

    def _begin(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {head[:200]!r}")
        lower = head.lower()
        self._chunked = b"transfer-encoding: chunked" in lower
        start = lower.find(b"content-length:")
        self._missing = 0 if start < 0 else int(lower[start + 15 :].split(b"\r\n", 1)[0])


class Collected(_Connection):
    """Keeps a chunked answer, and the moment in which ``marker`` arrived."""

    def __init__(self, marker: bytes) -> None:
        super().__init__()
        self._marker = marker
        self._parts: list[bytes] = []
        self._tail = b""
        self.first_at: float | None = None

    def data_received(self, data: bytes) -> None:
        self._parts.append(data)
        seen = self._tail + data
        self._tail = seen[-64:]
        if self.first_at is None and self._marker in seen:
            self.first_at = time.perf_counter()
        if seen.endswith(LAST_CHUNK):
            self._done.set_result(None)

    async def stream(self, request: bytes) -> Streamed:
        self._parts.clear()
        self._tail, self.first_at = b"", None
        began = time.perf_counter()
        await self.exchange(request)
        head, _, chunks = b"".join(self._parts).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or self.first_at is None:
            raise SystemExit(f"unexpected answer: {(head + chunks)[:600]!r}")
        return Streamed(self.first_at - began, _joined(chunks))


def _joined(chunks: bytes) -> bytes:
    """Undo the chunked transfer encoding."""
    parts, at = [], 0
    while True:
        end = chunks.index(b"\r\n", at)
        size = int(chunks[at:end], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(chunks[end + 2 : end + 2 + size])
        at = end + 2 + size + 2


async def connect(port: int, make: Callable[[], _Connection]) -> _Connection:
    _, client = await asyncio.get_running_loop().create_connection(make, "127.0.0.1", port)
    return client


async def run(
    request: bytes, *, port: int, clients: int, seconds: float, new_session: bool = False
) -> Result:
    """Keep ``clients`` connections busy for ``seconds``.

    With ``new_session`` each request brings another session id in its metadata.
    """
    connections = [await connect(port, Repeated) for _ in range(clients)]
    latencies: list[float] = []
    head, _, rest = request.partition(SESSION.encode())
    spent, began = time.process_time(), time.perf_counter()
    end = began + seconds

    async def work(client: Repeated) -> None:
        sent = request
        while time.perf_counter() < end:
            if new_session:
                sent = head + str(uuid.uuid4()).encode() + rest
            latencies.append(await client.exchange(sent))

    await asyncio.gather(*(work(client) for client in connections))
    took = time.perf_counter() - began
    busy = (time.process_time() - spent) / took
    for client in connections:
        client.close()
    return Result(len(latencies), took, latencies, busy)


async def once(request: bytes, *, port: int) -> tuple[bytes, bytes]:
    """Send one request on a connection of its own; returns head and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1))
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"unexpected answer: {answer[:600]!r}")
    return head, body
