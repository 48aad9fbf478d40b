from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import Money, Use
from llmctl.ledger.costs import Sum
from llmctl.ops.cost_use import Pricing, add, break_even, savings, unit_costs
from llmctl.ops.prices import load_prices

DAY = 20_780  # 2026-11-23


def a_sum(**changes) -> Sum:
    usual = {
        "day": DAY,
        "tenant": "me",
        "model_asked": "claude-sonnet-5",
        "model_used": "qwen3-coder",
        "backend": "ollama:http://main.localhost:11434",
        "cache": "miss",
        "failed": False,
        "requests": 10,
        "prompt_tokens": 100_000,
        "completion_tokens": 5_000,
        "cached_prompt_tokens": 0,
        "total_ms": 60_000.0,
    }
    return Sum(**(usual | changes))


def pricing(compare=None) -> Pricing:
    return Pricing(load_prices(), compare)


def test_a_miss_takes_engine_time_and_is_worth_its_tokens():
    use = pricing().use_of(a_sum())
    assert (use.misses, use.hits, use.engine_s) == (10, 0, 60.0)
    assert use.cloud_usd == 250_000  # 0.1 M at $2, 0.005 M at $10
    assert use.cloud_cached_usd == 70_000
    assert use.cloud_hits_usd == 0


@pytest.mark.parametrize(
    ("cache", "field"), [("hit", "hits"), ("semantic", "hits"), ("shared", "shared")]
)
def test_what_took_no_engine_is_worth_the_same(cache, field):
    use = pricing().use_of(a_sum(cache=cache, backend="", total_ms=20.0))
    assert getattr(use, field) == 10
    assert (use.misses, use.engine_s, use.hit_s) == (0, 0.0, 0.02)
    assert use.cloud_usd == use.cloud_hits_usd == 250_000
    assert (use.hit_tokens, use.miss_tokens) == (105_000, 0)


def test_an_engines_prefix_cache_stands_for_that_of_the_cloud():
    use = pricing().use_of(a_sum(cached_prompt_tokens=90_000))
    assert use.cloud_usd == 88_000


def test_what_failed_took_time_and_is_worth_nothing():
    use = pricing().use_of(a_sum(failed=True))
    assert use == Use(requests=10, errors=10, engine_s=60.0)


def test_each_request_is_compared_with_what_it_asked_for_or_with_one_model():
    each = pricing()
    each.use_of(a_sum())
    each.use_of(a_sum(model_asked="qwen3-coder", requests=30))
    first, second = each.compared()
    assert (first.asked, first.model, first.requests, first.assumed) == (
        "qwen3-coder", "claude-sonnet-5", 30, True,
    )  # fmt: skip
    assert (second.asked, second.assumed) == ("claude-sonnet-5", False)
    one = pricing("claude-opus-4-8")
    assert one.use_of(a_sum()).cloud_usd == 625_000
    assert one.compared()[0].checked == "2026-11-23"


def test_the_price_is_that_of_the_day():
    late, early = (
        a_sum(model_asked="claude-sonnet-5-5"),
        a_sum(model_asked="claude-sonnet-5-5", day=DAY - 60),
    )
    assert pricing().use_of(late).cloud_cached_usd == 60_000
    assert pricing().use_of(early).cloud_cached_usd == 70_000


A_DAY = Money(
    metered_usd=MicroUsd(14_400_000),
    running_usd=MicroUsd(14_400_000),
    running_s=86_400.0,
)
BUSY = Use(
    requests=1_000, hits=800, misses=200,
    prompt_tokens=20_000_000, completion_tokens=500_000,
    hit_tokens=16_400_000, hit_completion_tokens=400_000,
    miss_tokens=4_100_000, miss_completion_tokens=100_000,
    hit_s=2.0, engine_s=1_998.0,
    cloud_usd=MicroUsd(45_000_000), cloud_cached_usd=MicroUsd(9_000_000),
    cloud_hits_usd=MicroUsd(36_000_000),
)  # fmt: skip


