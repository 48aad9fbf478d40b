import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.render.sparks import sparkline

figures = st.lists(st.none() | st.floats(min_value=0, max_value=1e9), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0, 1, 2, 4, 8], " ▁▂▄█"),
        ([None, 0.001, 1000], " ▁█"),
        ([0, 0], "  "),
        ([], ""),
    ],
)
def test_heights(values, text):
    assert sparkline(values, width=10, blocks=True) == text


def test_without_the_characters():
    assert sparkline([0, 1, 7], width=3, blocks=False) == " .#"


def test_a_peak_is_not_lost_in_a_narrow_column():
    values = [0.0] * 89 + [5.0]
    assert sparkline(values, width=10, blocks=True) == " " * 9 + "█"
    assert sparkline(values, width=0, blocks=True) == ""


@given(values=figures, width=st.integers(1, 250), blocks=st.booleans())
def test_it_never_takes_more_room_and_shows_whatever_there_is(values, width, blocks):
    text = sparkline(values, width=width, blocks=blocks)
    assert len(text) == min(width, len(values))
    assert bool(text.strip()) == any(values)
