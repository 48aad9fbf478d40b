"""A small HTTP load generator: keep-alive connections that send one request over and over."""

import asyncio
import statistics
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What one round saw."""

    requests: int
    seconds: float
    latencies_s: list[float]

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.latencies_s) * 1000

    @property
    def p99_ms(self) -> float:
        return statistics.quantiles(self.latencies_s, n=100)[98] * 1000


def request_bytes(path: str, body: bytes, *, port: int, token: str | None = None) -> bytes:
    """Return one POST as it goes over the wire."""
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Content-Type: application/json",
        "anthropic-version: 2023-06-01",
        f"Content-Length: {len(body)}",
    ]
    if token:
        lines.append(f"x-api-key: {token}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Client(asyncio.Protocol):
    """One connection; ``exchange`` sends a request and waits for the whole answer."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._missing = -1
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._buffer += data
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self._missing = self._length(bytes(self._buffer[:head])) - (
                len(self._buffer) - head - 4
            )
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._buffer.clear()
            self._missing = -1
            self._done.set_result(None)

    @staticmethod
    def _length(head: bytes) -> int:
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"unexpected answer: {head[:200]!r}")
        lower = head.lower()
        start = lower.index(b"content-length:") + 15
        return int(lower[start:].split(b"\r\n", 1)[0])

    async def exchange(self, request: bytes) -> float:
        self._done = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        await self._done
        return time.perf_counter() - began

    def close(self) -> None:
        self._transport.close()


async def run(request: bytes, *, port: int, clients: int, seconds: float) -> Result:
    """Keep ``clients`` connections busy for ``seconds``."""
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(clients):
        _, client = await loop.create_connection(Client, "127.0.0.1", port)
        connections.append(client)
    latencies: list[float] = []
    began = time.perf_counter()
    end = began + seconds

    async def work(client: Client) -> None:
        while time.perf_counter() < end:
            latencies.append(await client.exchange(request))

    await asyncio.gather(*(work(client) for client in connections))
    took = time.perf_counter() - began
    for client in connections:
        client.close()
    return Result(requests=len(latencies), seconds=took, latencies_s=latencies)
