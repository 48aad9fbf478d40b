"""The plan, the question and the live progress of ``up`` in a real terminal, against a market."""

import pytest

from tests.e2e.processes import llmctl_command
from tests.e2e.rent.conftest import street
from tests.tmux.screens import screen

__all__ = ["street"]
PROMPT = "ready>"
COLUMNS = 60
SLOW_S = 3.0
"""Long enough to be looked at, and typed into."""

pytestmark = pytest.mark.e2e


@pytest.fixture
async def terminal(street, tmp_path):
    """A shell in a narrow terminal, in which ``llmctl`` finds the market."""
    environment = {
        **street.environment,
        "HOME": str(street.home),
        "LANG": "C.UTF-8",
        "PATH": "/usr/bin:/bin",
        "PS1": PROMPT,
        "COMMAND": " ".join(llmctl_command()),
        "TERM": "screen-256color",
    }
    async with screen(tmp_path) as found:
        await found.start(["bash", "--norc", "--noprofile"], environment, tmp_path)
        await found.until(PROMPT)
        await found.resize(COLUMNS, 40)
        yield found


async def ask_for_a_machine(terminal):
    """Come as far as the question, and look at what is above it."""
    await terminal.say("$COMMAND up --provider vast")
    await terminal.until("Rent it for $0.31/h?")
    shown = await terminal.lines()
    first = next(number for number, line in enumerate(shown) if line.startswith("machine "))
    titles = {line.split()[0] for line in shown[first:] if line and line[0] != " "}
    # a word that was cut would begin a line of its own
    assert titles <= {"machine", "offer", "model", "context", "disk", "price", "ends", "ready"} | {
        "credit",
        "Rent",
    }


def moving(lines):
    return [line for line in lines if line.startswith("..")]


async def back_at_the_prompt(terminal, status):
    await terminal.until_it(lambda lines: [line for line in lines if line][-1] == PROMPT)
    assert await terminal.cursor_is_shown()
    assert moving(await terminal.lines()) == []
    await terminal.press("C-l")
    await terminal.say("echo status=$? $(stty -a | grep -ow echo)")
    await terminal.until(f"\nstatus={status} echo")


async def test_one_line_moves_until_the_machine_is_ready(terminal, street):
    street.vast.contracts.pull_s = SLOW_S
    await ask_for_a_machine(terminal)
    await terminal.say("y")
    await terminal.until_it(moving)
    for key in ("q", "Enter", "Enter", "x"):
        await terminal.press(key)
    await terminal.resize(50, 40)
    shown = await terminal.lines()
    assert len(moving(shown)) <= 1
    await terminal.resize(COLUMNS, 40)
    await terminal.until("next: llmctl serve main")
    lines = await terminal.lines()
    assert [line for line in lines if line.startswith("ok ")]
    assert [line for line in lines if line in ("q", "x", "qx")] == []
    await back_at_the_prompt(terminal, status=0)


async def test_ctrl_c_destroys_what_was_begun_and_leaves_the_terminal_as_it_was(terminal, street):
    street.vast.contracts.pull_s = 60.0
    await ask_for_a_machine(terminal)
    await terminal.say("y")
    await terminal.until_it(lambda lines: street.vast.market.live() and moving(lines))
    await terminal.press("C-c")
    await terminal.until("Ctrl-C again")
    await back_at_the_prompt(terminal, status=130)
    assert street.vast.market.live() == []


async def test_no_is_an_answer(terminal, street):
    await ask_for_a_machine(terminal)
    await terminal.say("n")
    await back_at_the_prompt(terminal, status=1)
    assert street.vast.market.live() == []
