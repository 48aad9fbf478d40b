import pytest

from llmctl.protocol.excerpt import MOST_PIECES, PIECE_CHARS, excerpt


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
