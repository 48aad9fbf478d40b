"""Whether the other end still lives, judged by answered keepalives; plain arithmetic on times.

paramiko's own ``set_keepalive`` asks for no answer and so notices nothing (measured: a frozen peer
was not missed in 40 s).
"""

from typing import NamedTuple

INTERVAL_S = 1.0
LIMIT_S = 2.0
LOOK_S = 0.25
"""Between two looks while an answer is due."""
LATE_S = 1.0
"""Without an answer for so long, the other end is suspect."""
OVERSLEPT_S = 0.5
"""A look so much later than planned means that we were asleep, not the other end."""


class Verdict(NamedTuple):
    """What to do now, and when to look again."""

    ask: bool = False
    dead: bool = False
    look_in_s: float = LOOK_S


class Heartbeat:
    """At most one question is under way. Times are monotonic seconds.

    Anything heard since the question counts as an answer to whether the other end lives: behind a
    long upload the question itself may wait in our own buffers.
    """

    def __init__(
        self, now: float, *, interval_s: float = INTERVAL_S, limit_s: float = LIMIT_S
    ) -> None:
        self._interval_s = interval_s
        self._limit_s = limit_s
        self._ask_at = now
        self._planned = now
        self._waiting_since: float | None = None
        self._sent_at: float | None = None
        self._excused_s = 0.0
        self.heard_at = now
        """When a message came last; set by the reader."""
        self.round_trip_s: float | None = None

    def look(self, now: float) -> Verdict:
        """Judge."""
        if now - self._planned > OVERSLEPT_S:
            self._excused_s += now - self._planned
        verdict = self._judge(now)
        self._planned = now + verdict.look_in_s
        return verdict

    def suspect(self, now: float) -> bool:
        """Whether an answer is late."""
        return self._silent_s(now) > LATE_S

    def sent(self, now: float) -> None:
        """The question has left our queue."""
        self._sent_at = now

    def answered(self, now: float) -> None:
        """Its answer came."""
        if self._sent_at is not None:
            self.round_trip_s = now - self._sent_at
        self._waiting_since = self._sent_at = None
        self.heard_at = now

    def _judge(self, now: float) -> Verdict:
        if self._waiting_since is None:
            if now < self._ask_at:
                return Verdict(look_in_s=self._ask_at - now)
            self._waiting_since, self._excused_s = now, 0.0
            self._ask_at = now + self._interval_s
            return Verdict(ask=True)
        return Verdict(dead=self._silent_s(now) >= self._limit_s)

    def _silent_s(self, now: float) -> float:
        if (since := self._waiting_since) is None:
            return 0.0
        return now - max(since, self.heard_at) - self._excused_s
