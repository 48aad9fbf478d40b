"""What both emulators share: listening, recording, and the pieces an answer is scripted from.

A script is one answer, a list of answers (one for each chat request, the last one repeats) or a
function of the recorded request. An answer is ``Answer(pieces…)`` or one of the faults that come
instead of one (``HttpError``, ``Reset``). Nothing is sent, not even headers, before the first piece
that has bytes: a leading ``Delay`` or ``Hold`` is a silence before the first byte.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PATIENCE_S = 20.0
"""How long ``until`` waits before it says what did not happen."""


@dataclass(frozen=True)
class Thinking:
    text: str


@dataclass(frozen=True)
class Call:
    """A complete tool call. ``id`` is minted where none is given."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@dataclass(frozen=True)
class Calls:
    """Several tool calls in one line."""

    calls: tuple[Call, ...]


@dataclass(frozen=True)
class Delay:
    seconds: float


@dataclass(frozen=True)
class Hold:
    """Wait until the test sets the event; sends nothing."""

    event: asyncio.Event


@dataclass(frozen=True)
class Raw:
    """These bytes, as they are: garbage, half a line, half a character."""

    data: bytes


@dataclass(frozen=True)
class ErrorLine:
    """The engine's error object inside the stream, then a clean end."""

    message: str


@dataclass(frozen=True)
class Eof:
    """A clean end without ``done``."""


@dataclass(frozen=True)
class Cut:
    """The connection is reset."""


@dataclass(frozen=True)
class Stall:
    """Nothing more, until the client leaves."""


Piece = str | Thinking | Call | Calls | Delay | Hold | Raw | ErrorLine | Eof | Cut | Stall


@dataclass(frozen=True, init=False)
class Answer:
    """Pieces in order, then the end with its metrics.

    Counts that are not given are the emulator's own: it counts the prompt with its ``count``
    function and one completion token for each piece.
    """

    pieces: tuple[Piece, ...]
    done_reason: str = "stop"
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    prompt_ms: float = 1.0
    done_calls: tuple[Call, ...] = ()
    """Tool calls that come with the last line, as Ollama's native path does."""

    def __init__(self, *pieces: Piece, **fields: Any) -> None:
        object.__setattr__(self, "pieces", pieces)
        for name, value in fields.items():
            if name not in type(self).__dataclass_fields__:
                raise TypeError(f"Answer has no field {name!r}")
            object.__setattr__(self, name, value)


@dataclass(frozen=True)
class HttpError:
    """An answer that is only a status and a body, before any stream."""

    status: int
    body: Any
    """JSON value, or bytes as they are."""


@dataclass(frozen=True)
class Reset:
    """The connection is reset before a single byte."""


Scripted = Answer | HttpError | Reset


@dataclass
class Recorded:
    """One request as it arrived, and how it ended."""

    method: str
    path: str
    headers: dict[str, str]
    raw: bytes
    at: float
    """``time.monotonic()`` when its headers had arrived."""
    ended_at: float | None = None
    left: bool = False
    """The client closed the connection before the answer was complete."""

    @property
    def body(self) -> Any:
        return json.loads(self.raw) if self.raw else None


@dataclass
class Connection:
    opened_at: float
    closed_at: float | None = None


Script = Scripted | Sequence[Scripted] | Callable[[Recorded], Scripted]


