"""An event loop in which waiting takes no time: its clock jumps to the next timer."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

from tests.clocks import ManualClock


class _Jumping(selectors.SelectSelector):
    """Never waits: the time it should have waited is over at once."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("everybody waits for ever")
        if timeout > 0:
            self._clock.advance(timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_Jumping(clock))
        self._virtual = clock

    def time(self) -> float:
        return self._virtual.monotonic()


def run(main: Callable[[ManualClock], Coroutine[Any, Any, None]]) -> None:
    """Run ``main(clock)``; loop and clock show the same time."""
    clock = ManualClock()
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        runner.run(main(clock))
