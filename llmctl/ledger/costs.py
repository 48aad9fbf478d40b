"""Sums of the ledger for the cost report: tokens and time by day and kind of request.

Blocks for up to half a second per million rows.
"""

import sqlite3
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

from llmctl.ledger import reading
from llmctl.ledger.reading import first_at, read_kinds, readable

DAY_S = 86_400

Offsets = Sequence[tuple[float | None, int]]
"""Seconds that local time is ahead of UTC, each until a moment (Unix time); the last until None."""
UTC: Offsets = ((None, 0),)


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
    found: dict[tuple[int, int], Sequence[Any]] = {}
    with readable(connection):
        kinds = read_kinds(connection)
        for kind, (begins, _), row in reading.sums(
            connection,
            "kind",
            kinds,
            _COLUMNS,
            (since, until),
            period=lambda at: _day(at, offsets),
        ):
            key = kind, int((begins + _offset(begins, offsets)) // DAY_S)
            # a day on which the clocks change comes in two parts
            before = found.get(key, (0,) * len(row))
            found[key] = [sum(both) for both in zip(before, row, strict=True)]
    return [
        Sum._make((day, *kinds[kind][:5], kinds[kind].outcome.failed, *totals))
        for (kind, day), totals in found.items()
    ]


def first_request(connection: sqlite3.Connection) -> float | None:
    """Return when the first request arrived, Unix time; None where there was none."""
    with readable(connection):
        return first_at(connection)


_COLUMNS = """count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens),
    sum(total_ms)"""


def _day(at: float, offsets: Offsets) -> reading.Span:
    """Return the local day around a moment, or its part on one side of a change of clocks."""
    changes = [until for until, _ in offsets if until is not None]
    offset = _offset(at, offsets)
    begins = (at + offset) // DAY_S * DAY_S - offset
    after = max((each for each in changes if each <= at), default=-inf)
    before = min((each for each in changes if each > at), default=inf)
    return max(begins, after), min(begins + DAY_S, before)


def _offset(at: float, offsets: Offsets) -> int:
    return next(offset for until, offset in offsets if until is None or at < until)
