"""A terminal without a person: tmux with a socket of its own."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.processes import base_environment, run

PATIENCE_S = 60.0
LOOK_EVERY_S = 0.1


class Terminal:
    """One program on a screen of 150 × 45."""

    def __init__(self, tmux: str, socket: Path) -> None:
        self._tmux = [tmux, "-S", str(socket), "-f", "/dev/null"]
        self._environment = base_environment(socket.parent / "tmux-home")

    async def start(self, command: list[str], environment: Mapping[str, str], cwd: Path) -> None:
        variables = [f"{name}={value}" for name, value in environment.items()]
        program = ["env", "-i", *variables, *command]
        await self._do("new-session", "-d", "-x", "150", "-y", "45", "-c", str(cwd), *program)

    async def screen(self) -> str:
        return await self._do("capture-pane", "-p")

    async def until(self, text: str) -> None:
        """Wait until the screen shows ``text``."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in (shown := await self.screen()):
            assert time.monotonic() < deadline, f"{text!r} never came up on\n{shown}"
            await asyncio.sleep(LOOK_EVERY_S)

    async def say(self, text: str) -> None:
        """Type a line and press Enter, which has to come apart from it to be no paste."""
        await self._do("send-keys", "-l", text)
        await self.until(text)
        await self._do("send-keys", "Enter")

    async def press(self, key: str) -> None:
        await self._do("send-keys", key)

    async def end(self) -> None:
        await run(*self._tmux, "kill-server", environment=self._environment)

    async def _do(self, *arguments: str) -> str:
        ended = await run(*self._tmux, *arguments, environment=self._environment)
        assert ended.code == 0, (arguments[:2], ended.stderr)
        return ended.stdout


@asynccontextmanager
async def terminal(directory: Path) -> AsyncIterator[Terminal]:
    """A terminal that is gone at the end, with what runs in it; skips without tmux."""
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("the interactive client is not tested: there is no tmux on PATH")
    found = Terminal(tmux, directory / "tmux.sock")
    try:
        yield found
    finally:
        await found.end()
