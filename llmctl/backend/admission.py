"""A fixed number of requests at once, and a bounded queue for the rest."""

import asyncio
from collections import deque

from llmctl.protocol.errors import ApiError, overloaded


class Admission:
    """The slots of one engine.

    Requests with tools, somebody's conversation, go before background ones (titles, summaries),
    and within each kind by arrival. ``leave`` hands the slot straight to the next in line.
    """

    def __init__(self, name: str, *, parallel: int, queue: int) -> None:
        self._name = name
        self._parallel = parallel
        self._queue = queue
        self.in_flight = 0
        self._waiting: tuple[deque[asyncio.Future[None]], deque[asyncio.Future[None]]]
        self._waiting = (deque(), deque())
        """Main requests and background ones."""

    @property
    def queued(self) -> int:
        """Requests that wait for a slot."""
        return len(self._waiting[0]) + len(self._waiting[1])

    async def enter(self, *, background: bool, within_s: float) -> None:
        """Take a slot, waiting for one; raises ``ApiError`` 529 if the queue is full or too slow.

        The caller calls ``leave`` once afterwards, unless this raised.
        """
        if self.in_flight < self._parallel:
            self.in_flight += 1
            return
        if self.queued >= self._queue:
            raise self._full()
        line = self._waiting[background]
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            async with asyncio.timeout(within_s):
                await turn
        except TimeoutError:
            self._give_up(line, turn)
            raise overloaded(f"no slot of {self._name} became free within {within_s:g} s") from None
        except asyncio.CancelledError:
            self._give_up(line, turn)
            raise

    def leave(self) -> None:
        """Free a slot, or hand it to the next in line."""
        for line in self._waiting:
            while line:
                turn = line.popleft()
                if not turn.done():  # done: cancelled a moment ago
                    turn.set_result(None)
                    return
        self.in_flight -= 1

    def _give_up(self, line: deque[asyncio.Future[None]], turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.leave()  # the slot came in the same moment
        elif turn in line:
            line.remove(turn)

    def _full(self) -> ApiError:
        return overloaded(
            f"{self._name} is busy: {self.in_flight} requests in progress, {self.queued} waiting",
            retry_after_s=5,
        )
