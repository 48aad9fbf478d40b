"""Keeps a row per request, without a request ever waiting for the disk."""

import asyncio
import logging
import sqlite3
from pathlib import Path

from msgspec import Struct

from llmctl.core.batch import BatchThread
from llmctl.core.clock import Clock
from llmctl.core.sqlitefile import explain, identity, is_corrupt, open_database, set_aside
from llmctl.core.trouble import Trouble
from llmctl.core.usage import Usage
from llmctl.ledger.schema import MIGRATIONS, latency_step

log = logging.getLogger(__name__)

QUEUE = 10_000
BATCH = 500
LINGER_S = 0.1
RETRY_S = 1.0
START_WAIT_S = 0.5
CLOSE_WAIT_S = 2.0
NAME_CHARS = 200
"""Names come from clients; longer ones are cut."""
KINDS_KEPT = 10_000

UNFIT = (sqlite3.IntegrityError, OverflowError, ValueError)
"""What SQLite says of one row, and not of the file: not a number, or more than 64 bits."""

Kind = tuple[str, str, str, str, bool, str, int, str]
Numbers = tuple[int, int]
"""Of a kind, and of how it ended."""

FIND_KIND = """SELECT kind, outcome FROM kinds WHERE tenant=? AND model_asked=? AND model_used=?
    AND backend=? AND stream=? AND cache=? AND status=? AND error=?"""
ADD_KIND = """INSERT INTO kinds
    (tenant, model_asked, model_used, backend, stream, cache, status, error)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
ADD_REQUEST = """INSERT INTO requests (at, kind, outcome, prompt_tokens, completion_tokens,
    cached_prompt_tokens, first_token_ms, first_token_step, total_ms, request_id)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""


class LedgerStatus(Struct, frozen=True, kw_only=True):
    """State of the ledger for ``/health`` and ``/stats``."""

    healthy: bool
    detail: str = ""
    """Why it is not healthy, or what became of a damaged file; empty otherwise."""
    location: str = ""
    written: int = 0
    waiting: int = 0
    dropped: int = 0
    latency_ms: float | None = None
    """Until all that waited was written; who probes fills it in."""


