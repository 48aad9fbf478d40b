"""What of a text the local embedder reads."""

from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.embed import EDGE_CHARACTERS, edges


def test_a_short_text_is_read_whole():
    text = "x" * 2 * EDGE_CHARACTERS
    assert edges(text) == text


def test_of_a_long_one_both_ends_are_read_in_whole_words():
    words = [f"word{number}" for number in range(100)]
    read = edges(" ".join(words)).split()
    assert read[0] == words[0]
    assert read[-1] == words[-1]
    assert set(read) < set(words)


@given(st.text(max_size=2000))
def test_no_more_than_both_ends_is_read(text: str):
    read = edges(text)
    assert len(read) <= 2 * EDGE_CHARACTERS + 1
    assert read.startswith(text[:1])
    assert read.endswith(text[-1:])
