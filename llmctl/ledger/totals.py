"""Sums over requests and what follows from them: ratios, speeds, percentiles. Reads nothing."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import msgspec
from msgspec import Struct

from llmctl.core.usage import ANSWERED, CacheOutcome
from llmctl.ledger.schema import step_ms


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
    tier_ratios: dict[str, float] = {}
    """Share of the requests that looked by what answered: ``exact``, ``semantic``, ``shared``.

    Empty where none looked.
    """
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    tokens_per_s: float | None = None
    """How fast an engine wrote: tokens after each answer's first ÷ time from the first to the end.

    Of complete answers that an engine made; None where there is none of measurable length.
    """
    first_token_ms: Percentiles | None = None
    """None where no request sent content."""


class Outcome(NamedTuple):
    """How requests of one kind ended."""

    cache: str
    status: int
    error: str

    @property
    def failed(self) -> bool:
        return bool(self.error) or self.status >= 400

    @property
    def trouble(self) -> str:
        """What to call the failure."""
        return self.error or f"status {self.status}"


COLUMNS = """count(*), sum(prompt_tokens), sum(completion_tokens), sum(cached_prompt_tokens),
    sum(completion_tokens - (completion_tokens > 0)) FILTER (WHERE generation_ms IS NOT NULL),
    sum(generation_ms), group_concat(first_token_step)"""
Row = tuple[int, int, int, int, int | None, int | None, str | None]
"""Those columns: requests, prompt, completion and cached prompt tokens, tokens after the first
and the time they took, first-token steps with commas between them."""

SHORTEST_MS = 100
"""Writing time below which a speed would be made of rounding: times are kept in milliseconds."""
_ENGINE = frozenset({CacheOutcome.MISS.value, CacheOutcome.BYPASS.value})
_TIERS = {
    "exact": CacheOutcome.HIT,
    "semantic": CacheOutcome.SEMANTIC,
    "shared": CacheOutcome.SHARED,
}


class Tally:
    """Adds up requests."""

    def __init__(self) -> None:
        self.cache: Counter[str] = Counter()
        self.steps: Counter[int] = Counter()
        self.prompt = self.completion = self.cached = 0
        self.written = self.writing_ms = 0
        """Tokens after the first of answers that engines made, and the time those took."""
        self.errors: Counter[str] = Counter()
        """Failed requests by what failed, as ``Outcome.trouble`` calls it."""

    @property
    def requests(self) -> int:
        return self.cache.total()

    def add(self, outcome: Outcome, row: Row) -> None:
        """Take requests that ended alike."""
        requests, prompt, completion, cached, written, writing_ms, steps = row
        self.cache[outcome.cache] += requests
        self.prompt += prompt
        self.completion += completion
        self.cached += cached
        if outcome.failed:
            self.errors[outcome.trouble] += requests
        elif outcome.cache in _ENGINE:
            self.written += written or 0  # the clock starts with the first token
            self.writing_ms += writing_ms or 0
        if steps:
            # the quickest way from SQLite to integers: a row for each step takes ten times as long
            self.steps.update(msgspec.json.decode(f"[{steps}]", type=list[int]))

    def merge(self, other: "Tally") -> None:
        """Take everything another has."""
        self.cache.update(other.cache)
        self.errors.update(other.errors)
        self.prompt += other.prompt
        self.completion += other.completion
        self.cached += other.cached
        self.written += other.written
        self.writing_ms += other.writing_ms
        self.steps.update(other.steps)

    def totals(self) -> Totals:
        """Return the sums so far."""
        cache = dict.fromkeys((outcome.value for outcome in CacheOutcome), 0) | self.cache
        looked = _looked(cache)
        return Totals(
            requests=self.requests,
            errors=self.errors.total(),
            cache=cache,
            hit_ratio=sum(cache[tier] for tier in ANSWERED) / looked if looked else None,
            tier_ratios={name: cache[tier] / looked for name, tier in _TIERS.items() if looked},
            prompt_tokens=self.prompt,
            completion_tokens=self.completion,
            cached_prompt_tokens=self.cached,
            tokens_per_s=_speed(self.written, self.writing_ms),
            first_token_ms=_latencies(self.steps),
        )


def _looked(cache: Mapping[str, int]) -> int:
    outcomes = (*ANSWERED, CacheOutcome.MISS, CacheOutcome.SHARED)
    return sum(cache[outcome] for outcome in outcomes)


def _speed(tokens: int, ms: int) -> float | None:
    return round(tokens / ms * 1000, 3) if tokens and ms >= SHORTEST_MS else None


def percentiles(counts: Mapping[int, int], *shares: float) -> list[int | None]:
    """Return for each share the key that so much of the counts does not exceed (nearest rank)."""
    ordered = sorted(counts)
    reached = list(accumulate(counts[key] for key in ordered))
    if not reached:
        return [None for _ in shares]
    return [ordered[bisect_left(reached, ceil(share * reached[-1]))] for share in shares]


def _latencies(steps: Mapping[int, int]) -> Percentiles | None:
    p50, p95, p99 = (
        None if step is None else round(step_ms(step), 3)
        for step in percentiles(steps, 0.50, 0.95, 0.99)
    )
    if p50 is None or p95 is None or p99 is None:
        return None
    return Percentiles(p50=p50, p95=p95, p99=p99)
