"""A time limit that does not blame a server for our own event loop being late."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")

TURNS = 16
"""Steps of the countdown. A read takes 3 or 4 turns of the loop, on a new connection 10 to 14."""


async def within(budget_s: float, work: Awaitable[R]) -> R:
    """Await ``work`` for ``budget_s`` seconds, then cancel it and raise TimeoutError.

    The time is counted in steps, each begun when the one before has run: where the loop is busy
    for 30 ms at a time, answers wait in the socket for it, and the limit grows by as much.
    """
    async with asyncio.timeout(None) as limit:
        steps = _Steps(limit, budget_s / TURNS)
        try:
            return await work
        finally:
            steps.stop()


class _Steps:
    """Counts down, and makes the limit expire at the end."""

    __slots__ = ("_left", "_limit", "_loop", "_step_s", "_timer")

    def __init__(self, limit: asyncio.Timeout, step_s: float) -> None:
        self._limit = limit
        self._step_s = step_s
        self._left = TURNS
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(step_s, self._step)

    def stop(self) -> None:
        self._timer.cancel()

    def _step(self) -> None:
        self._left -= 1
        if self._left > 0:
            self._timer = self._loop.call_later(self._step_s, self._step)
        else:
            # expires in the next turn: what has already arrived still counts
            self._limit.reschedule(self._loop.time())
