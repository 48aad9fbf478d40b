"""A screen that is drawn again in place, and left as it was found.

Rich is imported where somebody watches: elsewhere its 20 ms are saved.
"""

import contextlib
import os
import sys
import termios
from collections.abc import Callable, Iterator, Mapping
from typing import TextIO, TypeGuard

Show = Callable[[str], None]


def is_live(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether somebody watches a terminal that can be drawn in."""
    return stream.isatty() and environ.get("TERM") != "dumb" and "CI" not in environ


@contextlib.contextmanager
def screen(stream: TextIO, *, live: bool) -> Iterator[Show]:
    """Give what shows one text after the other: in the same place, or below each other.

    Colours are escape sequences in the text. When the block ends, however it does, the last text
    stays and the cursor is below it.
    """
    if not live:
        yield lambda text: _put(stream, f"{text}\n")
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    with (
        silent_keyboard(),
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as shown,
    ):

        def show(text: str) -> None:
            lines = Text.from_ansi(text.rstrip("\n"), no_wrap=True, overflow="ellipsis")
            shown.update(lines, refresh=True)

        yield show


@contextlib.contextmanager
def busy(stream: TextIO, environ: Mapping[str, str], text: str, *, quiet: bool) -> Iterator[None]:
    """Say in a terminal what takes its time, and take that back when it is done."""
    if quiet or not is_live(stream, environ):
        yield
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    with Live(Text(f"{text} …"), console=console, auto_refresh=False, transient=True):
        yield


@contextlib.contextmanager
def silent_keyboard() -> Iterator[None]:
    """Keep what is typed off the screen, which it would push out of place, and drop it.

    Ctrl-C and Ctrl-Z do what they always do. Nothing happens where stdin is no terminal of ours.
    """
    if not _is_ours(stdin := sys.__stdin__):
        yield
        return
    before = termios.tcgetattr(stdin)
    silent = termios.tcgetattr(stdin)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(stdin, termios.TCSADRAIN, silent)
    try:
        yield
    finally:
        if _is_ours(stdin):
            termios.tcsetattr(stdin, termios.TCSAFLUSH, before)


def _is_ours(stream: TextIO | None) -> TypeGuard[TextIO]:
    """Tell whether a stream is a terminal, and this process in front: others are stopped there."""
    try:
        return stream is not None and os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _put(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
