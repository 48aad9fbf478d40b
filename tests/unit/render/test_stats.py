from llmctl.ledger.queries import LedgerSummary, Percentiles, Totals
from llmctl.render.stats import stats_text


def summary(total, **groups):
    empty = {"by_cache": {}, "by_model": {}, "by_backend": {}, "by_tenant": {}, "errors": {}}
    return LedgerSummary(since=None, until=None, total=total, **{**empty, **groups})


def test_sums_by_model_and_by_what_there_is_more_than_one_of():
    total = Totals(
        requests=1200,
        errors=2,
        cache={"hit": 700, "miss": 498, "shared": 2, "bypass": 0},
        hit_ratio=700 / 1200,
        prompt_tokens=23_000_000,
        completion_tokens=120_000,
        first_token_ms=Percentiles(p50=431.6, p95=2000, p99=4000),
    )
    few = Totals(requests=3)
    text = stats_text(
        summary(
            total,
            by_model={"qwen3-coder:30b": total},
            by_backend={"a": total, "": few},
            by_tenant={"local": total},
            errors={"overloaded_error": 2},
        )
    )
    assert (
        text
        == """\
model            requests  errors  hits  shared      prompt   answer  first ms
qwen3-coder:30b     1,200       2   700       2  23,000,000  120,000       432
all                 1,200       2   700       2  23,000,000  120,000       432

backend  requests  errors  hits  shared      prompt   answer  first ms
a           1,200       2   700       2  23,000,000  120,000       432
-               3       0     0       0           0        0         -

58.3% of the answers came from the cache

failed: 2 overloaded_error
"""
    )


def test_no_requests_yet():
    assert stats_text(summary(Totals())) == "no requests yet\n"
