"""The HTTP front: what aiohttp leaves open is closed here.

Parser errors are answered in Anthropic's shape, half requests have a deadline, connections are
counted. ``RequestHandler.handle_error`` and ``Server.__call__`` are the hooks; a contract test
guards them, since aiohttp documents neither.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import EmptyStreamReader
from aiohttp.web_protocol import RequestHandler

from llmctl.core.errors import ConfigError
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.proxy.framing import Framing
from llmctl.proxy.peers import peer_name
from llmctl.proxy.responses import error_response, raw_response
from llmctl.proxy.room import Room
from llmctl.proxy.silence import SILENCE

log = logging.getLogger(__name__)

IDLE_S = 900.0
"""A kept-alive connection may stay idle this long: a person thinks between two turns."""
MAX_CONNECTIONS = 1024
FAREWELL_S = 1.0
"""How long a refused connection may stay to read why; a quarter as many may as there are others."""
SPARE_DESCRIPTORS = 128
"""For files, and for what else the process opens; a connection may need one to an engine too."""
UNSENT_BYTES = 128 * 1024
"""What the kernel may hold for a client that takes nothing; left alone it takes megabytes."""

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = (
        "_framing",
        "_front",
        "_header_deadline",
        "_header_s",
        "_refused",
        "_stall_check",
        "_stall_s",
    )

    def __init__(self, front: "Front", *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(front, loop=loop, **options)
        self._front = front
        self._framing = Framing()
        self._header_s = front.header_s
        self._header_deadline: asyncio.TimerHandle | None = None
        self._stall_s = front.stall_s
        self._stall_check: asyncio.TimerHandle | None = None
        self._refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        refusal = self._front.refusal(self, peer_of(transport))
        super().connection_made(transport)
        if refusal is not None:
            self._turn_away(refusal)
            return
        _bound_unsent(transport)
        self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._front.leave(self)
        self._headers_complete()
        self._taking_again()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        before = self._request_count
        super().data_received(data)
        begun = self._request_count > before
        if begun and not isinstance(self._messages[-1][0], RawRequestMessage):
            self._stop_listening()
            return
        if begun:
            self._headers_complete()
        self._framing.follow(data, self._messages[-1] if begun else None)
        if self._framing.half_head and self._header_deadline is None:
            self._await_headers()

    def admitted(self) -> None:
        """Note that who is connected has shown a token."""
        self._front.room.known(self)

    @property
    def idle(self) -> bool:
        """Whether nothing was asked that is not answered, not even half of it."""
        return self._waits and not self._framing.half_head

    @property
    def _waits(self) -> bool:
        """Whether nothing is being answered."""
        return self._waiter is not None and not self._waiter.done()

    def _turn_away(self, refusal: ApiError) -> None:
        """Say why and end it; a little later where that is possible, or a reset takes the words."""
        self._refused = True
        transport = self.transport
        if transport is None:
            return
        transport.write(raw_response(refusal))
        if not self._front.say_farewell(self):
            self.force_close()
            return
        self._say_no_more()
        self._loop.call_later(FAREWELL_S, self.force_close)

    def _stop_listening(self) -> None:
        """Drop what still comes behind a request that cannot be read; its answer is to follow."""
        self._refused = True
        self._headers_complete()
        if self._front.say_farewell(self):
            error, _ = self._messages.pop()
            self._messages.append((error, Leftovers(self._say_no_more)))

    def _say_no_more(self) -> None:
        if self.transport is not None and self.transport.can_write_eof():
            self.transport.write_eof()

    def _await_headers(self) -> None:
        self._header_deadline = self._loop.call_later(self._header_s, self._too_slow)

    def _headers_complete(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _too_slow(self) -> None:
        self._header_deadline = None
        if self._waits:
            self.force_close()
        elif self._framing.half_head:
            # it came behind a request that is still being answered
            self._await_headers()

    def pause_writing(self) -> None:
        """More is to be sent than the client takes at the moment."""
        super().pause_writing()
        if self.transport is not None:
            self._watch(self.transport)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._taking_again()

    def _watch(self, transport: asyncio.Transport) -> None:
        unsent = transport.get_write_buffer_size()
        self._stall_check = self._loop.call_later(
            self._stall_s, self._check_stall, transport, unsent
        )

    def _check_stall(self, transport: asyncio.Transport, unsent_before: int) -> None:
        if transport.get_write_buffer_size() < unsent_before:
            self._watch(transport)
            return
        log.info("a client took nothing for %g s: its connection is ended", self._stall_s)
        transport.abort()

    def _taking_again(self) -> None:
        if self._stall_check is not None:
            self._stall_check.cancel()
            self._stall_check = None

    def log_exception(self, *args: Any, **fields: Any) -> None:
        """Log a failure, but not that a body cannot be decoded: the client was told that."""
        if not isinstance(fields.get("exc_info"), (web.RequestPayloadError, HttpProcessingError)):
            super().log_exception(*args, **fields)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Shape what never reached a handler, or escaped from one; always closes."""
        if request.writer.output_size > 0:
            # Headers are out: a second answer would corrupt the first.
            raise ConnectionError("the answer has already begun")
        if isinstance(exc, HttpProcessingError) or status == 400:
            reason = (message or "bad HTTP request").splitlines()[0].strip().rstrip(":")
            return error_response(ApiError(400, f"malformed HTTP request: {reason}"), close=True)
        log.error("unexpected failure while answering %r", request.path, exc_info=exc)
        return error_response(ApiError(500, "internal error in llmctl, see its log"), close=True)