class _Server(web.Server):
    """aiohttp's low-level server, telling the emulator about its connections."""

    def __init__(self, emulator: "Emulator") -> None:
        super().__init__(
            emulator.handle, handler_cancellation=True, keepalive_timeout=600, access_log=None
        )
        self._emulator = emulator
        self._records: dict[Any, Connection] = {}
        self.transports: dict[Any, asyncio.Transport] = {}

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self.transports[handler] = transport
        record = self._records[handler] = Connection(time.monotonic())
        self._emulator.connections.append(record)
        self._emulator.changed()

    def connection_lost(self, handler: Any, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        del self.transports[handler]
        self._records.pop(handler).closed_at = time.monotonic()
        self._emulator.changed()


class Emulator:
    """Listens on a free port of 127.0.0.1, or on the one given, from ``async with`` on."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        self.script: Script = script if script is not None else Answer("Hello", " there", ".")
        self.port = port
        self.requests: list[Recorded] = []
        """Every request, in order of arrival."""
        self.connections: list[Connection] = []
        self.faults: dict[str, HttpError | Reset | Delay | Stall] = {}
        """What happens instead of, or (``Delay``) before, the answer on a path: ``/api/tags``…"""
        self._answered = 0
        self._change = asyncio.Event()
        self._server: _Server | None = None
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> "Emulator":
        await self.listen()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.refuse()

    async def listen(self) -> None:
        """Accept connections; on the same port as before, after ``refuse``."""
        self._server = _Server(self)
        self._runner = web.ServerRunner(self._server, shutdown_timeout=0.01)
        await self._runner.setup()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        await web.SockSite(self._runner, listener, backlog=1024).start()

    async def refuse(self) -> None:
        """Cut every connection and refuse new ones, as an engine does that was killed."""
        if self._runner is None or self._server is None:
            return
        runner, self._runner = self._runner, None
        for site in list(runner.sites):
            await site.stop()
        for transport in list(self._server.transports.values()):
            transport.abort()
        await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def closed(self) -> list[Recorded]:
        """Requests whose client left before the answer was complete."""
        return [request for request in self.requests if request.left]

    @property
    def open_connections(self) -> int:
        return sum(connection.closed_at is None for connection in self.connections)

    @property
    def active(self) -> list[Recorded]:
        """Requests that are being answered."""
        return [request for request in self.requests if request.ended_at is None]

    @property
    def chats(self) -> list[Recorded]:
        """Requests for an answer, in order of arrival."""
        return [request for request in self.requests if request.path in self.chat_paths]

    chat_paths: tuple[str, ...] = ()

    def changed(self) -> None:
        self._change.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that requests, connections and their ends bring about."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    self._change.clear()
                    await self._change.wait()
        assert condition(), f"did not happen within {PATIENCE_S:g} s at {self.url}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        recorded = Recorded(
            request.method, request.path, dict(request.headers), b"", time.monotonic()
        )
        self.requests.append(recorded)
        self.changed()
        try:
            recorded.raw = await request.content.read()
            return await self._faulty(request, recorded)
        except (asyncio.CancelledError, ConnectionError):
            recorded.left = True
            raise
        finally:
            recorded.ended_at = time.monotonic()
            self.changed()

    async def _faulty(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        fault = self.faults.get(recorded.path)
        if isinstance(fault, Reset):
            reset(request)
            return web.Response()
        if isinstance(fault, HttpError):
            return json_response(fault.body, fault.status)
        if isinstance(fault, Stall):
            await asyncio.Event().wait()
        if isinstance(fault, Delay):
            await asyncio.sleep(fault.seconds)
        return await self.respond(request, recorded)

    async def respond(self, request: web.BaseRequest, recorded: Recorded) -> web.StreamResponse:
        raise NotImplementedError

    def next_scripted(self, recorded: Recorded) -> Scripted:
        """Return what the script says for this request."""
        script = self.script
        if callable(script):
            return script(recorded)
        if isinstance(script, Sequence):
            scripted = script[min(self._answered, len(script) - 1)]
            self._answered += 1
            return scripted
        return script


def reset(request: web.BaseRequest) -> None:
    """Close the connection with a TCP reset instead of an orderly end."""
    transport = request.transport
    if transport is not None:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()


async def stream(
    request: web.BaseRequest,
    pieces: Sequence[Piece],
    render: Callable[[Any], bytes],
    last: bytes,
    content_type: str,
) -> web.StreamResponse:
    """Send the pieces, then ``last``; headers go out with the first bytes."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    for piece in pieces:
        if isinstance(piece, Delay):
            await asyncio.sleep(piece.seconds)
        elif isinstance(piece, Hold):
            await piece.event.wait()
        elif isinstance(piece, Stall):
            await asyncio.Event().wait()
        elif isinstance(piece, Cut):
            reset(request)
            return response
        elif isinstance(piece, Eof):
            return await _end(request, response, b"")
        elif isinstance(piece, ErrorLine):
            return await _end(request, response, render(piece))
        else:
            data = piece.data if isinstance(piece, Raw) else render(piece)
            await _write(request, response, data)
    return await _end(request, response, last)


async def _write(request: web.BaseRequest, response: web.StreamResponse, data: bytes) -> None:
    if not response.prepared:
        await response.prepare(request)
    await response.write(data)


async def _end(
    request: web.BaseRequest, response: web.StreamResponse, data: bytes
) -> web.StreamResponse:
    if not response.prepared:
        await response.prepare(request)
    await response.write_eof(data)
    return response


def json_response(value: Any, status: int = 200) -> web.Response:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return web.Response(
        status=status, body=data, headers={"Content-Type": "application/json; charset=utf-8"}
    )


def text_response(text: str, status: int = 200) -> web.Response:
    return web.Response(status=status, text=text)


def local_host(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    if name in {"", "localhost"} or name.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        address = ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def foreign_origin(recorded: Recorded) -> bool:
    origin = recorded.headers.get("Origin")
    return origin is not None and not local_host(origin.removeprefix("http://"))
