"""Pauses between two tries."""

from hypothesis import given
from hypothesis import strategies as st

from llmctl.ssh.backoff import Backoff


def backoff(jitter: float = 1.0) -> Backoff:
    return Backoff(first_s=0.2, longest_s=10.0, gate_s=10.0, jitter=lambda: jitter)


def test_bounds_double_up_to_the_longest() -> None:
    pauses = backoff()
    assert [round(pauses.next_s(), 3) for _ in range(8)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_only_what_lasted_begins_again() -> None:
    pauses = backoff()
    for _ in range(3):
        pauses.next_s()
    pauses.lasted(9.9)
    assert pauses.next_s() == 1.6
    pauses.lasted(10.0)
    assert pauses.next_s() == 0.2


@given(st.floats(min_value=0, max_value=1, exclude_max=True), st.integers(0, 2000))
def test_every_pause_is_within_its_bound(jitter: float, failures: int) -> None:
    pauses = backoff(jitter)
    for _ in range(failures):
        pauses.next_s()
    assert 0 <= pauses.next_s() <= 10.0
