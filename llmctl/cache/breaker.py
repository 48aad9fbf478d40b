"""Circuit breaker: when to stop asking a server that does not answer, and when to ask again."""

from enum import StrEnum


class BreakerState(StrEnum):
    """Whether requests may use the server."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    """Open for requests, while one probe finds out whether it answers again."""


class Breaker:
    """Counts failures in a row; pure, the owner makes the probes.

    Begins open, since a server nobody has reached yet is not one to wait for. After a probe has
    succeeded one failure is enough to open it again, until a request has succeeded too.
    """

    def __init__(
        self, *, failures: int = 3, probe_s: float = 0.5, misconfigured_probe_s: float = 30.0
    ) -> None:
        self.state = BreakerState.OPEN
        self.reason = "not reached yet"
        self._limit = failures
        self._probe_s = probe_s
        self._misconfigured_probe_s = misconfigured_probe_s
        self._failures = 0
        self._misconfigured = False

    @property
    def closed(self) -> bool:
        """Whether requests may use the server."""
        return self.state is BreakerState.CLOSED

    @property
    def suspicious(self) -> bool:
        """Whether the last call failed, closed or not."""
        return self._failures > 0

    @property
    def probe_after_s(self) -> float:
        """Pause before the next probe; long when only a change of configuration helps."""
        return self._misconfigured_probe_s if self._misconfigured else self._probe_s

    def failed(self, reason: str) -> None:
        """Count a call that got no answer; a failed probe opens at once."""
        self._failures += 1
        self.reason = reason
        if not self.closed or self._failures >= self._limit:
            self._misconfigured = False
            self.state = BreakerState.OPEN

    def refused(self, reason: str) -> None:
        """Open for long: the server answers, but will go on saying no (password, rights, TLS)."""
        self._failures += 1
        self.reason = reason
        self._misconfigured = True
        self.state = BreakerState.OPEN

    def succeeded(self) -> None:
        """Forget the failures: a request was answered."""
        if self.closed:
            self._failures = 0
            self.reason = ""

    def probing(self) -> None:
        """Mark that a probe is under way."""
        if not self.closed:
            self.state = BreakerState.HALF_OPEN

    def probe_succeeded(self) -> None:
        """Close, on probation where it was open."""
        if self.closed:
            self._failures = 0
        else:
            self._failures = self._limit - 1
        self._misconfigured = False
        self.reason = ""
        self.state = BreakerState.CLOSED
