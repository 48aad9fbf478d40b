"""Lines out of the bytes of a stream, and what the decoders of both wire formats share.

Not asyncio's or aiohttp's ``readline``: both fail on long lines, and a tool call that writes a
file is one line of any length.
"""

from abc import ABC, abstractmethod

from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, broken_stream

MAX_LINE_BYTES = 8 * 1024 * 1024
"""Longest line accepted; Ollama's own client has the same limit."""


class Lines:
    """Cuts bytes at line feeds, however they arrive; what is not yet a whole line waits."""

    def __init__(self, max_bytes: int = MAX_LINE_BYTES) -> None:
        self.limit = max_bytes
        """Bytes a line may have."""
        self._parts: list[bytes] = []
        self._waiting = 0
        self.too_long = False
        """A line beyond the limit has been seen; it and what follows it are never returned."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that are now whole, without their line feeds."""
        lines = data.split(b"\n")
        tail = lines.pop()
        if lines and self._parts:
            self._parts.append(lines[0])
            lines[0] = b"".join(self._parts)
            self._parts.clear()
            self._waiting = 0
        if tail:
            self._parts.append(tail)
            self._waiting += len(tail)
        longest = max(self._waiting, len(lines[0]) if lines else 0, len(data))
        return lines if longest <= self.limit else self._check(lines)

    def rest(self) -> bytes:
        """Return the last line, which had no end."""
        return b"".join(self._parts)

    def _check(self, lines: list[bytes]) -> list[bytes]:
        for number, line in enumerate(lines):
            if len(line) > self.limit:
                self.too_long = True
                return lines[:number]
        self.too_long = self._waiting > self.limit
        return lines


class StreamDecoder(ABC):
    """Turns the bytes of an engine's stream into chunks; subclasses know the lines.

    What came before an error is never lost to it: ``feed`` returns the chunks it has and raises
    on the next call.
    """

    def __init__(
        self, *, model: str, num_ctx: int | None = None, max_line_bytes: int = MAX_LINE_BYTES
    ) -> None:
        self.model = model
        self.num_ctx = num_ctx
        self.ended = False
        """The engine has said that its answer is finished; what follows is ignored."""
        self._lines = Lines(max_line_bytes)
        self._error: ApiError | None = None
        self._closing = False

    def feed(self, data: bytes) -> list[EngineChunk]:
        """Return the chunks that ``data`` completes, maybe none; raises ``ApiError``."""
        if self._error is not None:
            raise self._error
        chunks: list[EngineChunk] = []
        if self.ended:
            return chunks
        try:
            self._read(self._lines.feed(data), chunks)
            if self._lines.too_long and not self.ended:
                raise self._too_long()
        except ApiError as error:
            if not chunks:
                raise
            self._error = error
        return chunks

    def finish(self) -> list[EngineChunk]:
        """Return what is left at the end of the stream; raises ``ApiError`` if the end is missing.

        To be called when the engine has closed the connection.
        """
        if self._error is not None:
            raise self._error
        chunks: list[EngineChunk] = []
        self._closing = True
        if not self.ended:
            self._read([self._lines.rest()], chunks)
        if not self.ended:
            self._close(chunks)
        return chunks

    @abstractmethod
    def _read(self, lines: list[bytes], chunks: list[EngineChunk]) -> None:
        """Add the chunks that whole lines make; sets ``ended`` at the engine's own end."""

    def _close(self, chunks: list[EngineChunk]) -> None:  # noqa: ARG002 - for subclasses
        """Add what only the end of the stream completes; raises if the answer is not whole."""
        raise self._cut_short()

    def _garbled(self, line: bytes) -> ApiError:
        if self._closing:
            return self._cut_short()
        shown = line[:80].decode(errors="replace")
        return broken_stream(f"the engine sent a line that is not its protocol: {shown!r}")

    def _cut_short(self) -> ApiError:
        return broken_stream(f"the engine closed the stream before {self.model} had finished")

    def _too_long(self) -> ApiError:
        limit = self._lines.limit
        return broken_stream(f"the engine sent a line of more than {limit} bytes")
