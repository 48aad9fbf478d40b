"""Waiting for what another thread, process or server is about to do."""

import asyncio
import time
from collections.abc import Callable


async def eventually(condition: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Return as soon as ``condition`` holds; fail when it does not in good time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"still not true after {within_s:g} s")
        await asyncio.sleep(0.002)
