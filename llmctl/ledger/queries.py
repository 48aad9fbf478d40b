"""Reads the ledger: sums by cache outcome, model, backend and tenant, and latencies.

Blocks for up to half a second per million rows, so callers in an event loop use a thread.
"""

import sqlite3
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import ceil
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.sqlitefile import connect, explain
from llmctl.core.usage import ANSWERED, CacheOutcome
from llmctl.ledger.schema import MIGRATIONS, step_ms


class Percentiles(Struct, frozen=True, kw_only=True):
    """Latencies in milliseconds, each within 1 % of the true one."""

    p50: float
    p95: float
    p99: float


class Totals(Struct, frozen=True, kw_only=True):
    """Sums over some requests."""

    requests: int = 0
    errors: int = 0
    cache: dict[str, int] = {}
    """Requests by ``CacheOutcome``; all of them are there."""
    hit_ratio: float | None = None
    """Answers from the cache ÷ requests that looked there; None where none did.

    An answer that was shared with a request in flight is one that looked and was not a hit.
    """
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    first_token_ms: Percentiles | None = None
    """None where no request sent content."""


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


def open_read_only(path: Path) -> sqlite3.Connection:
    """Open the ledger for reading, beside a running ``serve``.

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
    try:
        kinds = connection.execute(_KINDS).fetchall()
        groups = _groups(connection, since, until)
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {failure}") from failure
    by_kind: dict[int, list[_Group]] = defaultdict(list)
    for group in groups:
        by_kind[group.kind].append(group)
    used = [_Kind(*kind) for kind in kinds if kind[0] in by_kind]
    return LedgerSummary(
        since=since,
        until=until,
        total=_totals(used, by_kind),
        errors=_errors(used, by_kind),
        by_cache=_split(used, by_kind, [kind.cache for kind in used]),
        by_model=_split(used, by_kind, [kind.model_used or kind.model_asked for kind in used]),
        by_backend=_split(used, by_kind, [kind.backend for kind in used]),
        by_tenant=_split(used, by_kind, [kind.tenant for kind in used]),
    )


def _check_version(path: Path, connection: sqlite3.Connection) -> None:
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as failure:
        raise LlmctlError(f"the ledger cannot be read: {explain(path, failure)}") from failure
    if version != len(MIGRATIONS):
        raise LlmctlError(
            f"the ledger at {path} has schema {version}, this llmctl reads {len(MIGRATIONS)}",
            hint="use the llmctl that writes it",
        )


class _Kind(NamedTuple):
    """One row of ``kinds``, as far as it is reported."""

    kind: int
    tenant: str
    model_asked: str
    model_used: str
    backend: str
    cache: str
    status: int
    error: str

    @property
    def failed(self) -> bool:
        return bool(self.error) or self.status >= 400


class _Group(NamedTuple):
    """Requests of one kind with the same time to first token, within 2 %."""

    kind: int
    first_token_step: int | None
    requests: int
    prompt_tokens: int
    completion_tokens: int
    cached_prompt_tokens: int


_KINDS = "SELECT kind, tenant, model_asked, model_used, backend, cache, status, error FROM kinds"

# A range with more than this share of all rows is read from the index that needs no sorting.
_WIDE = 1 / 8


def _groups(
    connection: sqlite3.Connection, since: float | None, until: float | None
) -> list[_Group]:
    bounds = [("at >= ?", since), ("at < ?", until)]
    given = [(text, value) for text, value in bounds if value is not None]
    where = f"WHERE {' AND '.join(text for text, _ in given)}" if given else ""
    index = "requests_kind" if _is_wide(connection, since, until) else "requests_at"
    rows = connection.execute(
        f"""SELECT kind, first_token_step, count(*), sum(prompt_tokens), sum(completion_tokens),
            sum(cached_prompt_tokens) FROM requests INDEXED BY {index} {where}
            GROUP BY kind, first_token_step""",  # noqa: S608 - our own text
        [value for _, value in given],
    )
    return [_Group(*row) for row in rows]


def _is_wide(connection: sqlite3.Connection, since: float | None, until: float | None) -> bool:
    """Estimate from row numbers, which grow with time, without counting anything."""
    if since is None:
        return True
    last = connection.execute("SELECT max(id) FROM requests").fetchone()[0] or 0
    find = "SELECT id FROM requests WHERE at >= ? ORDER BY at LIMIT 1"
    begin = (connection.execute(find, [since]).fetchone() or [last])[0]
    end = (connection.execute(find, [until]).fetchone() if until is not None else None) or [last]
    return bool(end[0] - begin > last * _WIDE)


def _split(
    kinds: Sequence[_Kind], by_kind: Mapping[int, list[_Group]], names: Sequence[str]
) -> dict[str, Totals]:
    """Sum up the kinds of each name, those with most requests first."""
    parts: dict[str, list[_Kind]] = defaultdict(list)
    for kind, name in zip(kinds, names, strict=True):
        parts[name].append(kind)
    totals = {name: _totals(part, by_kind) for name, part in parts.items()}
    return dict(sorted(totals.items(), key=lambda item: (-item[1].requests, item[0])))


def _totals(kinds: Iterable[_Kind], by_kind: Mapping[int, list[_Group]]) -> Totals:
    cache = dict.fromkeys((outcome.value for outcome in CacheOutcome), 0)
    steps: dict[int, int] = defaultdict(int)
    failed = prompt = completion = cached = 0
    for kind in kinds:
        requests = 0
        for group in by_kind[kind.kind]:
            requests += group.requests
            prompt += group.prompt_tokens
            completion += group.completion_tokens
            cached += group.cached_prompt_tokens
            if group.first_token_step is not None:
                steps[group.first_token_step] += group.requests
        cache[kind.cache] = cache.get(kind.cache, 0) + requests
        failed += requests if kind.failed else 0
    return Totals(
        requests=sum(cache.values()),
        errors=failed,
        cache=cache,
        hit_ratio=_hit_ratio(cache),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_prompt_tokens=cached,
        first_token_ms=_percentiles(steps),
    )


def _errors(kinds: Iterable[_Kind], by_kind: Mapping[int, list[_Group]]) -> dict[str, int]:
    errors: Counter[str] = Counter()
    for kind in kinds:
        if kind.failed:
            name = kind.error or f"status {kind.status}"
            errors[name] += sum(group.requests for group in by_kind[kind.kind])
    return dict(errors.most_common())


def _hit_ratio(cache: Mapping[str, int]) -> float | None:
    answered = sum(cache[outcome] for outcome in ANSWERED)
    looked = answered + cache[CacheOutcome.MISS] + cache[CacheOutcome.SHARED]
    return answered / looked if looked else None


def _percentiles(steps: Mapping[int, int]) -> Percentiles | None:
    """Return nearest-rank percentiles of a histogram."""
    if not steps:
        return None
    ordered = sorted(steps)
    reached = list(accumulate(steps[step] for step in ordered))

    def at(share: float) -> float:
        position = bisect_left(reached, ceil(share * reached[-1]))
        return round(step_ms(ordered[position]), 3)

    return Percentiles(p50=at(0.50), p95=at(0.95), p99=at(0.99))
