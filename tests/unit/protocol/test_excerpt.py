import pytest

from llmctl.protocol.anthropic import TextBlock, ToolResultBlock, Turn
from llmctl.protocol.excerpt import MOST_PIECES, PIECE_CHARS, excerpt, last_words


@pytest.mark.parametrize(
    "size", [0, 1, PIECE_CHARS, PIECE_CHARS + 1, MOST_PIECES * PIECE_CHARS - 7]
)
def test_texts_that_fit_are_whole(size: int) -> None:
    text = "abcde" * (size // 5) + "x" * (size % 5)
    pieces, times = excerpt(text)
    assert "".join(pieces) == text
    assert times == 1.0
    assert max(map(len, pieces)) <= PIECE_CHARS


@pytest.mark.parametrize("factor", [1.01, 1.5, 3, 16])
def test_longer_ones_are_parts_from_beginning_to_end(factor: float) -> None:
    text = "".join(map(chr, range(0x100, 0x8100))) * int(
        factor * MOST_PIECES * PIECE_CHARS / 0x8000
    )
    pieces, times = excerpt(text)
    assert MOST_PIECES // 2 <= len(pieces) <= MOST_PIECES
    assert sum(map(len, pieces)) * times == pytest.approx(len(text))
    assert text.startswith(pieces[0])
    assert text.rindex(pieces[-1]) > len(text) * 0.7


def said(*turns):
    return [Turn(role=role, content=content) for role, content in turns]


@pytest.mark.parametrize(
    ("turns", "words"),
    [
        ([("user", "hi\n  there ")], "hi there"),
        ([("user", "first"), ("assistant", "no"), ("user", "second")], "second"),
        ([("user", "asked"), ("assistant", "calls")], "asked"),
        ([("user", [TextBlock(text="one"), TextBlock(text="two")])], "two"),
        (
            [("user", [TextBlock(text="two"), TextBlock(text=" <system-reminder>x")])],
            "two",
        ),
        (
            [("user", "asked"), ("user", [ToolResultBlock(tool_use_id="t", content="found")])],
            "asked",
        ),
        ([("assistant", "no")], ""),
        ([], ""),
        ([("user", "broken \ud83d")], "broken ?"),
    ],
)
def test_the_last_words_of_the_user(turns, words):
    assert last_words(said(*turns), most_chars=500) == words


def test_last_words_are_cut():
    assert last_words(said(("user", "word " * 1000)), most_chars=12) == "word word wo"
