"""Finished answers: rendered and in memory for the hot ones, in a store for the rest.

Two keys lead to an answer: the digest of the raw body (an exact repeat, no parsing) and the
canonical key of what the body means.
"""

import logging

import msgspec

from llmctl.cache.entries import EntryStore
from llmctl.cache.entry import Entry, EntryMeta, describe
from llmctl.cache.memory import Lru
from llmctl.core.clock import Clock
from llmctl.protocol.anthropic import dump_message, load_message
from llmctl.protocol.message import Replay

log = logging.getLogger(__name__)

_RAW_KEYS = 20_000
_ENTRY_OVERHEAD = 400


class Shortcut(msgspec.Struct, frozen=True, gc=False):
    """What a raw body was found to be."""

    key: bytes
    stream: bool
    asked: str
    """Model name in the body: routing may have changed since."""
    digest: str
    """Digest of the model it was routed to."""


class Answers:
    """The response cache as the proxy sees it; lets go of everything when anybody forgets."""

    def __init__(self, store: EntryStore, *, memory_bytes: int, ttl_s: float, clock: Clock) -> None:
        self.store = store
        self.ttl_s = ttl_s
        """How long an answer is kept."""
        self._clock = clock
        self._hot: Lru[bytes, Replay] = Lru(max_cost=memory_bytes, clock=clock)
        self._raw: Lru[bytes, Shortcut] = Lru(max_cost=_RAW_KEYS, clock=clock)
        store.on_forgotten.append(self.let_go)

    def shortcut(self, raw_key: bytes) -> Shortcut | None:
        """Return what an identical body was, if it was seen."""
        return self._raw.get(raw_key)

    def remember(self, raw_key: bytes, shortcut: Shortcut) -> None:
        """Keep the way from a raw body to its key."""
        self._raw.put(raw_key, shortcut, cost=1, ttl_s=self.ttl_s)

    def hot(self, key: bytes) -> Replay | None:
        """Return the answer if it is in memory."""
        return self._hot.get(key)

    async def get(self, key: bytes) -> Replay | None:
        """Return the answer from memory or store; a value that cannot be read is a miss."""
        replay = self.hot(key)
        if replay is not None:
            return replay
        entry = await self.store.get(key)
        if entry is None:
            # Perhaps it was finished while the store was asked.
            return self.hot(key)
        return self._admit(key, entry)

    def put(self, key: bytes, replay: Replay, about: EntryMeta) -> None:
        """Keep a finished answer, unless a store cannot hold what a model wrote in it."""
        now = self._clock.now()
        try:
            described, body = describe(about), dump_message(replay.message)
        except (OverflowError, RecursionError, UnicodeEncodeError) as failure:
            log.info("an answer is not kept: %s", failure)
            return
        expires = now + self.ttl_s
        self.store.put(key, Entry(created=now, expires=expires, described=described, body=body))
        self._keep(key, replay, self.ttl_s)

    def let_go(self) -> None:
        """Forget what is in memory, but not what the store holds."""
        self._hot.clear()
        self._raw.clear()

    async def clear(self) -> int:
        """Forget everything; returns how many entries the store held."""
        return await self.store.clear()

    def _admit(self, key: bytes, entry: Entry) -> Replay | None:
        try:
            replay = Replay(load_message(entry.body))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        # Clocks of several machines differ: nothing lives longer than it would from now on.
        now = self._clock.now()
        left_s = min(min(entry.created - now, 0.0) + self.ttl_s, entry.expires - now)
        if not left_s > 0:
            return None
        self._keep(key, replay, left_s)
        return replay

    def _keep(self, key: bytes, replay: Replay, ttl_s: float) -> None:
        self._hot.put(key, replay, cost=replay.size + _ENTRY_OVERHEAD, ttl_s=ttl_s)
