"""What listens behind a tunnel: answers HTTP, and a few one-line commands for raw connections.

``echo``: everything back. ``records STREAM COUNT PAUSE``: numbered records. ``flood``: zeros for
ever. ``count``: how many bytes came until the end, said afterwards. ``done``: one line.
"""

import asyncio
import contextlib
import weakref

from tests.integration.tunnel.history import record

ZEROS = bytes(64 * 1024)
TOKEN = b'{"message":{"role":"assistant","content":"x"},"done":false}\n'


class Engine:
    """One server on loopback."""

    def __init__(self) -> None:
        self.port = 0
        self.open = 0
        """Connections now."""
        self.closed = 0
        self.floods = 0
        """Floods now; nothing but a connection that ends ends one."""
        self.requests: list[bytes] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: weakref.WeakSet[asyncio.StreamWriter] = weakref.WeakSet()

    async def start(self) -> None:
        """Listen; on the same port again after ``stop``."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End everything; the port refuses from then on."""
        if self._server is not None:
            self._server.close()
            self._server = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)  # transports close in the loop's next turn

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        self.open += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._answer(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()  # and an end in peace: streams would report the task's
        finally:
            self.open -= 1
            self.closed += 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        word, *rest = line.split() or [b""]
        match word:
            case b"echo":
                while data := await reader.read(65536):
                    writer.write(data)
                    await writer.drain()
            case b"records":
                stream, count, pause = int(rest[0]), int(rest[1]), float(rest[2])
                for number in range(count):
                    writer.write(record(stream, number))
                    await writer.drain()
                    await asyncio.sleep(pause)
            case b"flood":
                self.floods += 1
                try:
                    while True:
                        writer.write(ZEROS)
                        await writer.drain()
                finally:
                    self.floods -= 1
            case b"count":
                size = 0
                while data := await reader.read(65536):
                    size += len(data)
                writer.write(b"%d\n" % size)
            case b"done":
                writer.write(b"done\n")
            case b"silent":
                await reader.read()
            case b"GET" | b"POST":
                await self._http(line, reader, writer)

    async def _http(
        self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while line:
            self.requests.append(line)
            size, closes = 0, False
            while header := (await reader.readline()).lower().strip():
                name, _, value = header.partition(b":")
                size = int(value) if name == b"content-length" else size
                closes |= name == b"connection" and b"close" in value
            body = await reader.readexactly(size)
            path = line.split()[1]
            if path.startswith(b"/stream"):
                await self._stream(writer, int(path.rpartition(b"/")[2]))
            elif path == b"/api/chat":
                await self._stream(writer, 0, TOKEN)
            else:
                said = b'{"version":"0.0.0","got":%d}' % len(body)
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said)
                writer.write(head + said)
            await writer.drain()
            if closes:
                return
            line = await reader.readline()

    async def _stream(
        self, writer: asyncio.StreamWriter, count: int, said: bytes | None = None
    ) -> None:
        """Answer in chunks, one record each or ``said``; ``count`` 0 goes on for ever."""
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        number = 0
        while not count or number < count:
            piece = said or record(0, number)
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            await asyncio.sleep(0.001)
            number += 1
        writer.write(b"0\r\n\r\n")
