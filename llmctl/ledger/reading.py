"""What every report of the ledger reads from: its file, its kinds, sums of a time.

The indexes hold the rows of a kind, and those that ended alike, in the order they arrived: a sum is
a walk along one of them, and nothing is sorted.
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.sqlitefile import connect, explain, migrate
from llmctl.ledger.schema import MIGRATIONS
from llmctl.ledger.totals import Outcome

Span = tuple[float, float]
"""When it begins and ends, epoch seconds; its end belongs to the next."""

# Seconds from the epoch, either way, beyond which nothing arrives.
_EVER = 1e12


class Kind(NamedTuple):
    """One row of ``kinds``, as far as it is reported."""

    tenant: str
    model_asked: str
    model_used: str
    backend: str
    cache: str
    status: int
    error: str

    @property
    def outcome(self) -> Outcome:
        """How these requests ended."""
        return Outcome(self.cache, self.status, self.error)


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the ledger for reading, beside a running ``serve``.

    A file of an earlier version stays as it is: what is read is a copy in memory. Raises NotFound
    where no ledger has been begun, LlmctlError where it cannot be read.
    """
    if not path.exists():
        raise NotFound(
            f"no ledger at {path}", hint="`llmctl serve` begins one with its first request"
        )
    try:
        connection = connect(path, busy_timeout_s=1.0, read_only=True)
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {explain(path, failure)}") from failure
    try:
        return _up_to_date(path, connection)
    except BaseException:
        connection.close()
        raise


@contextmanager
def readable(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep the file as it is now while it is read; raises LlmctlError for what SQLite raises."""
    try:
        connection.execute("BEGIN")
        try:
            yield
        finally:
            if connection.in_transaction:  # damage has ended it already
                connection.execute("ROLLBACK")
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {failure}") from failure


def read_kinds(connection: sqlite3.Connection) -> dict[int, Kind]:
    """Return all kinds by number."""
    rows = connection.execute(
        "SELECT kind, tenant, model_asked, model_used, backend, cache, status, error FROM kinds"
    )
    return {number: Kind(*row) for number, *row in rows}


def read_outcomes(connection: sqlite3.Connection) -> dict[int, Outcome]:
    """Return all ways to end by number."""
    rows = connection.execute("SELECT kind, cache, status, error FROM kinds WHERE kind = outcome")
    return {number: Outcome(*row) for number, *row in rows}


def first_at(connection: sqlite3.Connection) -> float | None:
    """Return when the first request arrived; None where there is none."""
    first = "SELECT min(at) FROM requests INDEXED BY requests_outcome WHERE outcome = ?"
    found = [
        connection.execute(first, [number]).fetchone()[0] for number in read_outcomes(connection)
    ]
    return min((at for at in found if at is not None), default=None)


def sums(
    connection: sqlite3.Connection,
    of: Literal["kind", "outcome"],
    numbers: Iterable[int],
    columns: str,
    limits: tuple[float | None, float | None],
    *,
    period: Callable[[float], Span] | None = None,
) -> Iterator[tuple[int, Span, tuple[Any, ...]]]:
    """Yield the sums ``columns`` of each kind or outcome, by time, where there are requests.

    ``limits`` are since when and until before when.
    ``period`` says when the period around a moment begins and ends; without it all is one.
    """
    since, until = limits
    begin, stop = -_EVER if since is None else since, _EVER if until is None else until
    following = f"SELECT min(at) FROM requests INDEXED BY requests_{of} WHERE {of} = ?1"  # noqa: S608
    statement = f"""SELECT ({following} AND at >= ?3), {columns}
        FROM requests INDEXED BY requests_{of}
        WHERE {of} = ?1 AND at >= ?2 AND at < ?3"""  # noqa: S608  our own text
    for number in numbers:
        (at,) = connection.execute(f"{following} AND at >= ?2", (number, begin)).fetchone()
        while at is not None and at < stop:
            span = period(at) if period else (begin, stop)
            bounds = (number, max(span[0], begin), min(span[1], stop))
            at, *found = connection.execute(statement, bounds).fetchone()
            yield number, span, tuple(found)


def _up_to_date(path: Path, connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the connection, or in its place one to a copy that has the schema of today."""
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if 0 < version < len(MIGRATIONS):
            return _migrated_copy(connection)
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {explain(path, failure)}") from failure
    if version > len(MIGRATIONS):
        raise LlmctlError(
            f"a newer llmctl wrote the ledger at {path}: it has schema {version}, this one reads "
            f"{len(MIGRATIONS)}",
            hint="pip install --upgrade llmctl",
        )
    if not version:
        raise LlmctlError(
            f"the ledger at {path} was begun, and nothing could be written to it yet",
            hint="llmctl health",
        )
    return connection


def _migrated_copy(connection: sqlite3.Connection) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        connection.backup(copy)
        migrate(copy, MIGRATIONS)
    except BaseException:
        copy.close()
        raise
    connection.close()
    return copy
