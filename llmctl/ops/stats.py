"""Totals of the usage record: from its file, or from a proxy elsewhere."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from datetime import UTC, tzinfo
from pathlib import Path
from urllib.parse import urlencode

from msgspec import Struct

from llmctl.core.errors import ConfigError, NotFound
from llmctl.ledger import queries
from llmctl.ledger.periods import By
from llmctl.ledger.queries import LedgerSeries, LedgerSummary
from llmctl.ledger.reading import open_read_only
from llmctl.ops.running import NoAnswer, RunningProxy


class Query(Struct, frozen=True, kw_only=True):
    """Which requests, and how to divide them."""

    since: float | None = None
    """Epoch seconds; None is the beginning."""
    until: float | None = None
    by: By | None = None
    """None sums up by model, backend and tenant."""
    zone: tzinfo | None = UTC
    """Where days begin at midnight; None is here."""


class Report(Struct, frozen=True, kw_only=True):
    """What was asked for and where it is from."""

    answer: LedgerSummary | LedgerSeries
    source: str
    """URL of the proxy, or path of the file."""


def collect(
    query: Query,
    *,
    ledger: Path,
    connect: Callable[[], AbstractContextManager[RunningProxy]],
    elsewhere: bool,
) -> Report:
    """Answer ``query`` from the file; from the proxy if it is ``elsewhere`` or there is no file.

    Raises ``NotFound`` where there is neither, ``BackendError`` for what the proxy refuses,
    ``AuthError`` for a refused token, ``ConfigError`` for days of a zone the proxy does not know.
    """
    if ledger.exists() and not elsewhere:
        with closing(open_read_only(ledger)) as connection:
            return Report(answer=_read(connection, query), source=str(ledger))
    if query.zone is not UTC:
        raise ConfigError(
            "a proxy counts days in UTC only",
            hint="--timezone UTC",
        )
    try:
        with connect() as proxy:
            return Report(answer=_ask(proxy, query), source=proxy.url)
    except NoAnswer as silence:
        if elsewhere:
            raise
        text = f"there is no ledger at {ledger}, and {silence.message}"
        raise NotFound(text, hint="`llmctl serve` begins one with its first request") from silence


def _read(connection: sqlite3.Connection, query: Query) -> LedgerSummary | LedgerSeries:
    since, until = query.since, query.until
    if query.by is None:
        return queries.summary(connection, since, until)
    return queries.series(connection, since, until, by=query.by, zone=query.zone)


def _ask(proxy: RunningProxy, query: Query) -> LedgerSummary | LedgerSeries:
    given = {"since": query.since, "until": query.until, "by": query.by}
    words = urlencode({name: value for name, value in given.items() if value is not None})
    path = f"/stats?{words}" if words else "/stats"
    shape = LedgerSummary if query.by is None else LedgerSeries
    found: LedgerSummary | LedgerSeries = proxy.decode(proxy.get(path), path, shape)
    return found
