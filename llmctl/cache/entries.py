"""Sealed entries in a store of any kind: what cannot be trusted is a miss, and counted."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.cache.entry import Entry, EntryMeta, pack, unpack
from llmctl.cache.marks import Mark, Marks, load
from llmctl.cache.newest import Newest
from llmctl.cache.sealed import Seal
from llmctl.cache.store import Store, Stored, StoreStatus
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.tasks import Tasks

log = logging.getLogger(__name__)

LOOK_S = 1.0
"""How often it is looked for what other processes have forgotten."""
SAVE_S = 60.0
"""How often it is saved which entries are the newest; a kill loses what is younger."""
SKEW_S = 60.0
"""Clocks of several machines differ: an entry may come so late without suspicion."""
WRITING_S = 5.0
"""So long after a write the store may give what it replaces, without suspicion."""
DELETED_AT_ONCE = 200
_NEWS = b"llmctl cache marks"


class Found(NamedTuple):
    """An entry that could be opened."""

    key: bytes
    entry: Entry
    meta: EntryMeta
    bytes: int
    """As it lies in the store."""
    accessed: float | None


class EntryStore:
    """Entries sealed with ``seal`` in ``store``, without those that ``marks`` cover.

    ``load_key`` gives the key of the seal anew after something was forgotten: it may have been
    dropped. Who holds entries elsewhere adds to ``on_forgotten`` what lets go of them.
    """

    def __init__(
        self,
        store: Store,
        *,
        seal: Seal,
        marks: Marks,
        clock: Clock,
        load_key: Callable[[], bytes] | None = None,
        look_s: float = LOOK_S,
    ) -> None:
        self.on_forgotten: list[Callable[[], object]] = []
        self.seal = seal
        self._store = store
        self._marks = marks
        self._clock = clock
        self._load_key = load_key
        self._look_s = look_s
        self._newest = Newest(None, clock=clock)
        self._tasks = Tasks()
        # Before Python 3.12 asyncio.wait_for, which redis-py uses, may swallow a cancellation.
        self._closing = False
        self._heard: bytes | None = None
        self._rejected = 0

    def keep_newest_in(self, path: Path) -> None:
        """Have a file remember which entries are the newest; to be called before ``start``."""
        self._newest = Newest(path, clock=self._clock)

    async def start(self) -> None:
        """Open the store, and look out for what others forget."""
        self._marks.refresh()
        self._newest.load()
        await self._store.start()
        self._tasks.start(self._watch(), name="cache marks")
        self._tasks.start(self._save(), name="newest entries")

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go."""
        self._closing = True
        await self._tasks.close()
        await self._store.close()
        self._newest.save(self._newest.unsaved())

    async def get(self, key: bytes) -> Entry | None:
        """Return an entry that is what was put under this key, and is still to be used."""
        value = await self._store.get(key)
        if value is None:
            return None
        entry = self._open(key, value)
        if entry is None:
            self._reject()
            return None
        late_s = self._clock.now() - entry.expires
        if late_s >= 0:
            self._reject(late_s > SKEW_S)
            return None
        if entry.created < self._newest.created(key):
            self._reject(not self._newest.on_its_way(key))
            return None
        if self._is_gone(key, entry):
            self._reject()
            return None
        self._newest.note(key, entry.created, entry.expires)
        return entry

    def put(self, key: bytes, entry: Entry) -> None:
        """Queue a write."""
        ttl_s = entry.expires - self._clock.now()
        self._newest.note(key, entry.created, entry.expires, writing_s=WRITING_S)
        self._store.put(key, self.seal.seal(pack(entry), key), ttl_s=ttl_s)

    async def found(self, prefix: bytes = b"") -> AsyncIterator[Found]:
        """Give what can be opened, of keys that begin so; raises LlmctlError."""
        async for stored in self._store.scan(prefix):
            if (found := self.opened(stored)) is not None:
                yield found

    def opened(self, stored: Stored) -> Found | None:
        """Return what was stored; None where it cannot be opened, or is not to be used any more."""
        entry = self._open(stored.key, stored.value)
        meta = None if entry is None else _meta(entry)
        if entry is None or meta is None or entry.expires <= self._clock.now():
            return None
        if self._is_gone(stored.key, entry):
            return None
        return Found(stored.key, entry, meta, len(stored.value), stored.accessed)

    async def forget(self, mark: Mark) -> int:
        """Remove what ``mark`` covers, here and in every running proxy; returns how many.

        Raises LlmctlError. What cannot be opened stays: see ``clear``.
        """
        return await self._remove(mark, partial(self._delete, mark))

    async def clear(self) -> int:
        """Remove everything, of other installations too; returns how many entries there were."""
        mark = Mark(before=self._clock.now())
        return await self._remove(mark, self._store.clear)

    async def drop_key(self, drop: Callable[[], None]) -> int:
        """Remove everything, and have ``drop`` put a new key in the place of the seal's."""
        removed = await self.clear()
        drop()
        # a running proxy looks for a new key when there is a new mark
        await self.clear()
        return removed

    def status(self) -> StoreStatus:
        """Describe the store without touching the disk or the network."""
        status = self._store.status()
        return msgspec.structs.replace(status, rejected=self._rejected)

    # -- what cannot be trusted ------------------------------------------------------------------

    def _open(self, key: bytes, value: bytes) -> Entry | None:
        opened = self.seal.open(value, key)
        return None if opened is None else unpack(opened)

    def _is_gone(self, key: bytes, entry: Entry) -> bool:
        return self._marks.gone(key, entry.created, lambda: _meta(entry))

    def _reject(self, suspicious: bool = True) -> None:
        if not suspicious:
            return
        if not self._rejected:
            log.warning(
                "%s holds an answer that was changed, moved or put back, or sealed with another "
                "key; such answers are not used, and counted",
                self._store.status().location,
            )
        self._rejected += 1

    # -- what was forgotten ----------------------------------------------------------------------

    async def _delete(self, mark: Mark) -> int:
        removed = 0
        keys: list[bytes] = []
        prefix = b"" if mark.entry is None else bytes.fromhex(mark.entry)
        async for stored in self._store.scan(prefix):
            entry = self._open(stored.key, stored.value)
            if entry is not None and _covers(mark, stored.key, entry):
                keys.append(stored.key)
            if len(keys) == DELETED_AT_ONCE:
                removed += await self._store.delete(keys)
                keys.clear()
        return removed + (await self._store.delete(keys) if keys else 0)

    async def _remove(self, mark: Mark, remove: Callable[[], Awaitable[int]]) -> int:
        self._hear(await self._store.announced())
        self._marks.add(mark)
        self._let_go()
        await self._announce()
        removed = await remove()
        # those who cannot read the mark may have read an entry again before it was removed
        await self._announce()
        return removed

    async def _announce(self) -> None:
        # sealed anew it is never the same as before
        self._heard = self.seal.seal(self._marks.dump(), _NEWS)
        await self._store.announce(self._heard)

    async def _watch(self) -> None:
        while not self._closing:
            self._look(await self._store.announced())
            await asyncio.sleep(self._look_s)

    async def _save(self) -> None:
        while not self._closing:
            await asyncio.sleep(SAVE_S)
            await asyncio.to_thread(self._newest.save, self._newest.unsaved())

    def _look(self, news: bytes | None) -> None:
        """Let go of what is held if anybody has forgotten anything."""
        changed = self._marks.refresh()
        if self._hear(news) or changed:
            self._let_go()

    def _hear(self, news: bytes | None) -> bool:
        """Take marks from another machine; tell whether somebody has announced something new."""
        if news is None or news == self._heard:
            return False
        self._heard = news
        # another installation's marks are not for us, but it may have removed what we hold
        if (opened := self.seal.open(news, _NEWS)) is not None:
            try:
                self._marks.learn(load(opened))
            except (LlmctlError, msgspec.MsgspecError) as failure:
                log.warning("%s", failure)
        return True

    def _let_go(self) -> None:
        self._change_key()
        for forget in self.on_forgotten:
            forget()

    def _change_key(self) -> None:
        if self._load_key is None:
            return
        try:
            self.seal.change(self._load_key())
        except LlmctlError as failure:
            log.warning("the cache goes on with the key it has: %s", failure.message)


def _covers(mark: Mark, key: bytes, entry: Entry) -> bool:
    return mark.covers(key, entry.created, lambda: _meta(entry))


def _meta(entry: Entry) -> EntryMeta | None:
    try:
        return entry.meta()
    except msgspec.MsgspecError:
        return None
