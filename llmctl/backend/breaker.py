"""When to leave an engine alone for a while."""

from collections import deque

from llmctl.core.clock import Clock
from llmctl.protocol.errors import ApiError

FAILURES = 3
WINDOW_S = 30.0
COOLDOWN_S = 15.0


def is_outage(error: ApiError) -> bool:
    """Tell an engine's own failure from a request's, a model's absence and a model's bad output."""
    bad_output = error.status == 500 and error.retry_once
    return error.another_backend and error.status != 404 and not bad_output


class Breaker:
    """Out for ``COOLDOWN_S`` after ``FAILURES`` within ``WINDOW_S``; then one request may try.

    It only advises: the pool prefers engines that are ``ready``, and uses the others when nothing
    else is left, since a refusal of ours would help nobody then.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: deque[float] = deque(maxlen=FAILURES)
        self._until: float | None = None
        self._probing = False

    @property
    def ready(self) -> bool:
        """Whether a request may be sent now."""
        return self._until is None or (self.cooldown_s == 0 and not self._probing)

    @property
    def cooldown_s(self) -> float:
        """Seconds until it may be tried again; 0 when it may."""
        return 0.0 if self._until is None else max(0.0, self._until - self._clock.monotonic())

    def began(self) -> bool:
        """A request is being sent; returns whether it is the one that tries after a cooldown."""
        probe = self._until is not None and self.ready
        self._probing = self._probing or probe
        return probe

    def succeeded(self) -> None:
        """An answer has begun."""
        if self._until is not None:
            self.reset()

    def failed(self) -> None:
        """The engine failed, before or in an answer."""
        now = self._clock.monotonic()
        self._failures.append(now)
        often = len(self._failures) == FAILURES and now - self._failures[0] <= WINDOW_S
        if often or self._probing:
            self._until = now + COOLDOWN_S
        self._probing = False

    def gave_up(self, *, probe: bool) -> None:
        """The request ended without telling anything about the engine."""
        if probe:
            self._probing = False

    def reset(self) -> None:
        """Forget everything: the engine works."""
        self._failures.clear()
        self._until = None
        self._probing = False
