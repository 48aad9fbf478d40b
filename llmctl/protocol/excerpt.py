"""What is looked at of a text when all of it would take too long, or too much room."""

from collections.abc import Sequence

from llmctl.protocol.anthropic import TextBlock, Turn

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


def last_words(messages: Sequence[Turn], *, most_chars: int) -> str:
    """Return the last thing the user said, on one line and not longer than that.

    Empty where no user turn holds text. What Claude Code puts in between ``<system-reminder>`` tags
    was not said by anybody. Lone surrogates become question marks: not every format has them.
    """
    for turn in reversed(messages):
        if turn.role == "user" and (said := _said(turn)):
            line = " ".join(said[: 2 * most_chars].split())[:most_chars]
            return line.encode("utf-8", "replace").decode()
    return ""


def _said(turn: Turn) -> str:
    if isinstance(turn.content, str):
        return turn.content
    texts = [block.text for block in turn.content if isinstance(block, TextBlock)]
    said = [text for text in texts if not text.lstrip().startswith("<system-reminder>")]
    return said[-1] if said else ""
