"""A time limit that does not blame a server for our own event loop being late."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

R = TypeVar("R")

STEPS = 4
EXCUSED = 12
"""Late steps that do not count. A read takes 3 or 4 turns of the loop, on a new connection 14."""
LATE_S = 0.002
"""A loop with nothing else to do is late by up to a millisecond: that is the timer's resolution."""


async def within(budget_s: float, work: Awaitable[R]) -> R:
    """Await ``work`` for ``budget_s`` seconds, then cancel it and raise TimeoutError.

    The time is counted in steps, and one at whose end the loop comes late does not count: while
    the loop is busy for 30 ms at a time, answers lie in the socket and wait for it.
    """
    async with asyncio.timeout(None) as limit:
        steps = _Steps(limit, budget_s / STEPS)
        try:
            return await work
        finally:
            steps.stop()


class _Steps:
    """Counts down, and makes the limit expire at the end."""

    __slots__ = ("_due", "_excused", "_left", "_limit", "_loop", "_step_s", "_timer")

    def __init__(self, limit: asyncio.Timeout, step_s: float) -> None:
        self._limit = limit
        self._step_s = step_s
        self._left = STEPS
        self._excused = EXCUSED
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + step_s
        self._timer = self._loop.call_at(self._due, self._step)

    def stop(self) -> None:
        self._timer.cancel()

    def _step(self) -> None:
        now = self._loop.time()
        if now - self._due > LATE_S and self._excused > 0:
            self._excused -= 1
            self._due = now
        else:
            self._left -= 1
        if self._left > 0:
            # from the time it was due, or rounding by the timer would add up
            self._due += self._step_s
            self._timer = self._loop.call_at(self._due, self._step)
        else:
            # expires in the next turn: what has already arrived still counts
            self._limit.reschedule(now)
