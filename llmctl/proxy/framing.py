"""Whether a connection holds the beginning of a request behind its last whole one.

aiohttp's parser does not tell, so what it was given is compared with what it made of it.
"""

from aiohttp import StreamReader
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD

END = b"\r\n\r\n"
"""What heads end with, and chunked bodies."""


class Framing:
    """Follows the bytes of one connection. Where in doubt it takes them for whole requests."""

    __slots__ = ("_length", "_payload", "_received", "_recent", "_whole", "half_head")

    def __init__(self) -> None:
        self.half_head = False
        """Whether bytes of a head have come that is not complete."""
        self._recent = b""
        self._payload = EMPTY_PAYLOAD
        self._length: int | None = None
        self._received = 0
        self._whole = True

    def follow(self, data: bytes, newest: tuple[object, StreamReader] | None) -> None:
        """Take in that the parser was given ``data``.

        ``newest`` is the last message of which it completed the head with them, if any.
        """
        recent, self._recent = self._recent, (self._recent + data[-3:])[-3:]
        if newest is not None:
            message, self._payload = newest
            self._length, self._received = _length(message, self._payload), 0
        elif self._whole:
            self.half_head = self.half_head or _begins_a_head(data)
            return
        self._whole = self._payload.is_eof()
        self.half_head = self._whole and _begins_a_head(
            self._left_over(recent, data, begun=newest is not None)
        )
        self._received = self._payload.total_bytes

    def _left_over(self, recent: bytes, data: bytes, *, begun: bool) -> bytes:
        """Return what of ``data``, which completed a request, is behind it."""
        if self._length is None:
            return b""
        if self._length and not begun:
            return data[self._length - self._received :]
        seen = recent + data
        # a body may contain the same bytes: then less is found to be left over than there is
        end = seen.rfind(END, 0, len(seen) - self._length)
        return b"" if end < 0 else seen[end + len(END) + self._length :]


def _begins_a_head(data: bytes) -> bool:
    """Tell whether there is more than the empty line that some clients send behind a body."""
    return bool(data.strip(b"\r\n"))


def _length(message: object, payload: StreamReader) -> int | None:
    """Return the bytes of a body; 0 also for a chunked one, None where they cannot be counted."""
    if payload is EMPTY_PAYLOAD or not isinstance(message, RawRequestMessage) or message.chunked:
        return 0
    said = message.headers.get("Content-Length", "")
    return int(said) if said.isdecimal() and not message.compression else None
