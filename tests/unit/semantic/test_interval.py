"""Intervals of shares."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.interval import at_most, wilson


def test_known_values():
    low, high = wilson(1, 100)
    assert (round(low, 4), round(high, 4)) == (0.0018, 0.0545)
    assert wilson(0, 0) == (0.0, 1.0)
    assert at_most(0, 268) == pytest.approx(0.01, abs=1e-4)


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_the_share_is_inside(wrong, right):
    low, high = wilson(wrong, wrong + right)
    assert 0 <= low <= high <= 1
    if wrong + right:
        assert low <= wrong / (wrong + right) <= high


@given(st.integers(0, 50), st.integers(1, 500))
def test_more_of_the_same_narrows_it(wrong, total):
    wrong = min(wrong, total)
    low, high = wilson(wrong, total)
    closer_low, closer_high = wilson(wrong * 4, total * 4)
    assert low <= closer_low <= closer_high <= high


@pytest.mark.parametrize(("wrong", "total"), [(2, 1), (-1, 5)])
def test_no_count(wrong, total):
    with pytest.raises(ValueError, match="is no count"):
        wilson(wrong, total)
