"""Progress of long commands: one live line in a terminal, one plain line per change elsewhere."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Self, TextIO

from llmctl.core.rental import Step, StepState
from llmctl.render.amounts import clock, rate, size, usd
from llmctl.render.watch import silent_keyboard

if TYPE_CHECKING:
    from rich.text import Text

HEARTBEAT_S = 30.0
"""A step that says nothing new is repeated this often, so that logs show it is alive."""


def progress_for(
    stream: TextIO, environ: Mapping[str, str], *, quiet: bool, now: Callable[[], float]
) -> "Progress":
    """Return what shows steps on ``stream``: live for people, plain for pipes, logs and CI."""
    plain = not stream.isatty() or environ.get("TERM") == "dumb" or "CI" in environ
    if quiet:
        return Progress()
    return PlainProgress(stream, now) if plain else LiveProgress(stream, now)


class Progress:
    """Shows nothing; what the others have in common. Used as a context manager."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_failure: object) -> None:
        self.close()

    def __call__(self, step: Step) -> None:
        """Show one step."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class PlainProgress(Progress):
    """A line when a step begins, ends or warns, and a heartbeat between."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        self._stream = stream
        self._now = now
        self._last = ("", "")
        self._said_at = now()

    def __call__(self, step: Step) -> None:
        key = (step.name, step.text)
        news = key != self._last or step.state in (StepState.DONE, StepState.WARNING)
        if step.state is StepState.PROGRESS and step.done_bytes is not None:
            news = False  # the text stays, the figures move: heartbeats are enough
        if not news and self._now() - self._said_at < HEARTBEAT_S:
            return
        self._last, self._said_at = key, self._now()
        self._stream.write(step_line(step) + "\n")
        self._stream.flush()


class LiveProgress(Progress):
    """One line that moves; finished steps stay above it. What is typed meanwhile is dropped."""

    def __init__(self, stream: TextIO, now: Callable[[], float]) -> None:
        from rich.console import Console  # 20 ms that pipes and quiet commands do not pay
        from rich.live import Live

        self._now = now
        self._step: Step | None = None
        self._since = now()
        self._keyboard = contextlib.ExitStack()
        console = Console(file=stream, highlight=False, soft_wrap=True)
        self._live = Live(
            get_renderable=self._line, console=console, transient=True, refresh_per_second=4
        )

    def __call__(self, step: Step) -> None:
        self._step, self._since = step, self._now()
        if not self._live.is_started:
            self._keyboard.enter_context(silent_keyboard())
            self._live.start()
        if step.state in (StepState.DONE, StepState.WARNING):
            self._step = None
            self._live.console.print(step_line(step), markup=False, emoji=False)

    def close(self) -> None:
        self._live.stop()
        self._keyboard.close()

    def _line(self) -> "Text":
        from rich.text import Text

        if self._step is None:
            return Text("")
        text = step_line(self._step, moved_s=self._now() - self._since)
        return Text(text, no_wrap=True, overflow="ellipsis")


_MARKS = {
    StepState.BEGIN: "..",
    StepState.PROGRESS: "..",
    StepState.DONE: "ok",
    StepState.WARNING: "! ",
}


def step_line(step: Step, *, moved_s: float = 0.0) -> str:
    """Return one step as a line: mark, time, text, figures, cost so far."""
    parts = [f"{_MARKS[step.state]} {clock(step.elapsed_s + moved_s):>5}  {step.text}"]
    if step.done_bytes is not None:
        parts.append(_transfer(step))
    if step.spent:
        parts.append(f"{usd(step.spent)} so far")
    return ", ".join(parts)


def _transfer(step: Step) -> str:
    done, total, speed = step.done_bytes or 0, step.total_bytes, step.bytes_per_s
    text = f"{size(done)} of {size(total)}" if total else size(done)
    if speed:
        text += f", {rate(speed)}"
        if total and total > done:
            text += f", {clock((total - done) / speed)} left"
    return text


def stderr_progress(
    environ: Mapping[str, str], *, quiet: bool, now: Callable[[], float]
) -> Progress:
    """Return progress on stderr, where talk goes."""
    return progress_for(sys.stderr, environ, quiet=quiet, now=now)
