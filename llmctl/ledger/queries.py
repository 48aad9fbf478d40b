"""Reads the ledger: sums by cache outcome, model, backend, tenant and time, and latencies.

Blocks for up to half a second per million rows, so callers in an event loop use a thread.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, tzinfo

from msgspec import Struct

from llmctl.ledger.periods import By, bounds
from llmctl.ledger.reading import Kind, Span, read_kinds, read_outcomes, readable, sums
from llmctl.ledger.totals import COLUMNS, Tally, Totals


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


def summary(
    connection: sqlite3.Connection, since: float | None = None, until: float | None = None
) -> LedgerSummary:
    """Sum up the requests that arrived from ``since`` until before ``until``, epoch seconds.

    Raises LlmctlError where the file cannot be read.
    """
    tallies: dict[int, Tally] = defaultdict(Tally)
    with readable(connection):
        kinds = read_kinds(connection)
        for number, _, row in sums(connection, "kind", kinds, COLUMNS, (since, until)):
            tallies[number].add(kinds[number].outcome, row)
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
    tallies: dict[Span, Tally] = defaultdict(Tally)
    with readable(connection):
        outcomes = read_outcomes(connection)
        for number, span, row in sums(
            connection,
            "outcome",
            outcomes,
            COLUMNS,
            (since, until),
            period=lambda at: bounds(at, by, zone),
        ):
            tallies[span].add(outcomes[number], row)
    whole = _merged(tallies.values())
    return LedgerSeries(
        since=since,
        until=until,
        by=by,
        total=whole.totals(),
        errors=dict(whole.errors.most_common()),
        periods=[_period(span, tallies[span]) for span in sorted(tallies)],
    )


def _merged(tallies: Iterable[Tally]) -> Tally:
    merged = Tally()
    for tally in tallies:
        merged.merge(tally)
    return merged


def _split(
    kinds: Mapping[int, Kind], tallies: Mapping[int, Tally], name_of: Callable[[Kind], str]
) -> dict[str, Totals]:
    """Sum up the kinds of each name, those with most requests first."""
    parts: dict[str, Tally] = defaultdict(Tally)
    for number, kind in kinds.items():
        parts[name_of(kind)].merge(tallies[number])
    totals = {name: part.totals() for name, part in parts.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].requests, item[0])))


def _period(span: Span, tally: Tally) -> Period:
    start, end = span
    errors = dict(tally.errors.most_common())
    return Period(start=start, end=end, total=tally.totals(), errors=errors)
