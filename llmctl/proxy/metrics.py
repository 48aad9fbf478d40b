"""Live counters, plain integers on the request path; Prometheus text is made when scraped."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmctl.core.usage import Usage

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

FIRST_TOKEN_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
DURATION_S = (0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


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


class Metrics:
    """What the proxy has done since it started."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[int, str]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self.errors: Counter[str] = Counter()
        self.first_token = Histogram(FIRST_TOKEN_S)
        self.duration = Histogram(DURATION_S)
        self.streams = 0
        self.generations = 0

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

    def collect(self) -> "Iterator[Metric]":
        """Yield metric families: the interface of a prometheus-client collector."""
        from prometheus_client.core import (
            CounterMetricFamily,
            GaugeMetricFamily,
            HistogramMetricFamily,
        )

        requests = CounterMetricFamily(
            "llmctl_requests", "Requests answered.", labels=["status", "cache"]
        )
        for (status, cache), count in self.requests.items():
            requests.add_metric([str(status), cache], count)
        tokens = CounterMetricFamily(
            "llmctl_tokens",
            "Tokens of answers, by kind and by what made them.",
            labels=["kind", "source"],
        )
        for (kind, source), count in self.tokens.items():
            tokens.add_metric([kind, source], count)
        errors = CounterMetricFamily("llmctl_errors", "Failed requests.", labels=["type"])
        for kind, count in self.errors.items():
            errors.add_metric([kind], count)
        yield from (requests, tokens, errors)
        yield GaugeMetricFamily("llmctl_streams", "Streams open to clients.", self.streams)
        yield GaugeMetricFamily("llmctl_generations", "Answers being generated.", self.generations)
        for name, text, histogram in (
            ("llmctl_first_token_seconds", "Arrival to first content.", self.first_token),
            ("llmctl_request_duration_seconds", "Arrival to end of answer.", self.duration),
        ):
            family = HistogramMetricFamily(name, text)
            family.add_metric([], histogram.cumulative(), histogram.total)
            yield family


def exposition(metrics: Metrics) -> bytes:
    """Return everything in Prometheus' text format, the process's own figures included."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(metrics)
    ProcessCollector(registry=registry)
    return generate_latest(registry)
