"""Connections of the HTTP front without sockets, on a clock of their own."""

import asyncio
from typing import Any

from aiohttp import web

from llmctl.proxy.server import Connection, Front
from tests.unit.proxy import virtual_time

HEADER_S = 8.0
STALL_S = 60.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport whose other side takes what a test lets it take."""

    def __init__(self, peer: str) -> None:
        super().__init__()
        self.peer = peer
        self.unsent = 0
        self.written = b""
        self.protocol: Connection | None = None
        self.closed_at: float | None = None
        self.aborted = self.half_closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def write_eof(self) -> None:
        self.half_closed = True

    def can_write_eof(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return self.closed_at is not None

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...

    def close(self) -> None:
        if self.closed_at is None:
            loop = asyncio.get_running_loop()
            self.closed_at = loop.time() - 1000.0
            loop.call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return (self.peer, 12345) if name == "peername" else default


async def answer(request: web.BaseRequest, *, pause_s: float = 0.0) -> web.Response:
    await request.read()
    await asyncio.sleep(pause_s)
    return web.Response(text="done")


def connect(front: Front, peer: str = "127.0.0.1") -> Wire:
    wire = Wire(peer)
    wire.protocol = front()
    wire.protocol.connection_made(wire)
    return wire


def front(handler=answer) -> Front:
    return Front(handler, header_s=HEADER_S, stall_s=STALL_S)


def virtually(test):
    """Run a test in virtual time."""

    def timeless() -> None:
        virtual_time.run(test)

    timeless.__name__ = test.__name__
    return timeless
