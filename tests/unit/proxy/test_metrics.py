"""Counters on the way of requests."""

from llmctl.core.usage import CacheOutcome
from llmctl.proxy.metrics import MAX_MAKERS, OTHER, Histogram, Metrics
from tests.unit.proxy.scraped import usage


def test_buckets_are_cumulative_and_the_bound_is_inclusive():
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 99.0):
        histogram.observe(value)
    assert histogram.cumulative() == [("1.0", 2.0), ("2.0", 3.0), ("+Inf", 4.0)]
    assert histogram.total == 102.0


def test_the_hit_ratio_leaves_out_who_did_not_look():
    metrics = Metrics()
    assert metrics.hit_ratio is None
    metrics.record(usage(cache=CacheOutcome.BYPASS))
    assert metrics.hit_ratio is None
    outcomes = (CacheOutcome.HIT, CacheOutcome.SEMANTIC, CacheOutcome.MISS, CacheOutcome.SHARED)
    for outcome in outcomes:
        metrics.record(usage(cache=outcome))
    assert metrics.hit_ratio == 0.5


def made(model: str, **fields) -> object:
    known = {"cache": CacheOutcome.MISS, "backend": "ollama:x", "model_used": model}
    return usage(**(known | fields))


def test_only_complete_answers_of_an_engine_are_its_own():
    metrics = Metrics()
    metrics.record(made("m", completion_tokens=5, first_token_ms=100.0, total_ms=500.0))
    metrics.record(made("m", error="api_error", status=500))
    metrics.record(made("m", cache=CacheOutcome.HIT))
    metrics.record(made("m", cache=CacheOutcome.SHARED))
    metrics.record(made("m", backend=""))
    only = metrics.made["ollama:x", "m"]
    assert list(metrics.made) == [("ollama:x", "m")]
    assert only.answers == 1
    assert only.per_token.total == 0.1
    assert only.first_token.total == 0.1


def test_an_answer_of_one_token_has_no_time_per_token():
    metrics = Metrics()
    metrics.record(made("m", completion_tokens=1, first_token_ms=10.0, total_ms=10.0))
    metrics.record(made("m", completion_tokens=0))
    only = metrics.made["ollama:x", "m"]
    assert only.answers == 2
    assert sum(only.per_token.counts) == 0


def test_there_is_an_end_to_the_models_told_apart():
    metrics = Metrics()
    for number in range(MAX_MAKERS + 50):
        metrics.record(made(f"m{number}"))
    metrics.record(made("m3"))
    assert len(metrics.made) == MAX_MAKERS + 1
    assert metrics.made[OTHER].answers == 50
    assert metrics.made["ollama:x", "m3"].answers == 2
