"""One answer being read from an engine: bytes in, chunks out, deadlines kept."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import aiohttp

from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, broken_stream, from_engine, overloaded
from llmctl.protocol.lines import StreamDecoder

MAX_ERROR_BYTES = 64 * 1024
"""How much of an error answer is read."""
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

    def __init__(self, decoder: StreamDecoder, *, address: str, timeouts: TimeoutConfig) -> None:
        self._decoder = decoder
        self._address = address
        self._timeouts = timeouts
        self._response: aiohttp.ClientResponse | None = None
        self._silence: _Silence | None = None

    async def begin(self, opening: Awaitable[aiohttp.ClientResponse]) -> list[EngineChunk]:
        """Wait for the headers and return the first chunks; raises ``ApiError``."""
        first_token_s = self._timeouts.first_token_s
        try:
            async with asyncio.timeout(first_token_s):
                self._response = await opening
                if self._response.status != 200:
                    raise await self._refusal(self._response)
                chunks = await self._next(self._response)
        except TimeoutError:
            raise overloaded(
                f"the engine at {self._address} gave no first token within {first_token_s:g} s"
            ) from None
        self._silence = _Silence(self._timeouts.idle_s, self._response.close)
        return chunks

    async def more(self) -> list[EngineChunk]:
        """Return everything that has arrived since, waiting for some; empty after ``done``."""
        if self._response is None or self._decoder.ended:
            await self._finish()
            return []
        return await self._next(self._response)

    def close(self) -> None:
        """Give the connection back if the answer is complete, else close it."""
        if self._silence is not None:
            self._silence.stop()
        if self._response is not None:
            self._response.close()

    async def _next(self, response: aiohttp.ClientResponse) -> list[EngineChunk]:
        # The decoder may hold an error back that came right after the last chunks.
        chunks = self._decoder.feed(b"")
        while not chunks:
            data = await self._read(response)
            chunks = self._decoder.feed(data) if data else self._decoder.finish()
            if not data:
                break
        return chunks

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if self._silence is not None:
            self._silence.begins()
        try:
            return await response.content.readany()
        except (aiohttp.ClientError, OSError) as failure:
            raise self._cut() from failure
        finally:
            if self._silence is not None:
                self._silence.ends()

    def _cut(self) -> ApiError:
        if self._silence is not None and self._silence.too_long:
            message = f"the engine at {self._address} fell silent in the middle of its answer"
            limit = f"{self._timeouts.idle_s:g} s without a byte"
            return ApiError(504, f"{message} ({limit})", another_backend=True)
        return broken_stream(f"the connection to the engine at {self._address} broke mid-answer")

    async def _refusal(self, response: aiohttp.ClientResponse) -> ApiError:
        body = b""
        with contextlib.suppress(aiohttp.ClientError, OSError):
            body = await read_whole(response, max_bytes=MAX_ERROR_BYTES)
        decoder = self._decoder
        return from_engine(response.status, body, model=decoder.model, num_ctx=decoder.num_ctx)

    async def _finish(self) -> None:
        if self._response is None:
            return
        with contextlib.suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(LAST_BYTES_S):
                while await self._response.content.readany():
                    pass


class _Silence:
    """Cuts the connection when a read waits too long.

    One timer for a whole answer: one for each read would cost more than the read itself. Time in
    which nobody reads, because a client is slow, does not count.
    """

    def __init__(self, limit_s: float, cut: Callable[[], None]) -> None:
        self.too_long = False
        self._limit_s = limit_s
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._since: float | None = None
        self._timer = self._loop.call_later(limit_s, self._check)

    def begins(self) -> None:
        self._since = self._loop.time()

    def ends(self) -> None:
        self._since = None

    def stop(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited >= self._limit_s:
            self.too_long = True
            self._cut()
        else:
            self._timer = self._loop.call_later(self._limit_s - waited, self._check)
