"""Numbered, checksummed records, and the check of what became of them: decided from the record."""

import struct
import zlib
from collections import Counter, defaultdict

RECORD = struct.Struct(">IIHI")
"""Stream, sequence number, length of the padding, CRC over all of the rest."""


def record(stream: int, number: int, padding: int = 64) -> bytes:
    """Return one record; the padding depends on its place, so that swapped bytes show."""
    body = bytes((stream + number + index) & 0xFF for index in range(padding))
    head = struct.pack(">IIH", stream, number, padding)
    return head + struct.pack(">I", zlib.crc32(head + body)) + body


class History:
    """What each stream got, in the order in which it came."""

    def __init__(self) -> None:
        self.seen: dict[int, list[int]] = defaultdict(list)
        self.corrupt: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self._rest: dict[int, bytes] = defaultdict(bytes)

    def got(self, stream: int, data: bytes) -> None:
        """Add bytes that came to ``stream``."""
        rest = self._rest[stream] + data
        while len(rest) >= RECORD.size:
            owner, number, padding, crc = RECORD.unpack_from(rest)
            size = RECORD.size + padding
            if len(rest) < size:
                break
            whole, rest = rest[:size], rest[size:]
            if zlib.crc32(whole[:10] + whole[14:]) != crc or owner != stream:
                self.corrupt[stream] += 1
            self.seen[stream].append(number)
        self._rest[stream] = rest

    def end(self, stream: int) -> None:
        """Note an orderly end."""
        self.ended[stream] += 1

    def faults(self, streams: int, records: int) -> list[str]:
        """Say what is wrong: lost, doubled, reordered, foreign or damaged records, missing ends."""
        found = []
        for stream in range(streams):
            seen = self.seen[stream]
            if seen != list(range(records)):
                lost = set(range(records)) - set(seen)
                found.append(f"stream {stream}: {len(seen)} records, {len(lost)} lost")
            if self.corrupt[stream]:
                found.append(f"stream {stream}: {self.corrupt[stream]} damaged or foreign")
            if self._rest[stream]:
                found.append(f"stream {stream}: {len(self._rest[stream])} bytes of a torn record")
            if self.ended[stream] != 1:
                found.append(f"stream {stream}: ended {self.ended[stream]} times")
        return found
