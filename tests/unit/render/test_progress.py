import io

import pytest

from llmctl.core.rental import Step, StepState
from llmctl.render.progress import LiveProgress, PlainProgress, progress_for, step_line


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Now:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def step(state=StepState.BEGIN, text="waiting for SSH", **more):
    return Step(name="ssh", state=state, text=text, **more)


def test_plain_lines_come_once_per_change_and_as_heartbeats():
    out, now = io.StringIO(), Now()
    show = PlainProgress(out, now)
    for seconds in range(0, 70, 5):
        now.seconds = seconds
        show(step(StepState.PROGRESS, elapsed_s=seconds))
    show(step(StepState.DONE, "SSH answers", elapsed_s=66))
    assert out.getvalue().splitlines() == [
        "..  0:00  waiting for SSH",
        "..  0:30  waiting for SSH",
        "..  1:00  waiting for SSH",
        "ok  1:06  SSH answers",
    ]


def test_moving_figures_are_no_news_on_plain_lines():
    out, now = io.StringIO(), Now()
    show = PlainProgress(out, now)
    show(step(text="pulling"))
    for done in range(5):
        show(step(StepState.PROGRESS, "pulling layer", done_bytes=done, total_bytes=9))
    assert out.getvalue() == "..  0:00  pulling\n"


def test_figures_and_costs_are_in_the_line():
    moving = step(
        StepState.PROGRESS,
        "pulling qwen3-coder",
        done_bytes=6_600_000_000,
        total_bytes=18_600_000_000,
        bytes_per_s=100e6,
        elapsed_s=66,
        spent=12_000,
    )
    assert step_line(moving) == (
        "..  1:06  pulling qwen3-coder, 6.6 GB of 18.6 GB, 100 MB/s, 2:00 left, $0.01 so far"
    )


def test_a_terminal_keeps_what_is_done_and_is_left_clean():
    out = Terminal()
    with LiveProgress(out, Now()) as show:
        show(step())
        show(step(StepState.DONE, "SSH answers"))
        show(step(StepState.WARNING, "slow"))
    assert "ok  0:00  SSH answers\n" in out.getvalue()
    assert "!   0:00  slow\n" in out.getvalue()
    assert out.getvalue().count("\x1b[?25h") == out.getvalue().count("\x1b[?25l")


@pytest.mark.parametrize("environ", [{"TERM": "dumb"}, {"CI": "1"}])
def test_ci_and_dumb_terminals_get_plain_lines(environ):
    assert isinstance(progress_for(Terminal(), environ, quiet=False, now=Now()), PlainProgress)


def test_pipes_get_plain_lines_terminals_live_ones_and_quiet_nothing():
    assert isinstance(progress_for(io.StringIO(), {}, quiet=False, now=Now()), PlainProgress)
    assert isinstance(progress_for(Terminal(), {}, quiet=False, now=Now()), LiveProgress)
    out = io.StringIO()
    progress_for(out, {}, quiet=True, now=Now())(step())
    assert out.getvalue() == ""
