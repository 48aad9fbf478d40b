"""The questions that were answered, found by likeness: in the memory of this process.

The journal behind it brings what other proxies have added and what was there before the start.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple, Protocol

from llmctl.core.clock import Clock
from llmctl.semantic.gate import Facts, facts
from llmctl.semantic.index import Index, Vector, unpacked
from llmctl.semantic.journal import PAGE, START, Journal
from llmctl.semantic.records import ENTRY, Entry, Placed, Seal, entry_row, read_entry


class Known:
    """A question that may be a candidate."""

    __slots__ = ("_facts", "expires", "key", "question")

    def __init__(self, entry: Entry) -> None:
        self.key = entry.key
        self.question = entry.question
        self.expires = entry.expires
        self._facts: Facts | None = None

    @property
    def facts(self) -> Facts:
        """What the gate compares; worked out once."""
        if self._facts is None:
            self._facts = facts(self.question)
        return self._facts


class Candidate(NamedTuple):
    """A known question and how near it is."""

    known: Known
    similarity: float


class Shelves(Protocol):
    """Where questions are found by likeness."""

    async def nearest(self, group: bytes, vector: Vector, count: int) -> list[Candidate]:
        """Return up to ``count`` questions of a group that have not expired, nearest first."""
        ...

    def add(self, entry: Entry, vector: Vector) -> None:
        """Keep a question, here and for the other proxies."""
        ...

    def used(self, key: bytes) -> None:
        """Note that a question's answer was given: the others go first."""
        ...

    def drop(self, key: bytes) -> None:
        """Forget a question whose answer is gone."""
        ...

    async def follow(self) -> None:
        """Take up what others have added."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...

    def __len__(self) -> int:
        """Return how many questions are known here."""
        ...


def group_of(embedder: str, scope: bytes) -> bytes:
    """Return the name under which comparable vectors of one scope stand."""
    return scope + embedder.encode()


class LocalShelves:
    """``Shelves`` on numpy; all work on vectors happens on the one thread of ``executor``.

    Keeps the ``max_entries`` questions that were used last.
    """

    def __init__(
        self,
        journal: Journal,
        seal: Seal,
        *,
        max_entries: int,
        clock: Clock,
        executor: Executor,
        counts: Counter[str],
    ) -> None:
        self._journal = journal
        self._seal = seal
        self._max_entries = max_entries
        self._clock = clock
        self._executor = executor
        self._counts = counts
        self._index = Index()
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        self._position = START

    def __len__(self) -> int:
        return len(self._known)

    async def nearest(self, group: bytes, vector: Vector, count: int) -> list[Candidate]:
        """Return up to ``count`` questions of a group that have not expired, nearest first."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._executor, self._index.nearest, group, vector, count
        )
        now = self._clock.now()
        candidates = []
        for key, similarity in found:
            known = self._known.get(key)
            if known is None:
                continue
            if known.expires <= now:
                self.drop(key)
                continue
            candidates.append(Candidate(known, similarity))
        return candidates

    def add(self, entry: Entry, vector: Vector) -> None:
        """Keep a question, here and for the other proxies."""
        self._journal.append(entry_row(entry, self._seal))
        self._place([(entry, vector)])

    def used(self, key: bytes) -> None:
        """Note that a question's answer was given: the others go first."""
        if key in self._known:
            self._known.move_to_end(key)

    def drop(self, key: bytes) -> None:
        """Forget a question; others find out for themselves."""
        if self._known.pop(key, None) is not None:
            self._executor.submit(self._index.remove, (key,))

    async def follow(self) -> None:
        """Take up what others have added since the last time."""
        while True:
            page = await self._journal.read(ENTRY, self._position)
            if page:
                self._position = page[-1].position
                loop = asyncio.get_running_loop()
                self._place(await loop.run_in_executor(self._executor, self._open, page))
            if len(page) < PAGE:
                return

    async def close(self) -> None:
        """Nothing to let go of: the journal and the executor have owners."""

    def _open(self, page: Sequence[Placed]) -> list[tuple[Entry, Vector]]:
        """Open sealed rows; runs on the thread of the executor."""
        now = self._clock.now()
        opened = []
        for placed in page:
            entry = read_entry(placed, self._seal)
            try:
                vector = None if entry is None else unpacked(entry.vector)
            except ValueError:
                vector = None
            if entry is None or vector is None:
                self._counts["damaged"] += 1
            elif entry.expires > now:
                opened.append((entry, vector))
        return opened

    def _place(self, entries: list[tuple[Entry, Vector]]) -> None:
        for entry, _ in entries:
            self._known[entry.key] = Known(entry)
            self._known.move_to_end(entry.key)
        self._executor.submit(self._add, entries)
        evicted = []
        while len(self._known) > self._max_entries:
            evicted.append(self._known.popitem(last=False)[0])
        if evicted:
            self._counts["evicted"] += len(evicted)
            self._executor.submit(self._index.remove, evicted)

    def _add(self, entries: list[tuple[Entry, Vector]]) -> None:
        """Add to the index; runs on the thread of the executor."""
        for entry, vector in entries:
            try:
                self._index.add(group_of(entry.embedder, entry.scope), entry.key, vector)
            except ValueError:
                # another length under the same embedder's name: it is not found, and ages out
                self._counts["damaged"] += 1
