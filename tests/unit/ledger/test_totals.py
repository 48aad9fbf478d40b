import pytest

from llmctl.core.usage import CacheOutcome
from llmctl.ledger.totals import Outcome, Tally, Totals

HIT = Outcome("hit", 200, "")
MISS = Outcome("miss", 200, "")


def tally(*entries):
    found = Tally()
    for outcome, row in entries:
        found.add(outcome, row)
    return found


def test_nothing_is_zero_or_unknown():
    cache = dict.fromkeys((outcome.value for outcome in CacheOutcome), 0)
    assert Tally().totals() == Totals(cache=cache)


def test_speed_is_of_what_engines_wrote_after_the_first_token():
    found = tally(
        (MISS, (2, 0, 102, 0, 100, 1000, "100,100")),
        (Outcome("bypass", 200, ""), (1, 0, 51, 0, 50, 500, "100")),
        (HIT, (5, 0, 5000, 0, 4995, 3, "1,1,1,1,1")),
        (Outcome("shared", 200, ""), (1, 0, 51, 0, 50, 10, "1")),
        (Outcome("miss", 499, "client_gone"), (1, 0, 0, 0, 0, 9000, "100")),
        (MISS, (1, 0, 0, 0, None, None, None)),
    )
    assert found.totals().tokens_per_s == 100.0


@pytest.mark.parametrize(
    "row",
    [
        (3, 9, 3, 0, 0, 0, "100,100,100"),
        (1, 9, 1, 0, 0, 400, "100"),
        (1, 9, 90, 0, 89, 99, "100"),
        (1, 9, 0, 0, None, None, None),
    ],
)
def test_answers_too_short_to_time_have_no_speed(row):
    assert tally((MISS, row)).totals().tokens_per_s is None


def test_shares_by_tier_are_of_what_looked():
    found = tally(
        (HIT, (5, 0, 0, 0, None, None, None)),
        (Outcome("semantic", 200, ""), (2, 0, 0, 0, None, None, None)),
        (Outcome("shared", 200, ""), (1, 0, 0, 0, None, None, None)),
        (MISS, (2, 0, 0, 0, None, None, None)),
        (Outcome("bypass", 200, ""), (90, 0, 0, 0, None, None, None)),
    ).totals()
    assert found.tier_ratios == {"exact": 0.5, "semantic": 0.2, "shared": 0.1}
    assert found.hit_ratio == 0.7


def test_merging_is_adding():
    entries = [
        (HIT, (5, 10, 20, 1, 15, 4, "3,3,3,4,5")),
        (MISS, (2, 30, 70, 2, 68, 800, "90,91")),
        (Outcome("miss", 529, "overloaded_error"), (1, 5, 0, 0, None, None, None)),
        (Outcome("miss", 500, ""), (1, 5, 0, 0, None, None, None)),
    ]
    whole = tally(*entries)
    merged = tally(*entries[:2])
    merged.merge(tally(*entries[2:]))
    assert merged.totals() == whole.totals()
    assert merged.errors == {"overloaded_error": 1, "status 500": 1}
    assert whole.totals().errors == 2
