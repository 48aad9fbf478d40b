"""Who is taken for dead, and who is not."""

from hypothesis import given
from hypothesis import strategies as st

from llmctl.ssh.heartbeat import LATE_S, LIMIT_S, OVERSLEPT_S, Heartbeat

LONGEST = st.floats(min_value=0.0, max_value=OVERSLEPT_S)


def live(heart: Heartbeat, now: float, until: float, *, late: float = 0.0) -> tuple[float, bool]:
    """Look when it says until it is dead or the time is up; nobody answers."""
    while now < until:
        verdict = heart.look(now)
        if verdict.dead:
            return now, True
        now += verdict.look_in_s + late
    return now, False


def test_it_asks_at_once_and_then_every_second() -> None:
    heart = Heartbeat(100.0)
    assert heart.look(100.0).ask
    heart.sent(100.0)
    heart.answered(100.1)
    verdict = heart.look(100.25)
    assert not verdict.ask
    assert verdict.look_in_s == 0.75
    assert heart.look(101.0).ask


def test_it_measures_from_sending_to_the_answer() -> None:
    heart = Heartbeat(0.0)
    heart.look(0.0)
    heart.sent(0.5)
    heart.answered(0.58)
    assert abs(heart.round_trip_s - 0.08) < 1e-9


@given(late=LONGEST)
def test_silence_is_death_within_four_seconds_of_the_last_answer(late: float) -> None:
    heart = Heartbeat(0.0)
    died, dead = live(heart, 0.0, 10.0, late=late)
    assert dead
    assert LIMIT_S <= died <= 4.0


def test_late_is_suspect_and_not_dead() -> None:
    heart = Heartbeat(0.0)
    heart.look(0.0)
    assert not heart.suspect(LATE_S)
    assert heart.suspect(LATE_S + 0.01)
    heart.answered(LATE_S + 0.02)
    assert not heart.suspect(LATE_S + 0.03)


@given(st.lists(st.floats(min_value=0.05, max_value=LIMIT_S - 0.1), max_size=30))
def test_whoever_says_anything_in_time_lives(pauses: list[float]) -> None:
    heart = Heartbeat(0.0)
    now, due = 0.0, 0.0
    for pause in pauses:
        due += pause
        while now < due:
            verdict = heart.look(now)
            assert not verdict.dead
            now = min(due, now + verdict.look_in_s)
        heart.heard_at = now


def test_time_in_which_we_slept_does_not_count() -> None:
    heart = Heartbeat(0.0)
    heart.look(0.0)
    assert not heart.look(3600.0).dead
    heart.answered(3600.1)
    assert not heart.look(3600.2).dead


def test_it_dies_after_a_sleep_as_well_if_nobody_answers() -> None:
    heart = Heartbeat(0.0)
    heart.look(0.0)
    died, dead = live(heart, 3600.0, 3610.0)
    assert dead
    assert died <= 3600.0 + LIMIT_S + 0.25
