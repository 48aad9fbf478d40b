"""Lines of things that were looked at: how each is, in a word first, then why, then what to type.

In a terminal the words wrap under their line; elsewhere every line is whole. Names and commands are
never cut: they are there to be copied.
"""

import shutil
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from llmctl.core.reports_health import CheckState
from llmctl.render.wrapping import wrapped

_COLOURS = {
    CheckState.OK: "\033[32m",
    CheckState.NOTE: "\033[33m",
    CheckState.UNKNOWN: "\033[2m",
    CheckState.BAD: "\033[1;31m",
}
_PLAIN = "\033[0m"


class Row(NamedTuple):
    """One thing that was looked at."""

    state: CheckState
    kind: str
    name: str
    timing: str
    detail: str
    fix: str


def rows_text(rows: Sequence[Row], *, width: int | None, colour: bool) -> str:
    """Return the lines; ``width`` is None where nobody's terminal has to hold them."""
    states = max((len(row.state.value) for row in rows), default=0)
    kinds = max((len(row.kind) for row in rows), default=0)
    timings = max((len(row.timing) for row in rows), default=0)
    names = max((len(row.name) for row in rows), default=0)
    if width is not None and states + kinds + names + timings + 6 > width:
        names = timings = 0  # a column as wide as its longest name would not fit
    lines = []
    for row in rows:
        state = _painted(row.state.value.ljust(states), row.state, colour=colour)
        head = f"{row.kind.ljust(kinds)}  {row.name.ljust(names)}  {row.timing.rjust(timings)}"
        indent = states + 2 + kinds + 2
        lines.append(
            f"{state}  {_with_detail(head, row.detail, states + 2, indent, width)}".rstrip()
        )
        if row.fix:
            lines.append(f"{' ' * indent}fix: {row.fix}")
    return "".join(f"{line}\n" for line in lines)


def columns(stream: TextIO) -> int | None:
    """Return the width of the terminal that ``stream`` is; None where it is none."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def milliseconds(latency_ms: float | None) -> str:
    """Return a time as people read it: ``0.4 ms``, ``41 ms``, ``2.1 s``; empty where unknown."""
    if latency_ms is None:
        return ""
    if latency_ms >= 1000:
        return f"{latency_ms / 1000:.1f} s"
    return f"{latency_ms:.1f} ms" if latency_ms < 10 else f"{latency_ms:.0f} ms"


def _with_detail(head: str, detail: str, before: int, indent: int, width: int | None) -> str:
    """Put the words behind their head where they fit, else below it."""
    if width is None or before + len(head) + 2 + len(detail) <= width:
        return f"{head}  {detail}"
    return f"{head.rstrip()}\n{wrapped(' ' * indent + detail, width, indent=indent)}"


def _painted(word: str, state: CheckState, *, colour: bool) -> str:
    return f"{_COLOURS[state]}{word}{_PLAIN}" if colour else word
