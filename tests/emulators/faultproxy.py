"""A TCP proxy on loopback with faults: latency, slices, bandwidth, stall, reset, half-close, limit.

Faults are attributes that may be changed while it runs; they act on what arrives afterwards.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

CHUNK = 64 * 1024
QUEUED = 256
"""Chunks under way in one direction; a sender that is faster has to wait."""
RESET = struct.pack("ii", 1, 0)


class FaultProxy:
    """Passes connections on to ``port`` of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self.target_port = port
        self.port = 0
        self.latency_s = 0.0
        """Added to each direction; the order of bytes stays."""
        self.slice_bytes = CHUNK
        """Largest piece passed on at once."""
        self.bytes_per_s: float | None = None
        self.limit_bytes: int | None = None
        """A connection is reset once so many bytes have come back through it."""
        self.accepted = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; on the same port as before if it has listened already."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuse new connections, until ``start``."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def stall(self) -> None:
        """Let nothing through any more, in silence: connections stay open, as in a black hole."""
        self._flowing.clear()

    def resume(self) -> None:
        """Let everything through again, what was held back first."""
        self._flowing.set()

    def reset(self) -> None:
        """Reset every connection, on both sides."""
        for pair in list(self._open):
            for writer in pair:
                _reset(writer)

    def half_close(self) -> None:
        """Say towards the target that nothing more will come; the way back stays open."""
        for _, outer in list(self._open):
            outer.write_eof()

    async def close(self) -> None:
        """End everything."""
        await self.refuse()
        self.reset()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._flowing.wait()
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except (OSError, asyncio.CancelledError):
            _reset(writer)
            return
        pair = (writer, outer)
        self._open.add(pair)
        try:
            with contextlib.suppress(OSError, ExceptionGroup, asyncio.CancelledError):
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._pass_on(reader, outer, None))
                    both.create_task(self._pass_on(inner, writer, self.limit_bytes))
        finally:
            self._open.discard(pair)
            for each in pair:
                each.close() if self._server is not None else each.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> None:
        loop = asyncio.get_running_loop()
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED)

        async def read() -> None:
            data = b"-"
            while data:
                data = await reader.read(CHUNK)
                await under_way.put((loop.time() + self.latency_s, data))

        async def write() -> None:
            passed = 0
            while (item := await under_way.get())[1]:
                due, data = item
                await asyncio.sleep(max(0.0, due - loop.time()))
                for start in range(0, len(data), self.slice_bytes):
                    piece = data[start : start + self.slice_bytes]
                    await self._flowing.wait()
                    if limit is not None and (passed := passed + len(piece)) > limit:
                        _reset(writer)
                        raise ConnectionResetError
                    if self.bytes_per_s:
                        await asyncio.sleep(len(piece) / self.bytes_per_s)
                    writer.write(piece)
                    await writer.drain()
            writer.write_eof()

        async with asyncio.TaskGroup() as both:
            both.create_task(read())
            both.create_task(write())


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


@contextlib.asynccontextmanager
async def faulty(port: int) -> AsyncIterator[FaultProxy]:
    """Put a proxy without faults before a port of 127.0.0.1."""
    proxy = FaultProxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
