"""What every cache store can do.

A store never fails a request: trouble is a miss, counted and shown by ``status``.
Reads are awaited, writes are queued and made later.
"""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct


class StoreStatus(Struct, frozen=True, kw_only=True):
    """State of a store for ``/health`` and ``/stats``."""

    kind: str
    healthy: bool
    detail: str = ""
    """Why it is not healthy, or what became of a damaged file; one sentence, or empty."""
    location: str = ""
    """File or URL without credentials."""
    entries: int | None = None
    bytes: int | None = None
    dropped_writes: int = 0
    failed_writes: int = 0
    failed_reads: int = 0
    rejected: int = 0
    """Values that were read and not used: changed, moved, put back, or sealed with another key."""
    evicted: int | None = None
    """Entries that had to make room since the store was made; of Redis, all of the server's."""
    advice: str = ""
    """What the operator should mind though it works; one sentence, or empty."""
    breaker: str = ""
    """``closed``, ``open`` or ``half-open``, of stores on other machines."""
    latency_ms: float | None = None
    """Of the last probe; who probes fills it in."""


class Stored(NamedTuple):
    """An entry as the store holds it."""

    key: bytes
    value: bytes
    accessed: float | None
    """When it was read or written last, seconds since the epoch; None where nobody knows."""


class Store(Protocol):
    """Bytes by key, each with a time to live."""

    async def start(self) -> None:
        """Open what is needed; trouble shows in ``status``, it is not raised."""
        ...

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when absent, expired or unreadable."""
        ...

    def put(self, key: bytes, value: bytes, *, ttl_s: float) -> None:
        """Queue a write; drops the oldest queued write when the queue is full."""
        ...

    async def clear(self) -> int:
        """Remove every entry of ours and return how many there were."""
        ...

    def scan(self, prefix: bytes = b"") -> AsyncIterator[Stored]:
        """Give every entry that has not expired and whose key begins so; raises LlmctlError.

        Holds a few of them in memory at a time. What is written meanwhile may be missing.
        """
        ...

    async def delete(self, keys: Sequence[bytes]) -> int:
        """Remove entries and return how many there were; raises LlmctlError."""
        ...

    async def announce(self, news: bytes) -> None:
        """Let those on other machines know; raises LlmctlError.

        Nothing to do for a store that only this machine uses: there files are looked at.
        """
        ...

    async def announced(self) -> bytes | None:
        """Return what was announced last; None where that is nothing, or cannot be read."""
        ...

    def status(self) -> StoreStatus:
        """Describe the store without touching the disk or the network."""
        ...

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go."""
        ...
