"""Words that wrap under their first where a terminal is narrow; what can be copied stays whole."""

import re
import textwrap
from collections.abc import Sequence

from llmctl.render.tables import Cell, table

_NO_BREAK = "\u00a0"
_COUNTED = re.compile(r"(?<!\S)(\(?[$+-]?\d[\d,.]*) (?=[\w%])")
"""A number and the blank before what it counts."""
LEAST_WIDTH = 24
"""Words get at least so many columns, however narrow the terminal."""


def wrapped(text: str, width: int | None, *, indent: int = 2) -> str:
    """Break a line at blanks, but not after a number; the lines after the first are indented.

    None is a pipe, which is as wide as need be. Without a newline at the end.
    """
    if width is None or len(text) <= width:
        return text
    # a blank that is none, and back again
    lines = textwrap.wrap(
        _COUNTED.sub(rf"\1{_NO_BREAK}", text),
        max(width, indent + LEAST_WIDTH),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace(_NO_BREAK, " ")


def folded(rows: Sequence[Sequence[Cell]], width: int | None) -> str:
    """Return a table whose last column is of words, which wrap below their first."""
    text = table(rows)
    heads = [row[:-1] for row in rows]
    indent = max(map(len, table(heads).splitlines())) + 2
    return "".join(f"{wrapped(line, width, indent=indent)}\n" for line in text.splitlines())
