"""Counters and what Prometheus is told."""

from prometheus_client.parser import text_string_to_metric_families

from llmctl.core.usage import CacheOutcome, Usage
from llmctl.proxy.metrics import Histogram, Metrics, exposition


def usage(**fields) -> Usage:
    known = {"at": 0.0, "request_id": "r", "tenant": "t", "model_asked": "m"}
    return Usage(**(known | fields))


def test_buckets_are_cumulative_and_the_bound_is_inclusive():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == 102.0


def test_exposition_is_valid_and_counts():
    metrics = Metrics()
    metrics.record(
        usage(cache=CacheOutcome.HIT, prompt_tokens=10, completion_tokens=5, total_ms=2.0)
    )
    metrics.record(
        usage(cache=CacheOutcome.MISS, prompt_tokens=7, completion_tokens=3, first_token_ms=40.0)
    )
    metrics.record(usage(status=529, error="overloaded_error"))
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(exposition(metrics).decode())
        for sample in family.samples
    }
    assert samples["llmctl_requests_total", (("cache", "hit"), ("status", "200"))] == 1
    assert samples["llmctl_tokens_total", (("kind", "prompt"), ("source", "engine"))] == 7
    assert samples["llmctl_tokens_total", (("kind", "completion"), ("source", "cache"))] == 5
    assert samples["llmctl_errors_total", (("type", "overloaded_error"),)] == 1
    assert samples["llmctl_first_token_seconds_bucket", (("le", "0.05"),)] == 1
    assert samples["llmctl_request_duration_seconds_count", ()] == 3
    assert samples["process_resident_memory_bytes", ()] > 0