class Leftovers(EmptyStreamReader):
    """What a client still sends while it is told that it cannot be understood.

    aiohttp reads the rest of a request for a moment before it closes, or else a reset could
    overtake the answer. This is such a rest for requests that have none.
    """

    __slots__ = ("_over", "_say_no_more")

    def __init__(self, say_no_more: Callable[[], None]) -> None:
        super().__init__()
        self._say_no_more = say_no_more
        self._over = False

    def is_eof(self) -> bool:
        """Whether the client had its time."""
        return self._over

    async def readany(self) -> bytes:
        """End the answer's direction, and wait for the client to end its own."""
        self._say_no_more()
        await asyncio.sleep(FAREWELL_S)
        self._over = True
        return b""


def check_parser(parser: type = HttpRequestParser) -> None:
    """Raise ``ConfigError`` where aiohttp came without its compiled parser.

    The one in Python takes ``chunked, chunked`` for chunked, and never answers to a chunk whose
    size has too many digits (tests/integration/proxy/corpus.py, aiohttp 3.14).
    """
    if parser is HttpRequestParserPy:
        raise ConfigError(
            "this aiohttp has no compiled HTTP parser, and the other one is not strict enough",
            hint="unset AIOHTTP_NO_EXTENSIONS, or reinstall aiohttp from a wheel",
        )


def peer_of(transport: asyncio.BaseTransport) -> str:
    """Return for whom a connection counts."""
    name = transport.get_extra_info("peername")
    return peer_name(str(name[0])) if name else ""


def connections_for(descriptors: int) -> int:
    """Return how many connections so many file descriptors allow."""
    return max(1, min(MAX_CONNECTIONS, (descriptors - SPARE_DESCRIPTORS) // 2))


def most_descriptors() -> int:
    """Let this process open as many files as it may; returns how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS + SPARE_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def _bound_unsent(transport: asyncio.BaseTransport) -> None:
    """Let writes wait once so much has not left the machine; what is on its way is not limited."""
    sock = transport.get_extra_info("socket")
    if sock is not None and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)


class Front(web.Server):
    """aiohttp's low-level server, making connections of ours."""

    def __init__(
        self,
        handler: Handler,
        *,
        header_s: float,
        stall_s: float = SILENCE.stall_s,
        max_connections: int = MAX_CONNECTIONS,
        max_peer_connections: int | None = None,
    ) -> None:
        self.header_s = header_s
        """From the first byte, or the connection, to complete headers."""
        self.stall_s = stall_s
        """How long a client may take nothing of what is to be sent to it."""
        self._most_farewells = max(1, max_connections // 4)
        self._leaving: set[Connection] = set()
        self._quiet_until = 0.0
        super().__init__(
            handler,
            handler_cancellation=True,
            keepalive_timeout=IDLE_S,
            access_log=None,
            # After an early refusal read on for a moment: else the client sees a reset, no answer.
            lingering_time=2.0,
        )
        self.room = Room(
            most=max_connections, most_of_peer=max_peer_connections, monotonic=self._loop.time
        )

    def refusal(self, connection: Connection, peer: str) -> ApiError | None:
        """Let a connection in, or return what it is to be told."""
        reason = self.room.enter(connection, peer)
        if not reason:
            return None
        self._warn("connections are refused: %s", reason)
        return overloaded(f"{reason}; use fewer, or try again", retry_after_s=5)

    def say_farewell(self, connection: Connection) -> bool:
        """Tell whether a refused connection may linger."""
        if len(self._leaving) >= self._most_farewells:
            return False
        self._leaving.add(connection)
        return True

    def leave(self, connection: Connection) -> None:
        """Forget a connection that has ended."""
        self.room.leave(connection)
        self._leaving.discard(connection)

    def _warn(self, text: str, *values: object) -> None:
        """Say so once a minute, not once a connection: whoever makes them would fill the log."""
        now = self._loop.time()
        if now >= self._quiet_until:
            self._quiet_until = now + 60.0
            log.warning(text, *values)

    async def stop(self, within_s: float) -> None:
        """Close idle connections at once, and the others after their answer or ``within_s``."""
        self.pre_shutdown()
        await self.shutdown(within_s)

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)
