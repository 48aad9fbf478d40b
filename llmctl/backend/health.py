"""Whether an engine answers and what it serves, asked again and again in the background."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

from llmctl.backend.base import Engine, Unreachable
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError

log = logging.getLogger(__name__)

HEALTHY_EVERY_S = 5.0
DOWN_EVERY_S = 0.5
MISSES = 2
"""Checks in a row that a busy engine must miss to count as down; a refusal counts at once."""


class Health:
    """What is known about one engine. ``changed`` is called whenever that changes."""

    def __init__(self, engine: Engine, *, changed: Callable[[], None]) -> None:
        self._engine = engine
        self._changed = changed
        self._misses = 0
        self._again = asyncio.Event()
        self.asked = asyncio.Event()
        """Set once the first check has ended, however it did."""
        self.healthy = False
        self.models: tuple[EngineModel, ...] | None = None
        """From the last check that succeeded; None before the first one."""
        self.reason = "not asked yet"
        """Why it is not healthy; empty when it is."""

    async def watch(self) -> None:
        """Check for ever."""
        while True:
            await self.check()
            self.asked.set()
            settled = self.healthy and not self._misses
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEALTHY_EVERY_S if settled else DOWN_EVERY_S):
                    await self._again.wait()
            self._again.clear()

    async def check(self) -> None:
        """Ask the engine once."""
        try:
            models = tuple(await self._engine.discover())
        except ApiError as error:
            self._missed(error.message, at_once=isinstance(error, Unreachable))
        except Exception as error:
            if self.healthy or self.models is None:
                log.exception("checking %s failed", self._engine.name)
            self._missed(f"the check itself failed: {error}", at_once=True)
        else:
            self._answered(models)

    def look_again(self) -> None:
        """Check now: a request found that something has changed."""
        self._again.set()

    def lost(self, reason: str) -> None:
        """A request found the engine unreachable: believe it, and look again now."""
        if self.healthy:
            self._down(reason)
            self.look_again()

    def _answered(self, models: tuple[EngineModel, ...]) -> None:
        was_healthy, before = self.healthy, self.models
        self.healthy, self.models, self.reason, self._misses = True, models, "", 0
        if not was_healthy:
            log.info("%s is up with %d models", self._engine.name, len(models))
        if not was_healthy or models != before:
            self._changed()

    def _missed(self, reason: str, *, at_once: bool) -> None:
        self._misses += 1
        if not self.healthy:
            self.reason = reason
        elif at_once or self._misses >= MISSES:
            self._down(reason)

    def _down(self, reason: str) -> None:
        log.warning("%s is down: %s", self._engine.name, reason)
        self.healthy, self.reason = False, reason
        self._changed()
