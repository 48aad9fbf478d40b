from llmctl.cache.breaker import Breaker, BreakerState


def closed(**options) -> Breaker:
    breaker = Breaker(**options)
    breaker.probe_succeeded()
    breaker.succeeded()
    return breaker


def test_it_begins_open_until_a_probe_has_succeeded():
    breaker = Breaker()
    assert not breaker.closed
    breaker.probing()
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.probe_succeeded()
    assert breaker.closed
    assert breaker.reason == ""


def test_three_failures_in_a_row_open_it():
    breaker = closed()
    breaker.failed("one")
    breaker.failed("two")
    assert breaker.closed
    assert breaker.suspicious
    breaker.failed("three")
    assert breaker.state is BreakerState.OPEN
    assert breaker.reason == "three"


def test_a_success_between_failures_starts_the_count_anew():
    breaker = closed()
    for _ in range(10):
        breaker.failed("now and then")
        breaker.failed("now and then")
        breaker.succeeded()
    assert breaker.closed
    assert not breaker.suspicious


def test_after_a_probe_one_failure_opens_it_again():
    breaker = Breaker()
    breaker.probe_succeeded()
    breaker.failed("not yet")
    assert not breaker.closed


def test_a_failed_probe_opens_it_again():
    breaker = Breaker()
    breaker.probing()
    breaker.failed("still dead")
    assert breaker.state is BreakerState.OPEN


def test_a_late_answer_does_not_close_an_open_breaker():
    breaker = Breaker()
    breaker.failed("dead")
    breaker.succeeded()
    assert not breaker.closed


def test_a_probe_while_closed_clears_the_failures_and_asks_for_no_probation():
    breaker = closed()
    breaker.failed("one")
    breaker.probing()
    assert breaker.closed
    breaker.probe_succeeded()
    breaker.failed("one again")
    assert breaker.closed


def test_a_refusal_opens_at_once_and_is_probed_slowly():
    breaker = closed(probe_s=0.5, misconfigured_probe_s=30)
    assert breaker.probe_after_s == 0.5
    breaker.refused("wrong password")
    assert not breaker.closed
    assert breaker.probe_after_s == 30
    breaker.failed("and now it is gone")
    assert breaker.probe_after_s == 0.5


def test_a_refusal_that_was_mended_is_forgotten():
    breaker = closed(probe_s=0.5)
    breaker.refused("wrong password")
    breaker.probe_succeeded()
    assert breaker.closed
    assert breaker.probe_after_s == 0.5
