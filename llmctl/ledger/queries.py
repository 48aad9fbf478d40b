"""Reads the ledger: sums by cache outcome, model, backend, tenant and time, and latencies.

Blocks for up to a second per million rows, so callers in an event loop use a thread.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, tzinfo
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.sqlitefile import connect, explain
from llmctl.ledger.periods import By, bounds
from llmctl.ledger.schema import GENERATION_MS, MIGRATIONS
from llmctl.ledger.totals import Outcome, Tally, Totals


class LedgerSummary(Struct, frozen=True, kw_only=True):
    """What the requests that arrived from ``since`` until before ``until`` amount to."""

    since: float | None
    """Seconds since the epoch, UTC; None is the beginning."""
    until: float | None
    total: Totals
    errors: dict[str, int]
    """Failed requests by Anthropic error type, most frequent first."""
    by_cache: dict[str, Totals]
    by_model: dict[str, Totals]
    """By the model that answered, or was asked for where none did."""
    by_backend: dict[str, Totals]
    """By the engine; hits are counted for the one that made the answer, if it is known."""
    by_tenant: dict[str, Totals]


class Period(Struct, frozen=True, kw_only=True):
    """The requests of one hour, day or month, as far as they are in the range asked for."""

    start: float
    """Seconds since the epoch, UTC."""
    end: float
    total: Totals
    errors: dict[str, int]
    """Failed requests by Anthropic error type, most frequent first."""


class LedgerSeries(Struct, frozen=True, kw_only=True):
    """The requests of a range by time, oldest first; periods without any are left out."""

    since: float | None
    until: float | None
    by: By
    total: Totals
    errors: dict[str, int]
    periods: list[Period]


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the ledger for reading, beside a running ``serve``; older schemas are read as well.

    Raises NotFound where no ledger has been begun, LlmctlError where it cannot be read.
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
        _check_version(path, connection)
    except BaseException:
        connection.close()
        raise
    return connection


def summary(
    connection: sqlite3.Connection, since: float | None = None, until: float | None = None
) -> LedgerSummary:
    """Sum up the requests that arrived from ``since`` until before ``until``, epoch seconds.

    Raises LlmctlError where the file cannot be read.
    """
    with _readable():
        kinds = _kinds(connection)
        tallies: dict[int, Tally] = defaultdict(Tally)
        for kind, *row in _latencies(connection, since, until):
            tallies[kind].add(kinds[kind].outcome, tuple(row))
    used = {number: kinds[number] for number in tallies}
    total = _merged(tallies.values())
    return LedgerSummary(
        since=since,
        until=until,
        total=total.totals(),
        errors=dict(total.errors.most_common()),
        by_cache=_split(used, tallies, lambda kind: kind.cache),
        by_model=_split(used, tallies, lambda kind: kind.model_used or kind.model_asked),
        by_backend=_split(used, tallies, lambda kind: kind.backend),
        by_tenant=_split(used, tallies, lambda kind: kind.tenant),
    )


def series(
    connection: sqlite3.Connection,
    since: float | None = None,
    until: float | None = None,
    *,
    by: By,
    zone: tzinfo | None = UTC,
) -> LedgerSeries:
    """Sum up by hour, day or month of ``zone`` (None: this machine's), with latencies.

    Raises LlmctlError where the file cannot be read.
    """
    tallies: dict[tuple[float, float], Tally] = defaultdict(Tally)
    with _readable():
        kinds = _kinds(connection)
        classes = _Classes(kinds)
        statement = _statement(connection, "requests_at", f"{classes.sql}, first_token_step")
        for begin, end in _spans(connection, since, until, by=by, zone=zone):
            tally = tallies[bounds(begin, by, zone)]
            for name, *row in connection.execute(statement, (classes.table, begin, end)):
                tally.add(classes.outcomes[name], tuple(row))
    whole = _merged(tallies.values())
    return LedgerSeries(
        since=since,
        until=until,
        by=by,
        total=whole.totals(),
        errors=dict(whole.errors.most_common()),
        periods=[_period(start, end, tally) for (start, end), tally in tallies.items()],
    )


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    try:
        version = _version(connection)
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {explain(path, failure)}") from failure
    if version not in GENERATION_MS:
        raise LlmctlError(
            f"the ledger at {path} has schema {version}, this llmctl reads {len(MIGRATIONS)}",
            hint="use the llmctl that writes it",
        )


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {failure}") from failure


class _Kind(NamedTuple):
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
        return Outcome(self.cache, self.status, self.error)


def _kinds(connection: sqlite3.Connection) -> dict[int, _Kind]:
    rows = connection.execute(
        "SELECT kind, tenant, model_asked, model_used, backend, cache, status, error FROM kinds"
    )
    return {number: _Kind(*row) for number, *row in rows}


# A range with more than this share of all rows is read from the index that needs no sorting.
_WIDE = 1 / 8
# Seconds from the epoch, either way, beyond which nothing arrives.
_EVER = 1e12


def _latencies(
    connection: sqlite3.Connection, since: float | None, until: float | None
) -> sqlite3.Cursor:
    """Return sums by kind and first-token step."""
    wide = _is_wide(connection, since, until)
    index = "requests_kind" if wide else "requests_at"
    statement = _statement(connection, index, "kind, first_token_step")
    return connection.execute(statement, _range(since, until))


def _range(since: float | None, until: float | None) -> tuple[float, float]:
    """Return bounds in place of those not given, beyond every arrival."""
    return (-_EVER if since is None else since, _EVER if until is None else until)


def _statement(connection: sqlite3.Connection, index: str, groups: str) -> str:
    """Return the query of sums in a range of times, whose bounds are its last two parameters."""
    generation_ms = GENERATION_MS[_version(connection)]
    return f"""SELECT {groups}, count(*), sum(prompt_tokens), sum(completion_tokens),
        sum(cached_prompt_tokens), sum({generation_ms}) FROM requests INDEXED BY {index}
        WHERE at >= ? AND at < ? GROUP BY {groups}"""  # noqa: S608 - our own text


def _is_wide(connection: sqlite3.Connection, since: float | None, until: float | None) -> bool:
    """Estimate from row numbers, which grow with time, without counting anything."""
    if since is None:
        return True
    last = connection.execute("SELECT max(id) FROM requests").fetchone()[0] or 0
    find = "SELECT id FROM requests WHERE at >= ? ORDER BY at LIMIT 1"
    begin = (connection.execute(find, [since]).fetchone() or [last])[0]
    end = (connection.execute(find, [until]).fetchone() if until is not None else None) or [last]
    return bool(end[0] - begin > last * _WIDE)


def _merged(tallies: Iterable[Tally]) -> Tally:
    merged = Tally()
    for tally in tallies:
        merged.merge(tally)
    return merged


def _split(
    kinds: Mapping[int, _Kind], tallies: Mapping[int, Tally], name_of: Callable[[_Kind], str]
) -> dict[str, Totals]:
    """Sum up the kinds of each name, those with most requests first."""
    parts: dict[str, Tally] = defaultdict(Tally)
    for number, kind in kinds.items():
        parts[name_of(kind)].merge(tallies[number])
    totals = {name: part.totals() for name, part in parts.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].requests, item[0])))


# -- periods


def _spans(
    connection: sqlite3.Connection,
    since: float | None,
    until: float | None,
    *,
    by: By,
    zone: tzinfo | None,
) -> Iterator[tuple[float, float]]:
    """Yield ranges that have requests, each within one period; oldest first.

    Of a month its days: SQLite sorts what it groups, and many small heaps are sorted sooner.
    """
    begin, stop = _range(since, until)
    at = _first_at(connection, begin)
    while at is not None and at < stop:
        start, end = bounds(at, "hour" if by == "hour" else "day", zone)
        yield max(start, begin), min(end, stop)
        at = _first_at(connection, end)


def _first_at(connection: sqlite3.Connection, since: float) -> float | None:
    found: tuple[float | None] = connection.execute(
        "SELECT min(at) FROM requests WHERE at >= ?", [since]
    ).fetchone()
    return found[0]


def _period(start: float, end: float, tally: Tally) -> Period:
    errors = dict(tally.errors.most_common())
    return Period(start=start, end=end, total=tally.totals(), errors=errors)


class _Classes:
    """Folds kinds that ended alike into one while SQLite groups: tenants and models multiply kinds.

    The table holds two bytes for each kind, which SQLite cuts out by position. A join takes longer.
    """

    sql = "substr(?1, 2 * kind + 1, 2)"

    def __init__(self, kinds: Mapping[int, _Kind]) -> None:
        names: dict[Outcome, bytes] = {}
        table = bytearray(2 * (max(kinds, default=0) + 1))
        for number, kind in kinds.items():
            name = names.setdefault(kind.outcome, len(names).to_bytes(2))
            table[2 * number : 2 * number + 2] = name
        self.table = bytes(table)
        self.outcomes = {name: outcome for outcome, name in names.items()}
