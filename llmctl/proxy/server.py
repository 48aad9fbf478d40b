"""The HTTP front: what aiohttp leaves open is closed here.

Parser errors are answered in Anthropic's shape, half requests have a deadline, connections are
counted. ``RequestHandler.handle_error`` and ``Server.__call__`` are the hooks; a contract test
guards them, since aiohttp documents neither.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

from llmctl.protocol.errors import ApiError
from llmctl.proxy.responses import error_response

log = logging.getLogger(__name__)

IDLE_S = 900.0
"""A kept-alive connection may stay idle this long: a person thinks between two turns."""
MAX_CONNECTIONS = 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Connection(RequestHandler):
    """One client connection."""

    __slots__ = ("_header_deadline", "_header_s")

    def __init__(self, front: "Front", *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(front, loop=loop, **options)
        self._header_s = front.header_s
        self._header_deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        front = self._manager
        if front is not None and len(front.connections) >= MAX_CONNECTIONS:
            log.warning("connection refused: %d are open", MAX_CONNECTIONS)
        super().connection_made(transport)
        if front is not None and len(front.connections) > MAX_CONNECTIONS:
            self.force_close()
            return
        self._await_headers()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._headers_complete()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._request_count
        super().data_received(data)
        if self._request_count > before:
            self._headers_complete()
        elif self._header_deadline is None and not self._request_in_progress:
            self._await_headers()

    def _await_headers(self) -> None:
        self._header_deadline = self._loop.call_later(self._header_s, self._too_slow)

    def _headers_complete(self) -> None:
        if self._header_deadline is not None:
            self._header_deadline.cancel()
            self._header_deadline = None

    def _too_slow(self) -> None:
        self._header_deadline = None
        if not self._request_in_progress:
            self.force_close()

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
        log.error("unexpected failure while answering %s", request.path, exc_info=exc)
        return error_response(ApiError(500, "internal error in llmctl, see its log"), close=True)


class Front(web.Server):
    """aiohttp's low-level server, making connections of ours."""

    def __init__(self, handler: Handler, *, header_s: float) -> None:
        self.header_s = header_s
        """From the first byte, or the connection, to complete headers."""
        super().__init__(
            handler,
            handler_cancellation=True,
            keepalive_timeout=IDLE_S,
            access_log=None,
            # After an early refusal read on for a moment: else the client sees a reset, no answer.
            lingering_time=2.0,
        )

    async def stop(self, within_s: float) -> None:
        """Close idle connections at once, and the others after their answer or ``within_s``."""
        self.pre_shutdown()
        await self.shutdown(within_s)

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)
