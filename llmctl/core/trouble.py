"""What is wrong with one part of us: said when it begins and when it ends, not at every failure."""

import logging

from llmctl.core.clock import Clock

QUIET_S = 60.0
"""A disk that is nearly full takes some writes and refuses others: that is one trouble."""


class Trouble:
    """The one sentence ``status`` shows while something does not work; empty while it does."""

    __slots__ = ("_clock", "_log", "_part", "_quiet_until", "_said", "detail")

    def __init__(self, log: logging.Logger, part: str, *, clock: Clock) -> None:
        self._log = log
        self._part = part
        self._clock = clock
        self._quiet_until = float("-inf")
        self._said = False
        self.detail = ""

    def begin(self, detail: str) -> None:
        """Keep the sentence; warn unless it follows another failure, or did a moment ago."""
        if not self.detail and self._clock.monotonic() >= self._quiet_until:
            self._quiet_until = self._clock.monotonic() + QUIET_S
            self._said = True
            self._log.warning("%s", detail)
        self.detail = detail

    def end(self) -> None:
        """Forget it, and say that it works again if its beginning was said."""
        if self.detail and self._said:
            self._said = False
            self._log.warning("%s works again", self._part)
        self.detail = ""
