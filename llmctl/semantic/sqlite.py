"""The journal in one SQLite file, shared by the processes of one machine."""

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from llmctl.core.batch import BatchThread
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.sqlitefile import (
    FileId,
    Migration,
    explain,
    identity,
    is_corrupt,
    open_database,
    set_aside,
)
from llmctl.core.trouble import Trouble
from llmctl.semantic.journal import PAGE, START, JournalStatus, Limits
from llmctl.semantic.records import ENTRY, Placed, Row

log = logging.getLogger(__name__)

T = TypeVar("T")

MIGRATIONS: tuple[Migration, ...] = (
    (
        # AUTOINCREMENT: a position is never used again, so that no follower misses a row
        """CREATE TABLE journal (
            position INTEGER PRIMARY KEY AUTOINCREMENT,
            kind INTEGER NOT NULL,
            key BLOB NOT NULL,
            expires REAL NOT NULL,
            value BLOB NOT NULL,
            UNIQUE (kind, key)
        )""",
        "CREATE INDEX journal_order ON journal (kind, position)",
        "CREATE INDEX journal_expires ON journal (expires)",
    ),
)
QUEUE = 512
SWEEP_S = 60.0
SWEEP_ROWS = 500
"""Rows written after which the oldest go, however soon."""
CLOSE_WAIT_S = 2.0
OPEN_WAIT_S = 0.5


class SqliteJournal:
    """A ``Journal`` in the file ``path``; a damaged file is moved aside and a new one begun."""

    def __init__(self, path: Path, limits: Limits, *, clock: Clock) -> None:
        self._path = path
        self._limits = limits
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._opened: FileId | None = None
        self._thread: BatchThread[Row] = BatchThread(
            "semantic-writer", self._write, limit=QUEUE, batch=QUEUE
        )
        self._trouble = Trouble(log, f"semantic cache file {path}", clock=clock)
        self._failed_writes = 0
        self._unswept = 0
        self._next_sweep = float("-inf")

    async def start(self) -> None:
        """Open the file; waits half a second for that, after which it goes on in the background."""
        self._thread.start()
        opening = asyncio.wrap_future(self._thread.call(self._is_open))
        await asyncio.wait({opening}, timeout=OPEN_WAIT_S)

    def append(self, row: Row) -> None:
        """Queue a row; it replaces one of the same kind and key."""
        self._thread.append(row)

    async def read(self, kind: int, after: str) -> Sequence[Placed]:
        """Return up to ``PAGE`` rows behind a position; none where they cannot be read now."""
        try:
            return await self._call(partial(self._read, kind, after))
        except sqlite3.Error as failure:
            self._failed(failure)
            return ()

    async def indexed(self) -> Sequence[Placed]:
        """Return nothing: SQLite does not search by likeness."""
        return ()

    async def forget(self, keys: Collection[bytes]) -> int:
        """Remove the entries with these keys; raises LlmctlError where that is impossible."""
        rows = [(ENTRY, key) for key in keys]
        return await self._change("DELETE FROM journal WHERE kind = ? AND key = ?", rows)

    async def clear(self) -> int:
        """Remove every row; raises LlmctlError where that is impossible."""
        return await self._change("DELETE FROM journal", [()])

    def status(self) -> JournalStatus:
        """Describe it as its last call left it."""
        return JournalStatus(
            kind="sqlite",
            location=str(self._path),
            detail=self._trouble.detail,
            failed_writes=self._failed_writes,
            dropped_writes=self._thread.dropped,
        )

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go of the file."""
        self._thread.call(self._let_go)
        if not await asyncio.to_thread(self._thread.close, CLOSE_WAIT_S):
            log.warning("%s is still being written; gave up after %g s", self._path, CLOSE_WAIT_S)

    async def _call(self, job: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.call(job))

    async def _change(self, statement: str, rows: Sequence[tuple[bytes | int, ...]]) -> int:
        try:
            return await self._call(partial(self._delete, statement, rows))
        except sqlite3.Error as failure:
            reason = explain(self._path, failure)
            raise LlmctlError(f"the semantic cache was not changed: {reason}") from failure

    # -- in the writing thread

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._opened = identity(self._path)
            try:
                self._db = open_database(self._path, MIGRATIONS)
            except OSError as failure:
                raise sqlite3.OperationalError(failure.strerror) from failure
            self._opened = identity(self._path)
        return self._db

    def _is_open(self) -> bool:
        try:
            self._connection()
        except sqlite3.Error as failure:
            self._failed(failure)
            return False
        return True

    def _failed(self, failure: sqlite3.Error) -> None:
        self._trouble.begin(f"the semantic cache learns nothing: {explain(self._path, failure)}")
        if not is_corrupt(failure):
            return
        self._let_go()
        try:
            aside = set_aside(self._path, damaged=self._opened, now=self._clock.now())
        except OSError as trouble:
            log.warning("%s", explain(self._path, trouble))
        else:
            if aside is not None:
                log.warning("%s was damaged and is now %s", self._path, aside.name)

    def _let_go(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _write(self, rows: list[Row]) -> bool:
        try:
            self._insert(self._connection(), rows)
        except sqlite3.Error as failure:
            self._failed_writes += len(rows)
            self._failed(failure)
        else:
            self._trouble.end()
        return True

    def _insert(self, db: sqlite3.Connection, rows: list[Row]) -> None:
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(
                "INSERT OR REPLACE INTO journal (kind, key, value, expires) VALUES (?, ?, ?, ?)",
                rows,
            )
            self._unswept += len(rows)
            if self._unswept >= SWEEP_ROWS or self._clock.monotonic() >= self._next_sweep:
                self._sweep(db)
            db.execute("COMMIT")
        except BaseException:
            # a full disk has already rolled it back
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _sweep(self, db: sqlite3.Connection) -> None:
        """Remove what has expired, and the oldest rows beyond the bounds."""
        self._unswept, self._next_sweep = 0, self._clock.monotonic() + SWEEP_S
        db.execute("DELETE FROM journal WHERE expires <= ?", (self._clock.now(),))
        for kind, most in self._limits.items():
            newest = "SELECT position FROM journal WHERE kind = ? ORDER BY position DESC"
            db.execute(
                f"DELETE FROM journal WHERE kind = ? AND position <= ({newest} LIMIT 1 OFFSET ?)",  # noqa: S608 - our own text
                (kind, kind, most),
            )

    def _read(self, kind: int, after: str) -> list[Placed]:
        position = -1 if after == START else int(after)
        found = self._connection().execute(
            "SELECT position, key, value FROM journal WHERE kind = ? AND position > ?"
            " ORDER BY position LIMIT ?",
            (kind, position, PAGE),
        )
        return [Placed(str(place), key, value) for place, key, value in found]

    def _delete(self, statement: str, rows: Sequence[tuple[bytes | int, ...]]) -> int:
        db = self._connection()
        db.execute("PRAGMA secure_delete=ON")
        try:
            with db:
                db.execute("BEGIN IMMEDIATE")
                removed = db.executemany(statement, rows).rowcount
            # what was written lately also stands in the log
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            db.execute("PRAGMA secure_delete=OFF")
        return removed
