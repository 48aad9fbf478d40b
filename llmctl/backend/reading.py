"""One answer being read from an engine: bytes in, chunks out, deadlines kept."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

import aiohttp

from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, broken_stream, from_engine
from llmctl.protocol.lines import StreamDecoder

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error answer is read."""
ERROR_S = 5.0
"""How long an error answer may take to arrive; then what there is of it has to do."""
LAST_BYTES_S = 0.25
"""How long to wait for the end of the HTTP body after ``done``, to keep the connection."""


async def read_whole(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """Read a body to its end, or to the first ``max_bytes``."""
    parts: list[bytes] = []
    left = max_bytes
    while left > 0 and (part := await response.content.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


class Reading:
    """The body of one streamed answer. ``close`` ends it at any time, and the generation with it.

    The connection goes back to its session only when the body was read to its end.
    """

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        decoder: StreamDecoder,
        *,
        address: str,
        idle_s: float,
        error_s: float = ERROR_S,
    ) -> None:
        self._error_s = error_s
        self._response = response
        self._decoder = decoder
        self._address = address
        self._silence = _Silence(idle_s, response.close)
        self._watched = _watch_the_end(response)

    async def first(self) -> list[EngineChunk]:
        """Wait for the first chunks, as long as the caller does; closed if this raises."""
        try:
            await self._check_status()
            chunks = await self._next()
        except BaseException:
            self.close()
            raise
        self._silence.watch()
        return chunks

    async def more(self) -> list[EngineChunk]:
        """Return everything that has arrived since, waiting for some; empty after ``done``."""
        if self._decoder.ended:
            await self._read_to_the_end()
            return []
        return await self._next()

    def close(self) -> None:
        """Give the connection back if the answer is complete, else close it."""
        self._silence.stop()
        self._watched()
        self._response.close()

    async def _next(self) -> list[EngineChunk]:
        # The decoder may hold an error back that came right after the last chunks.
        chunks = self._decoder.feed(b"")
        while not chunks:
            data = await self._read()
            chunks = self._decoder.feed(data) if data else self._decoder.finish()
        return chunks

    async def _read(self) -> bytes:
        self._silence.begins()
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as failure:
            raise self._cut() from failure
        finally:
            self._silence.ends()

    def _cut(self) -> ApiError:
        if self._silence.too_long:
            message = f"the engine at {self._address} fell silent in the middle of its answer"
            limit = f"{self._silence.limit_s:g} s without a byte"
            return ApiError(504, f"{message} ({limit})", another_backend=True)
        return broken_stream(f"the connection to the engine at {self._address} broke mid-answer")

    async def _check_status(self) -> None:
        status, decoder = self._response.status, self._decoder
        if status == 200:
            return
        body = bytearray()
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(self._error_s):
                while part := await self._response.content.read(MAX_ERROR_BYTES - len(body)):
                    body += part
        raise from_engine(status, bytes(body), model=decoder.model, num_ctx=decoder.num_ctx)

    async def _read_to_the_end(self) -> None:
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(LAST_BYTES_S):
                while await self._response.content.readany():
                    pass  # what follows ``done`` means nothing


def _watch_the_end(response: aiohttp.ClientResponse) -> Callable[[], object]:
    """Let a read fail once the connection is gone; returns what ends the watch.

    aiohttp closes the connection at a chunk it cannot read, and tells nobody who waits for the
    body (3.14).
    """
    protocol = None if response.connection is None else response.connection.protocol
    closed = None if protocol is None else protocol.closed
    if closed is None:  # it is gone, or all of a short answer is here
        return lambda: None

    def gone(_closed: asyncio.Future[None]) -> None:
        content = response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection was lost"))

    closed.remove_done_callback(_noticed)  # once for a connection, however many answers it brings
    closed.add_done_callback(_noticed)
    closed.add_done_callback(gone)
    return partial(closed.remove_done_callback, gone)


def _noticed(closed: asyncio.Future[None]) -> None:
    """Take the reason, or asyncio complains that nobody did."""
    if not closed.cancelled():
        closed.exception()


class _Silence:
    """Cuts the connection when a read waits too long.

    One timer for a whole answer: one for each read would cost more than the read itself. Time in
    which nobody reads, because a client is slow, does not count.
    """

    def __init__(self, limit_s: float, cut: Callable[[], None]) -> None:
        self.limit_s = limit_s
        self.too_long = False
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begins(self) -> None:
        self._since = self._loop.time()

    def ends(self) -> None:
        self._since = None

    def watch(self) -> None:
        """Look whether it has been too long, and when to look again."""
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited >= self.limit_s:
            self.too_long = True
            self._cut()
        else:
            self._timer = self._loop.call_later(self.limit_s - waited, self.watch)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
