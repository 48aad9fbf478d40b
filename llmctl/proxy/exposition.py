"""What Prometheus is told, worked out when it asks; ``docs/metrics.md`` lists it.

Labels have few values: backends, tunnels and models are the operator's, everything else is ours.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import Spend
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.proxy.metrics import Histogram, Made, Metrics

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from llmctl.backend.pool import BackendStatus

STATES = ("ok", "degraded", "down", "draining")

Row = tuple[tuple[str, ...], float | None]
"""Values of the labels, and the figure; None where it is not known."""


def exposition(metrics: Metrics, health: Mapping[str, Any], spend: Spend | None) -> bytes:
    """Return everything in Prometheus' text format, the process's own figures included.

    ``health`` is the document of ``/health``; ``spend`` is None where nothing is known of money.
    """
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Scrape(metrics, health, spend))
    ProcessCollector(registry=registry)
    return generate_latest(registry)


class Scrape:
    """One look at everything: a collector as prometheus-client wants it."""

    def __init__(
        self, metrics: Metrics, health: Mapping[str, Any], spend: Spend | None = None
    ) -> None:
        self._metrics = metrics
        self._health = health
        self._spend = spend

    def collect(self) -> "Iterator[Metric]":
        """Yield the metric families."""
        yield from self._proxy()
        yield from _requests(self._metrics)
        yield from _backends(self._health["backends"])
        yield from _made(self._metrics.made)
        yield from self._stores()
        yield from _tunnels(self._health["tunnels"])
        if self._spend is not None:
            yield from _money(self._spend)

    def _proxy(self) -> "Iterator[Metric]":
        health = self._health
        yield _gauge(
            "llmctl_build_info", "Version of llmctl.", ["version"], [((health["version"],), 1)]
        )
        yield _gauge(
            "llmctl_health_state",
            "1 for the state that /health reports.",
            ["state"],
            [((state,), float(state == health["status"])) for state in STATES],
        )
        yield _gauge("llmctl_streams", "Streams open to clients.", [], [((), health["streams"])])
        yield _gauge(
            "llmctl_generations", "Answers being generated.", [], [((), health["generations"])]
        )

    def _stores(self) -> "Iterator[Metric]":
        cache, ledger = self._health["cache"], self._health["ledger"]
        yield _one("cache_up", "Whether the cache store works.", cache.healthy)
        yield _one("cache_entries", "Answers in the store.", cache.entries)
        yield _one("cache_size_bytes", "Size of the store.", cache.bytes)
        for name, text, count in (
            ("failed_reads", "Reads the store could not answer.", cache.failed_reads),
            ("failed_writes", "Answers the store did not take.", cache.failed_writes),
            ("dropped_writes", "Answers given up before they were stored.", cache.dropped_writes),
            ("evicted", "Answers that had to make room; of Redis, all of its keys.", cache.evicted),
            (
                "rejected",
                "Values read and not used: changed, moved, or sealed with another key.",
                cache.rejected,
            ),
        ):
            yield _counter(f"llmctl_cache_{name}", text, [], [((), count)])
        if ledger is not None:
            yield _one("ledger_up", "Whether the ledger works.", ledger.healthy)
            yield _one("ledger_rows_waiting", "Rows not written yet.", ledger.waiting)
            for name, text, count in (
                ("written", "Requests recorded in the ledger.", ledger.written),
                ("dropped", "Requests the ledger could not record.", ledger.dropped),
            ):
                yield _counter(f"llmctl_ledger_rows_{name}", text, [], [((), count)])


def _requests(metrics: Metrics) -> "Iterator[Metric]":
    yield _counter(
        "llmctl_requests",
        "Requests answered.",
        ["status", "cache"],
        [((str(status), cache), count) for (status, cache), count in metrics.requests.items()],
    )
    yield _counter(
        "llmctl_tokens",
        "Tokens of answers, by kind and by what made them.",
        ["kind", "source"],
        metrics.tokens.items(),
    )
    yield _counter(
        "llmctl_errors",
        "Failed requests, and clients that left (client_gone).",
        ["type"],
        [((kind,), count) for kind, count in metrics.errors.items()],
    )
    yield _counter(
        "llmctl_semantic",
        "What became of questions in the semantic tier.",
        ["event"],
        [((event,), count) for event, count in metrics.semantic.items()],
    )
    for name, text, histogram in (
        ("llmctl_first_token_seconds", "Arrival to first content.", metrics.first_token),
        ("llmctl_request_duration_seconds", "Arrival to end of answer.", metrics.duration),
    ):
        yield _histogram(name, text, [], [((), histogram)])


def _backends(backends: "Iterable[BackendStatus]") -> "Iterator[Metric]":
    for name, text, attribute in (
        ("up", "Whether the engine answers.", "healthy"),
        ("requests_in_flight", "Requests at the engine.", "in_flight"),
        ("requests_queued", "Requests waiting for the engine.", "queued"),
        ("cooldown_seconds", "For how long other engines are preferred.", "cooldown_s"),
    ):
        rows = [((each.name,), float(getattr(each, attribute))) for each in backends]
        yield _gauge(f"llmctl_backend_{name}", text, ["backend"], rows)
    yield _counter(
        "llmctl_backend_failures",
        "Failures that were the engine's own.",
        ["backend"],
        [((each.name,), each.failures) for each in backends],
    )


def _made(made: Mapping[tuple[str, str], Made]) -> "Iterator[Metric]":
    labels = ["backend", "model"]
    yield _counter(
        "llmctl_backend_answers",
        "Complete answers made by an engine.",
        labels,
        [(pair, each.answers) for pair, each in made.items()],
    )
    yield _counter(
        "llmctl_backend_tokens",
        "Tokens of answers made by an engine; cached_prompt is part of prompt.",
        [*labels, "kind"],
        [
            ((*pair, kind), count)
            for pair, each in made.items()
            for kind, count in each.tokens.items()
        ],
    )
    yield _histogram(
        "llmctl_backend_first_token_seconds",
        "Arrival to first content of answers made by an engine.",
        labels,
        [(pair, each.first_token) for pair, each in made.items()],
    )
    yield _histogram(
        "llmctl_backend_output_token_seconds",
        "Mean time per token after the first, one observation an answer.",
        labels,
        [(pair, each.per_token) for pair, each in made.items()],
    )


def _tunnels(tunnels: Iterable[TunnelStatus]) -> "Iterator[Metric]":
    label = ["tunnel"]
    # late is not down: requests go on
    working = (TunnelState.UP, TunnelState.SUSPECT)
    up = [((each.name,), float(each.state in working)) for each in tunnels]
    yield _gauge("llmctl_tunnel_up", "Whether the tunnel is connected.", label, up)
    trips = [((each.name,), _seconds(each.round_trip_ms)) for each in tunnels]
    yield _gauge(
        "llmctl_tunnel_round_trip_seconds", "Of the last answered keepalive.", label, trips
    )
    for name, text, attribute in (
        ("connections", "Times the tunnel was connected.", "connections"),
        ("received_bytes", "Through the tunnel to here.", "received_bytes"),
        ("sent_bytes", "Through the tunnel from here.", "sent_bytes"),
    ):
        rows = [((each.name,), float(getattr(each, attribute))) for each in tunnels]
        yield _counter(f"llmctl_tunnel_{name}", text, label, rows)


def _money(spend: Spend) -> "Iterator[Metric]":
    for name, text, amount in (
        ("spend_today_usd", "Spent on rented machines today, by our record.", spend.today_usd),
        ("spend_month_usd", "The same this month.", spend.month_usd),
        ("rent_usd_per_hour", "Price of what is rented now.", spend.usd_per_hour),
    ):
        yield _one(name, text, _dollars(amount))
    yield _one("rent_unpriced", "Rented machines whose price is not known.", spend.unpriced)
    yield _gauge(
        "llmctl_budget_used_ratio",
        "Share of a budget that is spent.",
        ["period"],
        [((limit.period,), limit.share) for limit in spend.limits],
    )


def _dollars(amount: MicroUsd) -> float:
    return amount / 1_000_000


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _one(name: str, text: str, value: float | None) -> "Metric":
    return _gauge(f"llmctl_{name}", text, [], [((), value)])


def _gauge(name: str, text: str, labels: list[str], rows: Iterable[Row]) -> "Metric":
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(name, text, labels=labels)
    for values, figure in rows:
        if figure is not None:
            family.add_metric(values, figure)
    return family


def _counter(name: str, text: str, labels: list[str], rows: Iterable[Row]) -> "Metric":
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(name, text, labels=labels)
    for values, figure in rows:
        if figure is not None:
            family.add_metric(values, figure)
    return family


def _histogram(
    name: str, text: str, labels: list[str], rows: Iterable[tuple[tuple[str, ...], Histogram]]
) -> "Metric":
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(name, text, labels=labels)
    for values, histogram in rows:
        family.add_metric(values, histogram.cumulative(), histogram.total)
    return family