class LedgerWriter:
    """Appends to the ledger at ``path`` from a thread of its own.

    Rows wait up to 100 ms for company. While the file cannot be written the last 10,000 wait for it
    and older ones are dropped. A damaged file is moved aside and a new one begun.
    """

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._db: sqlite3.Connection | None = None
        self._file = identity(path)
        self._kinds: dict[Kind, Numbers] = {}
        self._trouble = Trouble(log, f"ledger {path}", clock=clock)
        self._moved = ""
        self._written = 0
        self._unfit = 0
        self._thread: BatchThread[Usage] = BatchThread(
            "ledger-writer",
            self._write,
            limit=QUEUE,
            batch=BATCH,
            linger_s=LINGER_S,
            retry_s=RETRY_S,
        )
        self.append = self._thread.append
        """Queue the row of one ``Usage``; never blocks, never fails."""

    async def start(self) -> None:
        """Open the file; waits half a second for that, after which it goes on in the background."""
        self._thread.start()
        opening = asyncio.wrap_future(self._thread.call(self._opened))
        await asyncio.wait({opening}, timeout=START_WAIT_S)

    async def flush(self) -> None:
        """Wait until everything appended so far is written, or could not be."""
        await asyncio.wrap_future(self._thread.call(lambda: None))

    def status(self) -> LedgerStatus:
        """Describe the ledger as its last batch left it."""
        return LedgerStatus(
            healthy=not self._trouble.detail,
            detail=self._trouble.detail or self._moved,
            location=str(self._path),
            written=self._written,
            waiting=self._thread.waiting(),
            dropped=self._thread.dropped + self._unfit,
        )

    async def close(self) -> None:
        """Write what is queued, within two seconds, and let go of the file."""
        ended = await asyncio.to_thread(self._thread.close, CLOSE_WAIT_S)
        if not ended:
            log.warning("%s is still being written; gave up after %g s", self._path, CLOSE_WAIT_S)
        elif self._db is not None:
            self._db.close()
            self._db = None

    # -- in the writing thread

    def _write(self, batch: list[Usage]) -> bool:
        if not self._opened():
            return False
        try:
            self._insert(batch)
        except UNFIT as failure:
            return self._without_unfit(batch, failure)
        except sqlite3.Error as failure:
            self._failed(failure)
            if is_corrupt(failure):
                self._begin_anew()
            return False
        self._trouble.end()
        self._written += len(batch)
        return True

    def _without_unfit(self, batch: list[Usage], failure: Exception) -> bool:
        """Write the rows one by one, so that one which SQLite does not take costs only itself."""
        if len(batch) == 1:
            self._unfit += 1
            log.warning("request %r is not recorded: %r", batch[0].request_id, failure)
        else:
            # no second attempt for any of them: those before it would be written twice
            failed = sum(not self._write([usage]) for usage in batch)
            self._unfit += failed
        return True

    def _insert(self, batch: list[Usage]) -> None:
        db = self._db
        assert db is not None
        db.execute("BEGIN IMMEDIATE")
        try:
            db.executemany(ADD_REQUEST, [self._row(db, usage) for usage in batch])
            db.execute("COMMIT")
        except BaseException:
            # kinds added in this transaction are gone with it
            self._kinds.clear()
            # a full disk has already rolled it back
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _row(self, db: sqlite3.Connection, usage: Usage) -> tuple[float | int | str | None, ...]:
        first_token_ms = usage.first_token_ms
        return (
            usage.at,
            *self._numbers(db, usage),
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_prompt_tokens,
            first_token_ms,
            None if first_token_ms is None else latency_step(first_token_ms),
            usage.total_ms,
            usage.request_id,
        )

    def _numbers(self, db: sqlite3.Connection, usage: Usage) -> Numbers:
        kind: Kind = (
            usage.tenant,
            usage.model_asked,
            usage.model_used,
            usage.backend,
            usage.stream,
            usage.cache.value,
            usage.status,
            usage.error,
        )
        numbers = self._kinds.get(kind)
        if numbers is None:
            if len(self._kinds) >= KINDS_KEPT:
                self._kinds.clear()
            numbers = self._kinds[kind] = _find_or_add(db, [_cut(value) for value in kind])
        return numbers

    def _opened(self) -> bool:
        if self._db is not None:
            return True
        try:
            self._db = open_database(self._path, MIGRATIONS)
        except (OSError, sqlite3.Error) as failure:
            self._failed(failure)
            if is_corrupt(failure):
                self._begin_anew()
            return False
        self._file = identity(self._path)
        self._trouble.end()
        return True

    def _failed(self, failure: OSError | sqlite3.Error) -> None:
        self._trouble.begin(f"requests are not recorded: {explain(self._path, failure)}")

    def _begin_anew(self) -> None:
        """Move the damaged file aside; the next attempt to write begins a new one."""
        if self._db is not None:
            self._db.close()
            self._db = None
        self._kinds.clear()
        damaged = self._file or identity(self._path)
        self._file = None
        try:
            aside = set_aside(self._path, damaged=damaged, now=self._clock.now())
        except OSError as failure:
            self._failed(failure)
            return
        if aside is not None:
            self._moved = f"{self._path} was damaged and is now {aside.name}; a new one was begun"
            log.warning("%s", self._moved)


def _find_or_add(db: sqlite3.Connection, kind: list[str | int]) -> Numbers:
    numbers: Numbers | None = db.execute(FIND_KIND, kind).fetchone()
    if numbers is None:
        db.execute(ADD_KIND, kind)
        numbers = db.execute(FIND_KIND, kind).fetchone()  # a trigger has said how it ended
        assert numbers is not None
    return numbers


def _cut(value: str | int) -> str | int:
    """Shorten what a client may have sent, to something SQLite takes (no lone surrogates)."""
    if isinstance(value, int):
        return value
    return value[:NAME_CHARS].encode("utf-8", "replace").decode()
