"""Sums of the ledger for the cost report: tokens and time by day and kind of request.

Blocks for up to 0.8 s per million rows.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, NamedTuple

from llmctl.core.errors import LlmctlError

DAY_S = 86_400

Offsets = Sequence[tuple[float | None, int]]
"""Seconds that local time is ahead of UTC, each until a moment (Unix time); the last until None."""
UTC: Offsets = ((None, 0),)
_WIDE = 1 / 4
"""A range with more than this share of the rows is read from the table, not through an index."""


class Sum(NamedTuple):
    """Requests of one kind on one local day."""

    day: int
    """Days since 1970-01-01 in local time."""
    tenant: str
    model_asked: str
    model_used: str
    backend: str
    cache: str
    """A ``CacheOutcome``."""
    failed: bool
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int
    total_ms: float
    """Time from arrival to the last byte; requests at the same time count each."""


def sums(
    connection: sqlite3.Connection,
    since: float | None = None,
    until: float | None = None,
    *,
    offsets: Offsets = UTC,
) -> list[Sum]:
    """Sum up the requests that arrived from ``since`` until before ``until``, Unix time.

    Raises LlmctlError where the file cannot be read.
    """
    try:
        kinds = {row[0]: row[1:] for row in connection.execute(_KINDS)}
        rows = _rows(connection, since, until, offsets)
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {failure}") from failure
    found = []
    for kind, day, *totals in rows:
        *names, status, error = kinds[kind]
        found.append(Sum._make((day, *names, bool(error) or status >= 400, *totals)))
    return found


def first_request(connection: sqlite3.Connection) -> float | None:
    """Return when the first request arrived, Unix time; None where there was none."""
    try:
        (at,) = connection.execute("SELECT min(at) FROM requests").fetchone()
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {failure}") from failure
    return None if at is None else float(at)


_KINDS = "SELECT kind, tenant, model_asked, model_used, backend, cache, status, error FROM kinds"


def _rows(
    connection: sqlite3.Connection, since: float | None, until: float | None, offsets: Offsets
) -> list[tuple[Any, ...]]:
    bounds = [("at >= ?", since), ("at < ?", until)]
    given = [(text, value) for text, value in bounds if value is not None]
    where = f"WHERE {' AND '.join(text for text, _ in given)}" if given else ""
    cases = [f"WHEN at < {end!r} THEN {offset:d}" for end, offset in offsets[:-1] if end]
    shift = f"CASE {' '.join(cases)} ELSE {offsets[-1][1]:d} END" if cases else str(offsets[-1][1])
    # read in the order it was written: sums of the whole row need the row, index or not
    source = "NOT INDEXED" if _is_wide(connection, since, until) else "INDEXED BY requests_at"
    query = f"""SELECT kind, CAST((at + {shift}) / {DAY_S} AS INTEGER) AS day, count(*),
        sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens), sum(total_ms)
        FROM requests {source} {where} GROUP BY kind, day"""  # noqa: S608  numbers of ours
    return connection.execute(query, [value for _, value in given]).fetchall()


def _is_wide(connection: sqlite3.Connection, since: float | None, until: float | None) -> bool:
    """Estimate from row numbers, which grow with time, without counting anything."""
    last = connection.execute("SELECT max(id) FROM requests").fetchone()[0] or 0
    find = "SELECT id FROM requests WHERE at >= ? ORDER BY at LIMIT 1"
    begin = 0 if since is None else (connection.execute(find, [since]).fetchone() or [last])[0]
    end = None if until is None else connection.execute(find, [until]).fetchone()
    return bool((end or [last])[0] - begin > last * _WIDE)
