"""When to try again."""

import random
from collections.abc import Callable


class Backoff:
    """Full jitter over a doubling bound; what lasted long enough starts again from the first.

    Full jitter spreads many clients of one machine better than a fixed part with some noise.
    """

    def __init__(
        self,
        *,
        first_s: float,
        longest_s: float,
        gate_s: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._gate_s = gate_s
        self._jitter = jitter
        self._failures = 0

    def next_s(self) -> float:
        """Return how long to wait after one more failure."""
        bound = min(self._longest_s, self._first_s * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return bound * self._jitter()

    def lasted(self, seconds: float) -> None:
        """Count a connection that has ended; one that died young was a failure as well."""
        if seconds >= self._gate_s:
            self._failures = 0
