"""Where records live between runs and between proxies: rows in order, each sealed.

Every proxy replays the rows at its start and then follows what the others add. A journal never
fails a request: trouble shows in ``status``, reads bring nothing and writes are dropped.
"""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from msgspec import Struct

from llmctl.semantic.records import ENTRY, OUTCOME, Placed, Row

PAGE = 500
"""Rows in one read: they are opened in some milliseconds."""
START = ""
"""The position before every row."""
Limits = dict[int, int]
"""How many rows of each kind are kept: the newest."""
MAX_OUTCOMES = 20_000


def limits(max_entries: int) -> Limits:
    """Return the bounds of a journal for an index of ``max_entries``."""
    return {ENTRY: max_entries, OUTCOME: MAX_OUTCOMES}


class JournalStatus(Struct, frozen=True, kw_only=True):
    """State of a journal for ``/health``."""

    kind: str
    location: str
    """File or URL without credentials."""
    detail: str = ""
    """Why it does not work, one sentence; empty while it does."""
    failed_writes: int = 0
    dropped_writes: int = 0


class Address(Protocol):
    """Where Redis is and how to get in: see ``cache.address``."""

    location: str

    def options(self) -> dict[str, Any]:
        """Return keyword arguments for redis-py's connection pool; they hold the password."""
        ...

    def redact(self, text: str) -> str:
        """Return ``text`` without the password."""
        ...


class Journal(Protocol):
    """Rows by kind, in the order they were added."""

    async def start(self) -> None:
        """Open what is needed; trouble shows in ``status``."""
        ...

    def append(self, row: Row) -> None:
        """Queue a row; it replaces one of the same kind and key, if the journal can find it."""
        ...

    async def read(self, kind: int, after: str) -> Sequence[Placed]:
        """Return up to ``PAGE`` rows behind a position; none where they cannot be read now."""
        ...

    async def indexed(self) -> Sequence[Placed]:
        """Return the entries that the store's own search holds beside the rows."""
        ...

    async def forget(self, keys: Collection[bytes]) -> int:
        """Remove the entries with these keys; returns how many. Raises LlmctlError."""
        ...

    async def clear(self) -> int:
        """Remove every row; returns how many there were. Raises LlmctlError."""
        ...

    def status(self) -> JournalStatus:
        """Describe it without touching the disk or the network."""
        ...

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go."""
        ...


class MemoryJournal:
    """A ``Journal`` for a cache that lives and dies with its process: it keeps nothing."""

    async def start(self) -> None:
        """Nothing to open."""

    def append(self, row: Row) -> None:
        """Let it go: what was learnt is in memory already."""

    async def read(self, _kind: int, _after: str) -> Sequence[Placed]:
        """Return nothing: there was nothing before, and there are no others."""
        return ()

    async def indexed(self) -> Sequence[Placed]:
        """Return nothing: there is no store."""
        return ()

    async def forget(self, _keys: Collection[bytes]) -> int:
        """Nothing is kept."""
        return 0

    async def clear(self) -> int:
        """Nothing is kept."""
        return 0

    def status(self) -> JournalStatus:
        """Describe it."""
        return JournalStatus(kind="memory", location="this process")

    async def close(self) -> None:
        """Nothing to let go of."""
