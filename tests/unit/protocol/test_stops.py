import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.stops import StopMatcher
from tests.unit.protocol.streams import cuts, pieces


def run(sequences, parts):
    matcher = StopMatcher(sequences)
    shown = "".join(matcher.feed(part) for part in parts)
    return shown + matcher.flush(), matcher.matched


@pytest.mark.parametrize(
    ("sequences", "text", "shown", "matched"),
    [
        (["STOP"], "one STOP two", "one ", "STOP"),
        (["STOP"], "one STO", "one STO", None),
        (["b", "a"], "xaxb", "x", "a"),
        (["Human:", "\n\nHuman:"], "hi\n\nHuman: x", "hi", "\n\nHuman:"),
        (["abcd", "bc"], "abcd", "a", "bc"),
        (["aab"], "aaab", "a", "aab"),
        (["😀"], "é😀x", "é", "😀"),
        (["x"], "x", "", "x"),
        (["", "q"], "abc", "abc", None),
    ],
)
def test_the_first_complete_sequence_cuts_the_text(sequences, text, shown, matched):
    assert run(sequences, [text]) == (shown, matched)
    assert run(sequences, text) == (shown, matched)


words = st.text(alphabet="ab\n", min_size=1, max_size=4)


@given(st.lists(words, min_size=1, max_size=3), st.text(alphabet="ab\nc", max_size=40), cuts)
def test_any_split_gives_the_same_text_and_sequence(sequences, text, where):
    assert run(sequences, pieces(text, where)) == run(sequences, [text])


@given(st.lists(words, min_size=1, max_size=3), st.text(alphabet="ab\nc", max_size=40))
def test_it_agrees_with_looking_at_every_beginning_of_the_text(sequences, text):
    shown, matched = run(sequences, [text])
    for end in range(len(text) + 1):
        ended = [sequence for sequence in sequences if text[:end].endswith(sequence)]
        if ended:
            longest = max(ended, key=len)
            assert (shown, matched) == (text[: end - len(longest)], longest)
            return
    assert (shown, matched) == (text, None)


@given(st.lists(words, min_size=1, max_size=3), st.text(alphabet="ab\nc", max_size=40))
def test_only_the_beginning_of_a_sequence_is_held_back(sequences, text):
    matcher = StopMatcher(sequences)
    shown = ""
    for end, char in enumerate(text, 1):
        shown += matcher.feed(char)
        if matcher.matched:
            return
        held = text[len(shown) : end]
        assert held == "" or any(
            len(held) < len(word) and word.startswith(held) for word in sequences
        )


def test_after_a_match_nothing_more_is_shown():
    matcher = StopMatcher(["."])
    assert matcher.feed("a. b") == "a"
    assert matcher.feed("more") == ""
    assert matcher.flush() == ""
