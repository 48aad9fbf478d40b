"""The SQLite file of the response cache: its tables, and every change made to it.

Synchronous; it belongs to the one thread that ``SqliteStore`` keeps for it.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from llmctl.core.clock import Clock
from llmctl.core.sqlitefile import FileId, Migration, identity, open_database

MIGRATIONS: tuple[Migration, ...] = (
    (
        # value stands last: the columns before it are read without touching its overflow pages
        """CREATE TABLE entries (
            key BLOB NOT NULL UNIQUE,
            expires REAL NOT NULL,
            accessed REAL NOT NULL,
            value BLOB NOT NULL
        )""",
        "CREATE INDEX entries_expires ON entries (expires)",
        "CREATE INDEX entries_accessed ON entries (accessed)",
    ),
    (
        # values were not sealed yet: nothing of them may stay in the file
        "PRAGMA secure_delete=ON",
        "DELETE FROM entries",
        "PRAGMA secure_delete=OFF",
        "CREATE TABLE counters (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO counters VALUES ('evicted', 0)",
    ),
)
SWEEP_S = 60.0
"""Expired entries go, and the entries are counted anew, at most this often."""
CHUNK = 1000
"""Rows or pages changed in one transaction, so that other processes get their turn."""
COUNT_EVICTED = "UPDATE counters SET count=count+? WHERE name='evicted'"


class Put(NamedTuple):
    """Keep a value until ``expires``, seconds since the epoch."""

    key: bytes
    value: bytes
    expires: float


class Touch(NamedTuple):
    """Note that a key was read."""

    key: bytes


class CacheFile:
    """Writes batches, and keeps the file below ``max_bytes``. Every method raises sqlite3.Error."""

    def __init__(self, path: Path, *, max_bytes: int, clock: Clock) -> None:
        self.path = path
        self.entries = 0
        self.bytes = 0
        """Pages in use; free ones will be filled before the file grows."""
        self.evicted = 0
        """Entries that had to make room, by whichever process, since the file was made."""
        self._max_bytes = max_bytes
        self._clock = clock
        self.identity: FileId | None = None
        """The file that was opened last, or could not be."""
        self._db: sqlite3.Connection | None = None
        self._page_bytes = 4096
        self._next_sweep = 0.0

    @property
    def is_open(self) -> bool:
        """Whether ``open`` has succeeded since the last ``close``."""
        return self._db is not None

    def open(self) -> None:
        """Open or create the file; raises OSError too."""
        self.identity = identity(self.path)
        self._db = open_database(self.path, MIGRATIONS)
        self.identity = identity(self.path)
        try:
            self._page_bytes = self._pragma("page_size")
            self._next_sweep = self._clock.monotonic() + SWEEP_S
            self._count()
            self._measure()
            self._give_back_if_empty()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file; harmless when it is not open."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def write(self, batch: Sequence[Put | Touch]) -> None:
        """Make all changes in one transaction, then make room if the file has grown too big."""
        now = self._clock.now()
        added = 0
        with self._changing() as db:
            for change in batch:
                if isinstance(change, Put):
                    added += self._put(db, change, now)
                else:
                    db.execute("UPDATE entries SET accessed=? WHERE key=?", (now, change.key))
        self.entries += added
        self._sweep_if_due(now)
        self._make_room()

    def clear(self) -> int:
        """Remove every entry, and its bytes from the file; returns how many there were."""
        with self._overwriting():
            removed = self._delete("DELETE FROM entries")
        self._give_back()
        self._count()
        self._measure()
        return removed

    def delete(self, keys: Sequence[bytes]) -> int:
        """Remove these entries, and their bytes from the file; returns how many there were."""
        statement = "DELETE FROM entries WHERE key=?"
        with self._overwriting(), self._changing() as db:
            removed = sum(db.execute(statement, (key,)).rowcount for key in keys)
        self._count()
        self._measure()
        return removed

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Make all changes in one transaction, or none of them."""
        db = self._open_db()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            # a full disk has already rolled it back
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    @contextmanager
    def _overwriting(self) -> Iterator[None]:
        db = self._open_db()
        db.execute("PRAGMA secure_delete=ON")
        try:
            yield
        finally:
            db.execute("PRAGMA secure_delete=OFF")

    def _give_back(self) -> None:
        """Make the file as small as it can be, and empty its log: what was removed is in there."""
        self._shrink(self._pragma("freelist_count"))
        self._open_db().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _give_back_if_empty(self) -> None:
        """End what an earlier version left: its migration has emptied the file."""
        if self.entries == 0 and self._pragma("freelist_count") > 0:
            self._give_back()
            self._measure()

    def _put(self, db: sqlite3.Connection, put: Put, now: float) -> int:
        row = (put.value, put.expires, now, put.key)
        # update first, which costs a lookup, so that new entries can be told from replaced ones
        changed = db.execute("UPDATE entries SET value=?, expires=?, accessed=? WHERE key=?", row)
        if changed.rowcount:
            return 0
        db.execute("INSERT INTO entries (value, expires, accessed, key) VALUES (?, ?, ?, ?)", row)
        return 1

    def _sweep_if_due(self, now: float) -> None:
        if self._clock.monotonic() < self._next_sweep:
            return
        self._next_sweep = self._clock.monotonic() + SWEEP_S
        while self._delete_some("expires <= ? ORDER BY expires", now, CHUNK) == CHUNK:
            pass
        self._count()

    def _make_room(self) -> None:
        self._measure()
        while self.bytes > self._max_bytes and self.entries > 0:
            self._evict(max(1, self.entries // 10))
            self._measure()
        excess = self._pragma("page_count") - self._max_bytes // self._page_bytes
        if excess > 0:
            self._shrink(min(excess, CHUNK))

    def _evict(self, count: int) -> None:
        """Remove the ``count`` entries that were read longest ago."""
        while count > 0:
            removed = self._delete_some("accessed <= ? ORDER BY accessed", 1e300, min(count, CHUNK))
            self.entries -= removed
            self._open_db().execute(COUNT_EVICTED, (removed,))
            self.evicted += removed
            if removed == 0:
                self._count()
                return
            count -= removed

    def _delete_some(self, where: str, value: float, limit: int) -> int:
        chosen = f"SELECT rowid FROM entries WHERE {where} LIMIT ?"  # noqa: S608 - our own text
        return self._delete(f"DELETE FROM entries WHERE rowid IN ({chosen})", value, limit)  # noqa: S608

    def _delete(self, statement: str, *values: float) -> int:
        return self._open_db().execute(statement, values).rowcount

    def _shrink(self, pages: int) -> None:
        # each step frees one page, and only a script is stepped to its end where no rows come back
        self._open_db().executescript(f"PRAGMA incremental_vacuum({pages})")

    def _count(self) -> None:
        db = self._open_db()
        self.entries = db.execute("SELECT count(*) FROM entries").fetchone()[0]
        self.evicted = db.execute("SELECT count FROM counters WHERE name='evicted'").fetchone()[0]

    def _measure(self) -> None:
        used = self._pragma("page_count") - self._pragma("freelist_count")
        self.bytes = used * self._page_bytes

    def _pragma(self, name: str) -> int:
        return int(self._open_db().execute(f"PRAGMA {name}").fetchone()[0])

    def _open_db(self) -> sqlite3.Connection:
        if self._db is None:
            raise sqlite3.OperationalError("unable to open database file")
        return self._db
