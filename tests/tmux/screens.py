"""A terminal of tmux's own, for what is drawn in one: size, cursor, what was left behind."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.terminal import LOOK_EVERY_S, PATIENCE_S, Terminal


class Screen(Terminal):
    """A shell in it, so that what a program leaves behind can be seen."""

    def __init__(self, tmux: str, socket: Path) -> None:
        super().__init__(tmux, socket)
        self._tmux.insert(1, "-u")

    async def resize(self, columns: int, lines: int) -> None:
        await self._do("resize-window", "-x", str(columns), "-y", str(lines))

    async def lines(self) -> list[str]:
        return (await self.screen()).splitlines()

    async def cursor_is_shown(self) -> bool:
        return (await self._do("display-message", "-p", "#{cursor_flag}")).strip() == "1"

    async def is_in_its_own_screen(self) -> bool:
        """Whether the program switched to the alternate screen, and is still there."""
        return (await self._do("display-message", "-p", "#{alternate_on}")).strip() == "1"

    async def until_it(self, holds) -> None:
        """Wait until a question about the screen's lines is answered with yes."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(shown := await self.lines()):
            assert time.monotonic() < deadline, "\n".join(shown)
            await asyncio.sleep(LOOK_EVERY_S)


@asynccontextmanager
async def screen(directory: Path) -> AsyncIterator[Screen]:
    """Skips without tmux; everything in it is gone at the end."""
    tmux = shutil.which("tmux")
    if tmux is None:
        pytest.skip("live screens are not tested: there is no tmux on PATH")
    found = Screen(tmux, directory / "tmux.sock")
    try:
        yield found
    finally:
        await found.end()
