"""What is looked at of a text when all of it would take too long."""

PIECE_CHARS = 200_000
"""Longest piece: the regular expressions of vocabularies overflow on a million spaces."""
MOST_PIECES = 10


def excerpt(text: str) -> tuple[list[str], float]:
    """Return evenly spread pieces of ``text``, and how many times longer it is than they are.

    Two million characters, which is more than any engine's context, are taken whole: their pieces
    put together are the text.
    """
    if len(text) <= PIECE_CHARS:
        return [text], 1.0
    starts = range(0, len(text), PIECE_CHARS)
    every = -(-len(starts) // MOST_PIECES)
    pieces = [text[start : start + PIECE_CHARS] for start in starts[::every]]
    return pieces, len(text) / sum(map(len, pieces))
