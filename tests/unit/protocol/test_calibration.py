import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.protocol.calibration import Calibration


def taught(weights: list[float], spread: list[float], *, rounds: int = 60) -> Calibration:
    """Return a calibration that saw exact values of random counts."""
    dice = random.Random(4)
    calibration = Calibration([1.0] * len(weights), spread)
    for _ in range(rounds):
        counts = [dice.uniform(0, 1000) for _ in weights]
        value = sum(w * c for w, c in zip(weights, counts, strict=True))
        error = value - calibration.value(counts)
        variance = calibration.variance(counts) + 1.0
        calibration.learn(counts, error=error, variance=variance)
    return calibration


def test_it_finds_the_weights_behind_the_values() -> None:
    weights = [0.3, 1.4, 2.5, 0.9]
    assert taught(weights, [1.0] * 4).mean == pytest.approx(weights, abs=0.01)


def test_a_weight_known_for_certain_does_not_move() -> None:
    calibration = taught([0.3, 1.0, 2.5], [1.0, 0.0, 1.0])
    assert calibration.mean[1] == 1.0
    assert calibration.mean[0] == pytest.approx(0.3, abs=0.01)


def test_certainty_grows_only_where_something_was_seen() -> None:
    calibration = Calibration([1.0, 1.0], [0.5, 0.5])
    calibration.learn([100.0, 0.0], error=20.0, variance=calibration.variance([100.0, 0.0]) + 1)
    seen, unseen = calibration.spread
    assert seen < 0.05
    assert unseen == pytest.approx(0.5)
    assert calibration.mean == pytest.approx([1.2, 1.0], abs=0.01)


counts = st.lists(st.floats(0, 1e6), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(counts, st.floats(-1e5, 1e5)), max_size=12), counts)
def test_variance_never_grows_nor_goes_below_nothing(
    reports: list[tuple[list[float], float]], asked: list[float]
) -> None:
    calibration = Calibration([1.0, 1.0, 1.0], [0.3, 0.1, 2.0])
    first = before = calibration.variance(asked)
    for seen, error in reports:
        calibration.learn(seen, error=error, variance=calibration.variance(seen) + 1.0)
        after = calibration.variance(asked)
        assert 0 <= after <= before + 1e-9 * first
        before = after
