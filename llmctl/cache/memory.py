"""What fits in memory: a least-recently-used map with a bound, and a store made of one."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from typing import Generic, TypeVar

from llmctl.cache.store import Stored, StoreStatus
from llmctl.core.clock import Clock

K = TypeVar("K")
V = TypeVar("V")

ENTRY_OVERHEAD_BYTES = 200
"""Key and value objects, the tuple and the table slot of one entry, beside the bytes themselves."""


class Lru(Generic[K, V]):
    """A map that forgets: what has expired, and the least recently used beyond its bounds.

    Not safe for threads: it belongs to one event loop. All operations take constant time; an
    expired entry that nobody asks for stays until it is the least recently used.
    """

    __slots__ = ("_entries", "_max_cost", "_max_entries", "_monotonic", "cost", "evicted")

    def __init__(self, *, max_cost: int, clock: Clock, max_entries: int | None = None) -> None:
        self.cost = 0
        self.evicted = 0
        """Entries that had to make room."""
        self._entries: OrderedDict[K, tuple[V, int, float]] = OrderedDict()
        self._max_cost = max_cost
        self._max_entries = max_entries
        self._monotonic = clock.monotonic

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return the value and make it the most recently used; None when absent or expired."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[2] <= self._monotonic():
            self.pop(key)
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: K, value: V, *, cost: int, ttl_s: float) -> None:
        """Keep ``value``, which costs that much of ``max_cost``, for ``ttl_s`` seconds.

        What costs more than the whole bound, or has no time to live, only removes what was there.
        """
        self.pop(key)
        if cost > self._max_cost or ttl_s <= 0:
            return
        self._entries[key] = (value, cost, self._monotonic() + ttl_s)
        self.cost += cost
        while self.cost > self._max_cost or self._over_count():
            _, (_, freed, _) = self._entries.popitem(last=False)
            self.cost -= freed
            self.evicted += 1

    def items(self) -> list[tuple[K, V]]:
        """Return what has not expired, the least recently used first."""
        now = self._monotonic()
        return [(key, value) for key, (value, _, until) in self._entries.items() if until > now]

    def pop(self, key: K) -> V | None:
        """Remove an entry and return its value, expired or not."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return None
        self.cost -= entry[1]
        return entry[0]

    def clear(self) -> int:
        """Remove everything and return how many entries there were."""
        count = len(self._entries)
        self._entries.clear()
        self.cost = 0
        return count

    def _over_count(self) -> bool:
        return self._max_entries is not None and len(self._entries) > self._max_entries


class MemoryStore:
    """A ``Store`` that lives and dies with the process."""

    def __init__(self, *, max_bytes: int, clock: Clock) -> None:
        self._lru: Lru[bytes, bytes] = Lru(max_cost=max_bytes, clock=clock)

    async def start(self) -> None:
        """Nothing to open."""

    async def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when absent or expired."""
        return self._lru.get(key)

    def put(self, key: bytes, value: bytes, *, ttl_s: float) -> None:
        """Keep the value at once."""
        self._lru.put(key, value, cost=len(key) + len(value) + ENTRY_OVERHEAD_BYTES, ttl_s=ttl_s)

    async def clear(self) -> int:
        """Remove every entry and return how many there were."""
        return self.let_go()

    def let_go(self) -> int:
        """Remove every entry: nobody else can, when another process forgets some of them."""
        return self._lru.clear()

    async def scan(self, prefix: bytes = b"") -> AsyncIterator[Stored]:
        """Give every entry whose key begins so."""
        for key, value in self._lru.items():
            if key.startswith(prefix):
                yield Stored(key, value, None)

    async def delete(self, keys: Sequence[bytes]) -> int:
        """Remove entries and return how many there were."""
        return sum(self._lru.pop(key) is not None for key in keys)

    async def announce(self, news: bytes) -> None:
        """Nobody else uses it."""

    async def announced(self) -> bytes | None:
        """Nobody else uses it."""
        return None

    def status(self) -> StoreStatus:
        """Describe the store."""
        return StoreStatus(
            kind="memory",
            healthy=True,
            location="this process",
            entries=len(self._lru),
            bytes=self._lru.cost,
            evicted=self._lru.evicted,
        )

    async def close(self) -> None:
        """Nothing to let go of."""
