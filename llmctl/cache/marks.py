"""What was forgotten, and must not come back: kept beside the keys, where a store cannot reach.

Whoever may write to a store can put back a value that was removed from it; its seal is good. So
every ``forget`` and ``clear`` leaves a mark in a file of this installation, and an entry that a
mark covers is a miss. Running proxies notice a change of the file and let go of what they hold.
"""

import fcntl
import logging
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from llmctl.cache.entry import EntryMeta, id_of
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.paths import make_private

log = logging.getLogger(__name__)

MOST = 1000
"""Beyond it the older half becomes one mark, which covers more than was asked: never less."""

_Identity = tuple[int, int, int]


class Mark(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Entries made until ``before`` are gone, of those that every other field names."""

    before: float
    """Seconds since the epoch."""
    entry: str | None = None
    """Its id: the first digits of its key."""
    tenant: str | None = None
    model: str | None = None
    """Engine model, or the name it was asked for by."""

    @property
    def covers_all(self) -> bool:
        """Whether nothing but the time counts."""
        return self.entry is None and self.tenant is None and self.model is None

    def covers(self, key: bytes, created: float, about: Callable[[], EntryMeta | None]) -> bool:
        """Tell whether an entry is gone; ``about`` describes it, None where nothing can."""
        if created > self.before or (self.entry is not None and self.entry != id_of(key)):
            return False
        if self.tenant is None and self.model is None:
            return True
        meta = about()
        if meta is None:
            return True
        if self.tenant is not None and self.tenant != meta.tenant:
            return False
        return self.model is None or self.model in (meta.model, meta.asked)


class Marks:
    """The marks of an installation, in the file ``path``; many processes may share it."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._seen: _Identity | None = None
        self._marks: tuple[Mark, ...] = ()
        self._all = float("-inf")
        self._entries: dict[str, float] = {}
        self._described: tuple[Mark, ...] = ()

    def refresh(self) -> bool:
        """Read the file if it has changed; tell whether it had."""
        identity = _identity(self._path)
        if identity == self._seen:
            return False
        self._seen = identity
        self._use(_merged(self._marks, _read(self._path)))
        return True

    def add(self, mark: Mark) -> None:
        """Keep a mark, on disk before this returns; other processes notice, new or not.

        Raises ``LlmctlError`` where the file cannot be written.
        """
        self._merge([mark], always=True)

    def learn(self, marks: Iterable[Mark]) -> None:
        """Keep the marks of another machine; raises as ``add`` does."""
        self._merge(marks, always=False)

    def _merge(self, marks: Iterable[Mark], *, always: bool) -> None:
        try:
            with _locked(self._path.parent):
                known = _merged(self._marks, _read(self._path))
                together = _merged(known, marks)
                if always or together != known:
                    _write(self._path, together)
        except OSError as failure:
            raise LlmctlError(
                f"what was forgotten cannot be noted in {self._path}: {failure.strerror}"
            ) from failure
        self._use(together)

    def gone(self, key: bytes, created: float, about: Callable[[], EntryMeta | None]) -> bool:
        """Tell whether an entry was forgotten."""
        if created <= self._all:
            return True
        if self._entries and created <= self._entries.get(id_of(key), float("-inf")):
            return True
        return any(mark.covers(key, created, about) for mark in self._described)

    def dump(self) -> bytes:
        """Return all marks for ``load``."""
        return msgspec.json.encode(self._marks)

    def _use(self, marks: tuple[Mark, ...]) -> None:
        self._marks = marks
        self._all = float("-inf")
        self._entries = {}
        described = []
        # a clock that was ahead once must not keep the cache empty until then
        now = self._clock.now()
        for mark in marks:
            before = min(mark.before, now)
            if mark.covers_all:
                self._all = max(self._all, before)
            elif mark.entry is not None and mark.tenant is None and mark.model is None:
                self._entries[mark.entry] = before
            else:
                described.append(msgspec.structs.replace(mark, before=before))
        self._described = tuple(described)


def load(document: bytes) -> list[Mark]:
    """Read what ``dump`` wrote; raises ``msgspec.MsgspecError``."""
    return msgspec.json.decode(document, type=list[Mark])


def _merged(known: Iterable[Mark], further: Iterable[Mark]) -> tuple[Mark, ...]:
    """Return the fewest marks that cover what all of these do, oldest first."""
    latest: dict[tuple[str | None, str | None, str | None], Mark] = {}
    for mark in (*known, *further):
        named = (mark.entry, mark.tenant, mark.model)
        if named not in latest or latest[named].before < mark.before:
            latest[named] = mark
    marks = sorted(latest.values(), key=lambda mark: mark.before)
    if len(marks) > MOST:
        marks = [Mark(before=marks[-MOST // 2].before), *marks[-MOST // 2 :]]
    covered = max((mark.before for mark in marks if mark.covers_all), default=float("-inf"))
    return tuple(mark for mark in marks if mark.before > covered or _is(mark, covered))


def _is(mark: Mark, covered: float) -> bool:
    return mark.covers_all and mark.before == covered


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> list[Mark]:
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        return []
    except OSError as failure:
        log.warning("cannot read %s: %s", path, failure.strerror)
        return []
    except msgspec.MsgspecError:
        # what it said is lost, so everything it may have meant is gone
        written = path.stat().st_mtime
        log.warning("%s is damaged; what was cached before it was written is forgotten", path)
        return [Mark(before=written)]


def _write(path: Path, marks: tuple[Mark, ...]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(marks))
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes from changing the file; they lock the directory as well."""
    make_private(directory)
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