def test_unit_costs_spread_all_the_money_by_time():
    unit = unit_costs(A_DAY, BUSY)
    assert unit.usd_per_million_tokens == Decimal("0.702439024")
    assert unit.usd_per_hit == Decimal("0.000018000")
    assert unit.usd_per_miss == Decimal("0.071928000")
    # hits and misses at these prices are what was spent
    total = unit.usd_per_hit * BUSY.hits + unit.usd_per_miss * BUSY.misses
    assert total == Decimal("14.4")
    # an RTX 4090 at 60 cents an hour, ten seconds a miss: what was hoped for
    assert unit.busy_usd_per_miss == Decimal("0.001665000")
    assert Decimal("0.001") < unit.busy_usd_per_miss < Decimal("0.01")
    assert unit.busy_usd_per_hit < Decimal("0.0001")


def test_savings_in_money_and_against_the_aim():
    found = savings(A_DAY, BUSY, [])
    assert found.saved_usd == 30_600_000
    assert found.saved_share == pytest.approx(0.68)
    assert found.least_saved_share == pytest.approx(-0.6)
    assert found.target_share == 0.81
    assert found.cache_cloud_usd == 36_000_000
    assert found.cache_engine_s == pytest.approx(4 * 1998)
    assert found.cache_usd == 1_332_000


def test_the_use_at_which_renting_breaks_even():
    found = break_even(A_DAY, BUSY)
    assert found.utilisation == pytest.approx(1998 / 86_400)
    assert found.break_even_utilisation == pytest.approx(1998 / 86_400 * 14.4 / 45)
    # used just so much, the cloud would have cost what the machine does
    share = found.break_even_utilisation / found.utilisation
    assert BUSY.cloud_usd * share == pytest.approx(A_DAY.metered_usd)
    assert found.hours_a_day == pytest.approx(found.break_even_utilisation * 24)


def test_what_was_billed_counts_before_what_was_metered():
    billed = Money(
        metered_usd=MicroUsd(10), running_usd=MicroUsd(10), running_s=1.0,
        billed_usd=MicroUsd(9), unbilled_usd=MicroUsd(2),
    )  # fmt: skip
    assert savings(billed, BUSY, []).saved_usd == 45_000_000 - 11


@pytest.mark.parametrize(
    "money",
    [None, Money(unpriced_s=60.0, running_s=60.0), Money(metered_usd=MicroUsd(5), unpriced_s=1.0)],
)
def test_what_was_spent_and_is_not_known_gives_no_savings(money):
    found = savings(money, BUSY, [])
    assert (found.saved_usd, found.saved_share, found.cache_usd) == (None, None, None)
    assert break_even(money, BUSY).break_even_utilisation is None


def test_a_bill_tells_what_time_without_a_price_cost():
    money = Money(
        running_s=3600.0, unpriced_s=3600.0,
        billed_usd=MicroUsd(600_000), unmetered_usd=MicroUsd(600_000),
    )  # fmt: skip
    assert savings(money, BUSY, []).saved_usd == 44_400_000
    assert unit_costs(money, BUSY).usd_per_miss is not None
    assert unit_costs(money, BUSY).busy_usd_per_miss is None  # a price an hour is still unknown


def test_nothing_used_costs_nothing_that_could_be_named():
    unit = unit_costs(A_DAY, Use())
    assert unit == unit_costs(None, BUSY)
    assert break_even(A_DAY, Use()).break_even_utilisation is None
    assert savings(A_DAY, Use(), []).cache_engine_s is None


@given(
    spent=st.integers(0, 10**12),
    hits=st.integers(1, 10**6),
    misses=st.integers(1, 10**5),
    hit_s=st.floats(0.001, 10**5),
    engine_s=st.floats(0.001, 10**7),
)
def test_hits_and_misses_share_all_that_was_spent(spent, hits, misses, hit_s, engine_s):
    money = Money(metered_usd=MicroUsd(spent), running_usd=MicroUsd(spent), running_s=1.0)
    use = Use(hits=hits, misses=misses, hit_s=hit_s, engine_s=engine_s)
    unit = unit_costs(money, use)
    total = unit.usd_per_hit * hits + unit.usd_per_miss * misses
    # each is rounded to a billionth of a dollar
    assert abs(total - Decimal(spent) / 1_000_000) <= Decimal(hits + misses) / 10**9


def test_sums_of_nothing():
    assert add([]) == Use()
