import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.breaker import COOLDOWN_S, FAILURES, WINDOW_S, Breaker, is_outage
from llmctl.protocol.errors import ApiError, broken_stream, invalid_request, overloaded
from tests.clocks import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def broken(clock: ManualClock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(FAILURES):
        assert breaker.ready
        breaker.began()
        breaker.failed()
    return breaker


def test_three_failures_within_the_window_put_it_out(broken: Breaker) -> None:
    assert not broken.ready
    assert broken.cooldown_s == COOLDOWN_S


def test_failures_far_apart_do_not(clock: ManualClock) -> None:
    breaker = Breaker(clock)
    for _ in range(2 * FAILURES):
        breaker.failed()
        clock.advance(WINDOW_S / 2 + 0.1)
    assert breaker.ready


def test_after_the_cooldown_one_request_may_try(broken: Breaker, clock: ManualClock) -> None:
    clock.advance(COOLDOWN_S)
    assert broken.ready
    assert broken.began()
    assert not broken.ready
    assert not broken.began()


def test_its_success_ends_the_cooldown(broken: Breaker, clock: ManualClock) -> None:
    clock.advance(COOLDOWN_S)
    broken.began()
    broken.succeeded()
    assert broken.ready
    broken.failed()
    assert broken.ready


def test_its_failure_begins_another(broken: Breaker, clock: ManualClock) -> None:
    clock.advance(COOLDOWN_S + WINDOW_S)
    broken.began()
    broken.failed()
    assert broken.cooldown_s == COOLDOWN_S


def test_one_that_ends_without_a_verdict_lets_another_try(
    broken: Breaker, clock: ManualClock
) -> None:
    clock.advance(COOLDOWN_S)
    probe = broken.began()
    broken.gave_up(probe=probe)
    assert broken.ready


def test_the_end_of_an_older_request_does_not_admit_a_second_probe(
    broken: Breaker, clock: ManualClock
) -> None:
    older = broken.began()
    clock.advance(COOLDOWN_S)
    broken.began()
    broken.gave_up(probe=older)
    assert not broken.ready


def test_an_answer_begun_during_the_cooldown_ends_it(broken: Breaker) -> None:
    broken.began()
    broken.succeeded()
    assert broken.ready
    assert broken.cooldown_s == 0


@pytest.mark.parametrize(
    ("error", "outage"),
    [
        (overloaded("busy"), True),
        (Unreachable("connection refused"), True),
        (broken_stream("cut"), True),
        (ApiError(500, "out of memory", another_backend=True), True),
        (ApiError(403, "wrong key", another_backend=True), True),
        (ApiError(404, "model: x", another_backend=True), False),
        (ApiError(500, "XML syntax error", another_backend=True, retry_once=True), False),
        (invalid_request("prompt is too long"), False),
    ],
)
def test_what_counts_as_an_outage(error: ApiError, outage: bool) -> None:
    assert is_outage(error) is outage
