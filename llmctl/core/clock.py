"""Time as a value: rooms take a ``Clock`` so that tests own it."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time for records, monotonic time for durations; both in seconds."""

    def now(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go backwards."""
        ...


class SystemClock:
    """The machine's own clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
