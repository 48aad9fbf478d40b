import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.render.wrapping import LEAST_WIDTH, folded, wrapped

words = st.lists(st.text("abcxyz0123456789,.%/-", min_size=1, max_size=40), min_size=1)


@given(words, st.integers(min_value=10, max_value=120), st.integers(min_value=0, max_value=30))
def test_all_words_are_there_in_order_and_none_is_cut(parts, width, indent):
    text = " ".join(parts)
    assert wrapped(text, width, indent=indent).split() == text.split()


@given(st.lists(st.text("abcxyz", min_size=1, max_size=10), min_size=1), st.integers(40, 120))
def test_lines_fit_where_words_do(parts, width):
    lines = wrapped(" ".join(parts), width, indent=4).splitlines()
    assert max(map(len, lines)) <= width
    assert all(line.startswith("    ") for line in lines[1:])


@pytest.mark.parametrize("counted", ["65,536 tokens", "1 model", "$0.20 so", "+12 %", "(3 h"])
def test_a_number_stays_with_what_it_counts(counted):
    for width in range(LEAST_WIDTH, 60):
        lines = wrapped(f"there are words before it, and {counted} and some after it", width)
        assert counted in lines, width


def test_an_address_that_ends_in_a_number_is_none():
    text = "Redis at rediss://cache:6379/0 did not answer"
    assert wrapped(text, 32, indent=0).splitlines()[0] == "Redis at rediss://cache:6379/0"


def test_a_pipe_is_as_wide_as_need_be():
    assert wrapped("word " * 100, None) == "word " * 100


def test_words_of_a_table_wrap_below_the_first():
    rows = [["a name", "$1", "some words that say what there is to say"], ["b", "$20", ""]]
    assert folded(rows, 40) == (
        "a name  $1   some words that say what\n             there is to say\nb       $20\n"
    )
    assert folded(rows, None).count("\n") == 2
