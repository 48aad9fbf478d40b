"""When the newest entry under each key was made, also before the last restart.

Whoever may write to a store can put back what was replaced in it; its seal is good. So what is
known of the newest entries is kept in a file of this installation, where a store cannot reach.
"""

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec

from llmctl.cache.memory import Lru
from llmctl.core.clock import Clock
from llmctl.core.paths import write_private

log = logging.getLogger(__name__)

REMEMBERED = 10_000
"""Keys whose newest entry is remembered: half a megabyte."""
_NEVER = float("-inf")

Known = tuple[bytes, float, float]
"""Key, when its newest entry was made and when it ends, seconds since the epoch."""


class Newest:
    """Of the keys used last. With a ``path`` it outlives the process; several may share it."""

    def __init__(self, path: Path | None, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._known: Lru[bytes, tuple[float, float, float]] = Lru(max_cost=REMEMBERED, clock=clock)
        """When made, when it ends, and until when it may still be on its way to the store."""
        self._changed = False

    def load(self) -> None:
        """Learn what was saved; nothing where there is nothing to read."""
        for key, created, expires in self._read():
            if self.created(key) < created:
                self._put(key, created, expires, _NEVER)

    def created(self, key: bytes) -> float:
        """Return when the newest entry was made; long ago where none is known."""
        return (self._known.get(key) or (_NEVER,))[0]

    def on_its_way(self, key: bytes) -> bool:
        """Tell whether the newest entry may not have reached the store yet."""
        known = self._known.get(key)
        return known is not None and self._clock.monotonic() < known[2]

    def note(self, key: bytes, created: float, expires: float, *, writing_s: float = 0.0) -> None:
        """Remember an entry; ``writing_s`` is how long the store may take to have it."""
        before = self._known.get(key)
        self._changed = self._changed or before is None or before[0] != created
        self._put(key, created, expires, self._clock.monotonic() + writing_s)

    def unsaved(self) -> list[Known]:
        """Return what ``save`` is to write; nothing where nothing is new since the last time."""
        if self._path is None or not self._changed:
            return []
        self._changed = False
        return [(key, made, ends) for key, (made, ends, _) in self._known.items()]

    def save(self, unsaved: list[Known]) -> None:
        """Write it, with what other processes have saved; may run in a thread."""
        if self._path is None or not unsaved:
            return
        try:
            write_private(self._path, msgspec.msgpack.encode(_merged(self._read(), unsaved)))
        except OSError as failure:
            log.warning("cannot write %s: %s", self._path, failure.strerror)

    def _put(self, key: bytes, created: float, expires: float, until: float) -> None:
        ttl_s = expires - self._clock.now()
        self._known.put(key, (created, expires, until), cost=1, ttl_s=ttl_s)

    def _read(self) -> list[Known]:
        if self._path is None:
            return []
        try:
            return msgspec.msgpack.decode(self._path.read_bytes(), type=list[Known])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.MsgspecError) as failure:
            log.warning("what is in %s is not used: %s", self._path, failure)
            return []


def _merged(theirs: Iterable[Known], ours: Iterable[Known]) -> list[Known]:
    """Return the newest of every key, and of many keys those made last, oldest first."""
    together: dict[bytes, Known] = {}
    for known in (*theirs, *ours):
        if known[0] not in together or together[known[0]][1] <= known[1]:
            together[known[0]] = known
    return sorted(together.values(), key=lambda known: known[1])[-REMEMBERED:]
