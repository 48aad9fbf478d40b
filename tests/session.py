"""Records docs/session.svg: the real program, in a real terminal, against an emulated market.

    python -m tests.session

Needs tmux, sshd and zstd. What a person would type is typed, and the screen is drawn as it was.
"""

import asyncio
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import httpx
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from rich.text import Text

from tests.e2e.rent.conftest import Street, a_street
from tests.tmux.screens import Screen, screen

PICTURE = Path(__file__).parent.parent / "docs" / "session.svg"
PROMPT = "$ "
COLUMNS, LINES = 96, 120
FROM_ELSEWHERE = re.compile(r"@font-face \{.*?\}\s*|<!--.*?-->\s*", re.DOTALL)
QUESTIONS = ("How do I undo the last commit?", "What does git rebase do?")


async def record() -> str:
    """Return what the terminal shows at the end, with its colours."""
    with scratch() as path:
        async with a_street(path) as street, screen(path) as terminal:
            tools = path / "tools"
            tools.mkdir()
            command = tools / "llmctl"
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmctl "$@"\n')
            command.chmod(0o755)
            environment = {
                **street.environment,
                "PATH": f"{tools}:{os.environ['PATH']}",
                "HOME": str(path),
                "LANG": "C.UTF-8",
                "PS1": PROMPT,
                "TERM": "screen-256color",
                "LLMCTL_SERVE_PORT": "8123",
                "LLMCTL_AUTH_TOKEN": "llmctl_" + "a" * 43,
            }
            await terminal.start(["bash", "--norc", "--noprofile"], environment, path)
            await terminal.resize(COLUMNS, LINES)
            await at_the_prompt(terminal)
            await play(terminal, street)
            return await terminal._do("capture-pane", "-p", "-e")


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a directory whose name may be seen in a picture."""
    path = Path(tempfile.gettempdir()) / "demo"
    path.mkdir(mode=0o700)
    try:
        yield path
    finally:
        shutil.rmtree(path)


async def play(terminal: Screen, street: Street) -> None:
    await terminal.say("llmctl up --provider vast")
    await terminal.until("[y/N]")
    await terminal.press("y")
    await terminal.press("Enter")
    await terminal.until("next: llmctl serve")
    await at_the_prompt(terminal)
    serving = await street.start(
        "serve", "main", LLMCTL_SERVE_PORT="8123", LLMCTL_AUTH_TOKEN="llmctl_" + "a" * 43
    )
    try:
        async with asyncio.timeout(60):
            while not await answers():
                await asyncio.sleep(0.1)
        for number in range(8):
            await ask(QUESTIONS[number % 2])
        for command in ("health", "stats"):
            await terminal.say(f"llmctl {command}")
            await at_the_prompt(terminal)
    finally:
        serving.terminate()
        await serving.communicate()
    await terminal.say("llmctl down --yes")
    await at_the_prompt(terminal)


async def at_the_prompt(terminal: Screen) -> None:
    await terminal.until_it(lambda lines: [line for line in lines if line][-1] == PROMPT.strip())


async def answers() -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get("http://127.0.0.1:8123/health/ready")).status_code == 200
        except httpx.TransportError:
            return False


async def ask(question: str) -> None:
    body = {
        "model": "claude-sonnet-4-5",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": question}],
    }
    async with httpx.AsyncClient(headers={"x-api-key": "llmctl_" + "a" * 43}) as client:
        answer = await client.post("http://127.0.0.1:8123/v1/messages", json=body, timeout=60)
        answer.raise_for_status()


def picture(shown: str) -> str:
    """Return the screen as SVG; fonts are those of whoever looks at it."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True)
    lines = shown.rstrip().removesuffix(PROMPT.strip()).rstrip().splitlines()
    for line in lines:
        console.print(Text.from_ansi(line), highlight=False, overflow="crop", no_wrap=True)
    svg = console.export_svg(title="llmctl", theme=DEFAULT_TERMINAL_THEME, unique_id="llmctl")
    return FROM_ELSEWHERE.sub("", svg)


if __name__ == "__main__":
    PICTURE.write_text(picture(asyncio.run(record())))
