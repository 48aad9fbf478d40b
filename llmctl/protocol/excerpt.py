"""What is looked at of a text when all of it would take too long."""

PIECE_CHARS = 200_000
"""Longest piece: the regular expressions of vocabularies overflow on a million spaces."""
MOST_PIECES = 10


def excerpt(
    text: str, *, piece_chars: int = PIECE_CHARS, most_pieces: int = MOST_PIECES
) -> tuple[list[str], float]:
    """Return evenly spread pieces of ``text``, and how many times longer it is than they are.

    A text of no more than so many pieces is taken whole: its pieces put together are the text. By
    default that is two million characters, more than any engine's context.
    """
    if len(text) <= piece_chars:
        return [text], 1.0
    starts = range(0, len(text), piece_chars)
    every = -(-len(starts) // most_pieces)
    pieces = [text[start : start + piece_chars] for start in starts[::every]]
    return pieces, len(text) / sum(map(len, pieces))
