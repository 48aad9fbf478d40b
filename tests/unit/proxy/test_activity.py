"""The last quarter of an hour, in steps of ten seconds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.usage import CacheOutcome
from llmctl.ledger.schema import latency_step
from llmctl.ledger.totals import percentiles
from llmctl.proxy.activity import FAILURES, STEP_S, STEPS, Activity
from llmctl.proxy.messages import Record
from tests.clocks import ManualClock
from tests.unit.proxy.scraped import usage


class Generated:
    """What a generation says of itself."""

    def __init__(self, tokens: int, first_content_at: float | None) -> None:
        self.tokens = tokens
        self.first_content_at = first_content_at


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def activity(clock) -> Activity:
    return Activity(clock)


def end(activity: Activity, clock: ManualClock, **fields) -> None:
    record = Record(clock, "req_1", "ada")
    record.reason = "it broke"
    activity.open.add(record)
    activity.finished(record, usage(**fields), clock.monotonic())
    assert not activity.open


def test_requests_are_sorted_by_what_answered_them(activity, clock):
    for outcome in CacheOutcome:
        end(activity, clock, cache=outcome, first_token_ms=100.0)
    end(activity, clock, error="api_error", status=500)
    end(activity, clock, cache=CacheOutcome.MISS, error="client_gone", status=499)
    *before, now = activity.steps()
    assert (now.cached, now.engine, now.failed, now.looked) == (2, 4, 1, 5)
    assert now.first_token == {latency_step(100.0): 3}
    assert not any(step.cached or step.engine or step.failed for step in before)


def test_steps_move_with_the_time_and_are_forgotten(activity, clock):
    end(activity, clock, cache=CacheOutcome.HIT)
    clock.advance(STEP_S)
    end(activity, clock, cache=CacheOutcome.HIT)
    assert [step.cached for step in activity.steps()][-3:] == [0, 1, 1]
    clock.advance(STEP_S * (STEPS - 2))
    assert [step.cached for step in activity.steps()][:2] == [1, 1]
    clock.advance(STEP_S)
    assert [step.cached for step in activity.steps()][:2] == [1, 0]
    clock.advance(STEP_S * STEPS * 3)
    assert sum(step.cached for step in activity.steps()) == 0


def test_failures_are_kept_with_their_reason_and_clients_that_left_are_none(activity, clock):
    end(activity, clock, error="client_gone", status=499)
    for number in range(FAILURES + 3):
        end(activity, clock, error="api_error", status=500, request_id=f"req_{number}")
    assert len(activity.failures) == FAILURES
    last = activity.failures[-1]
    assert (last.request_id, last.status, last.type) == (f"req_{FAILURES + 2}", 500, "api_error")
    assert last.message == "it broke"


@given(
    tokens=st.integers(0, 100_000),
    age_s=st.floats(0, STEP_S * (STEPS - 1) - 1),
    share=st.floats(0, 1),
)
def test_no_token_is_lost_while_they_are_spread_over_their_time(tokens, age_s, share):
    clock = ManualClock()
    activity = Activity(clock)
    began = clock.monotonic()
    clock.advance(age_s)
    activity.generated(Generated(tokens, began + age_s * share))
    assert sum(activity.tokens_by_step(set())) == pytest.approx(tokens)
    assert sum(activity.tokens_by_step({Generated(tokens, began)})) == pytest.approx(2 * tokens)


def test_an_even_stream_is_an_even_line(activity, clock):
    clock.advance(-clock.monotonic() % STEP_S)
    began = clock.monotonic()
    clock.advance(3 * STEP_S)
    activity.generated(Generated(300, began))
    assert activity.tokens_by_step(set())[-4:] == pytest.approx([100, 100, 100, 0])


def test_of_an_answer_that_takes_longer_only_the_end_is_shown(activity, clock):
    began = clock.monotonic()
    clock.advance(2 * STEPS * STEP_S)
    activity.generated(Generated(2 * STEPS * STEP_S, began))
    shown = activity.tokens_by_step(set())
    assert shown[:-1] == pytest.approx([STEP_S] * (STEPS - 1))


def test_an_answer_that_never_began_has_no_tokens(activity):
    activity.generated(Generated(5, None))
    assert sum(activity.tokens_by_step({Generated(5, None)})) == 0


def test_the_first_step_began_a_quarter_of_an_hour_ago(activity, clock):
    age_s = clock.now() - activity.began
    assert (STEPS - 1) * STEP_S <= age_s < STEPS * STEP_S


@given(st.lists(st.integers(-50, 500), min_size=1), st.floats(0.01, 1))
def test_percentiles_are_nearest_rank(values, share):
    ordered = sorted(values)
    rank = next(n for n in range(1, len(values) + 1) if n >= share * len(values))
    assert percentiles(Counter(values), share) == [ordered[rank - 1]]


def test_there_are_no_percentiles_of_nothing():
    assert percentiles({}, 0.5, 0.95) == [None, None]
