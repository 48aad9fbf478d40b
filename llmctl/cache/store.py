"""What every cache store can do.

A store never fails a request: trouble is a miss, counted and shown by ``status``.
Reads are awaited, writes are queued and made later.
"""

from typing import Protocol

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

    def status(self) -> StoreStatus:
        """Describe the store without touching the disk or the network."""
        ...

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go."""
        ...
