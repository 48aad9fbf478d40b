"""Live counters: plain integers on the request path; ``exposition`` makes text of them."""

from bisect import bisect_left
from collections import Counter

from llmctl.core.usage import ANSWERED, CacheOutcome, Usage

FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
DURATION_S = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
PER_TOKEN_S = (0.002, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
MAX_MAKERS = 100
"""Pairs of backend and model that are told apart: engines may name as many models as they like."""
OTHER = ("other", "other")


class Histogram:
    """Counts per bucket; the last one has no upper bound."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """Return ``(upper bound, count up to it)`` as Prometheus wants it."""
        running, rows = 0, []
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            running += count
            rows.append((str(bound), float(running)))
        return rows


class Made:
    """What one backend made with one model."""

    def __init__(self) -> None:
        self.answers = 0
        self.tokens: Counter[str] = Counter()
        self.first_token = Histogram(FIRST_TOKEN_S)
        self.per_token = Histogram(PER_TOKEN_S)

    def add(self, usage: Usage) -> None:
        """Count an answer that is complete."""
        self.answers += 1
        self.tokens["prompt"] += usage.prompt_tokens
        self.tokens["cached_prompt"] += usage.cached_prompt_tokens
        self.tokens["completion"] += usage.completion_tokens
        if usage.first_token_ms is None:
            return
        self.first_token.observe(usage.first_token_ms / 1000)
        later = usage.completion_tokens - 1
        if later > 0:
            self.per_token.observe((usage.total_ms - usage.first_token_ms) / 1000 / later)


class Metrics:
    """What the proxy has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[int, str]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.first_token = Histogram(FIRST_TOKEN_S)
        self.duration = Histogram(DURATION_S)
        self.made: dict[tuple[str, str], Made] = {}
        """By backend and the engine's name of the model."""
        self.semantic: Counter[str] = Counter()
        """The semantic tier's own counts, while it is switched on."""
        self.streams = 0

    @property
    def hit_ratio(self) -> float | None:
        """Answers from the cache ÷ requests that looked there; None where none did."""
        found = dict.fromkeys(CacheOutcome, 0)
        for (_, outcome), count in self.requests.items():
            found[CacheOutcome(outcome)] += count
        answered = sum(found[outcome] for outcome in ANSWERED)
        looked = answered + found[CacheOutcome.MISS] + found[CacheOutcome.SHARED]
        return answered / looked if looked else None

    def record(self, usage: Usage) -> None:
        """Count one finished request."""
        source = "engine" if usage.cache in {"miss", "bypass"} else "cache"
        self.requests[usage.status, usage.cache.value] += 1
        self.tokens["prompt", source] += usage.prompt_tokens
        self.tokens["completion", source] += usage.completion_tokens
        self.duration.observe(usage.total_ms / 1000)
        if usage.error:
            self.errors[usage.error] += 1
        if usage.first_token_ms is not None:
            self.first_token.observe(usage.first_token_ms / 1000)
        if source == "engine" and usage.backend and not usage.error:
            self._maker(usage).add(usage)

    def _maker(self, usage: Usage) -> Made:
        pair = (usage.backend, usage.model_used)
        made = self.made.get(pair)
        if made is None:
            made = self.made.setdefault(pair if len(self.made) < MAX_MAKERS else OTHER, Made())
        return made
