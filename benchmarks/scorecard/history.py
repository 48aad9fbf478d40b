"""What each stream was told, in order and in time; judged afterwards."""

import asyncio
import time
import zlib
from dataclasses import dataclass, field

from benchmarks.scorecard.source import WORD


@dataclass
class Heard:
    """One stream as its client heard it."""

    stream: int
    numbers: list[int] = field(default_factory=list)
    ms: list[float] = field(default_factory=list)
    """From the making of each word to its arrival."""
    damaged: int = 0
    ends: int = 0
    status: int = 0

    def whole(self, words: int) -> bool:
        """Whether every word came once, in order and undamaged, and one end after them."""
        right = self.numbers == list(range(words)) and self.status == 200
        return right and not self.damaged and self.ends == 1


async def listen(port: int, request: bytes, stream: int, *, end: bytes) -> Heard:
    """Send a request and hear its stream; ``end`` is what marks its orderly end."""
    heard, rest = Heard(stream), b""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        heard.status = int((await reader.readline()).split()[1])
        tail = b""
        while data := await reader.read(65536):
            rest = _take(heard, rest + data)
            heard.ends += (tail + data).count(end)  # the end is longer than the tail
            tail = (tail + data)[1 - len(end) :]
            if heard.ends and data.endswith(b"0\r\n\r\n"):
                break
        writer.close()
    except (OSError, IndexError, ValueError):
        heard.status = heard.status or -1
    return heard


def _take(heard: Heard, data: bytes) -> bytes:
    """Note the words in ``data``; returns what may be the beginning of another."""
    now, last = time.monotonic_ns(), 0
    for match in WORD.finditer(data):
        stream, number, stamp, crc = (int(part) for part in match.groups())
        said = b".".join(match.groups()[:3])
        heard.damaged += zlib.crc32(said) != crc or stream != heard.stream
        heard.numbers.append(number)
        heard.ms.append((now - stamp) / 1e6)
        last = match.end()
    return data[max(last, len(data) - 512) :]
