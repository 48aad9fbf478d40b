"""``/health``: what every part says of itself, and how long the stores take to answer.

Asking often costs little: what touches a disk or the network is asked once a second at most, within
a limit, and the rest is at hand.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from llmctl import __version__
from llmctl.core.clock import Clock
from llmctl.core.model import InstanceHealth
from llmctl.core.tunnel import TunnelStatus
from llmctl.ledger.writer import LedgerStatus, LedgerWriter
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.pipeline import Pipeline

PROBE_EVERY_S = 1.0
PROBE_S = 0.5
"""Longest that one probe keeps ``/health`` waiting."""
PROBE_KEY = b"llmctl health probe"
"""Never set: reading it is what reading an answer is."""

State = Literal["ok", "degraded", "down", "draining"]


class Surroundings(Struct, frozen=True, kw_only=True):
    """What lies behind the engines, where the process that serves knows it."""

    tunnels: Callable[[], list[TunnelStatus]] = list
    """Those this process holds itself."""
    instances: Callable[[], list[InstanceHealth]] = list
    """Rented machines on record; may read a file, so it is called in a thread."""


ALONE = Surroundings()


class HealthDocument:
    """Makes the document of one proxy."""

    def __init__(
        self,
        pipeline: Pipeline,
        *,
        ledger: LedgerWriter | None,
        metrics: Metrics,
        auth: bool,
        clock: Clock,
        around: Surroundings = ALONE,
    ) -> None:
        self._pipeline = pipeline
        self._ledger = ledger
        self._metrics = metrics
        self._auth = auth
        self._clock = clock
        self._around = around
        self._started = clock.monotonic()
        self._probed_at = float("-inf")
        self._probing = asyncio.Lock()
        self._cache_ms: float | None = None
        self._ledger_ms: float | None = None
        self._instances: list[InstanceHealth] = []

    def state(self, *, draining: bool) -> State:
        """Say in one word how the proxy is; costs nothing."""
        if draining:
            return "draining"
        well = [backend.healthy for backend in self._pipeline.pool.status()]
        if not any(well):
            return "down"
        return "ok" if all(well) and self._stores_are_well() else "degraded"

    def document(self, *, draining: bool) -> dict[str, Any]:
        """Describe every part, with times and instances as ``probe`` last found them."""
        semantic = self._pipeline.semantic
        return {
            "status": self.state(draining=draining),
            "version": __version__,
            "uptime_s": round(self._clock.monotonic() - self._started, 3),
            "auth": self._auth,
            "backends": self._pipeline.pool.status(),
            "cache": replace(self._pipeline.answers.store.status(), latency_ms=self._cache_ms),
            "semantic": None if semantic is None else semantic.status(),
            "ledger": self._ledger_status(),
            "tunnels": self._around.tunnels(),
            "instances": self._instances,
            "generations": self._pipeline.running,
            "streams": self._metrics.streams,
        }

    async def probe(self) -> None:
        """Ask what has to be asked, unless that was done within the last second."""
        async with self._probing:
            now = self._clock.monotonic()
            if now - self._probed_at < PROBE_EVERY_S:
                return
            self._probed_at = now
            await asyncio.gather(self._probe_cache(), self._probe_ledger(), self._look_around())

    def _stores_are_well(self) -> bool:
        semantic, ledger = self._pipeline.semantic, self._ledger
        return (
            self._pipeline.answers.store.status().healthy
            and (ledger is None or ledger.status().healthy)
            and (semantic is None or semantic.status().healthy)
        )

    def _ledger_status(self) -> LedgerStatus | None:
        if self._ledger is None:
            return None
        return replace(self._ledger.status(), latency_ms=self._ledger_ms)

    async def _probe_cache(self) -> None:
        store = self._pipeline.answers.store
        self._cache_ms = await self._time(lambda: store.get(PROBE_KEY))

    async def _probe_ledger(self) -> None:
        if self._ledger is not None:
            self._ledger_ms = await self._time(self._ledger.flush)

    async def _time(self, ask: Callable[[], Awaitable[object]]) -> float | None:
        """Return how long an answer took in milliseconds; None where none came in time."""
        began = self._clock.monotonic()
        try:
            async with asyncio.timeout(PROBE_S):
                await ask()
        except (TimeoutError, RuntimeError):  # closed already
            return None
        return round((self._clock.monotonic() - began) * 1000, 2)

    async def _look_around(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROBE_S):
                self._instances = await asyncio.to_thread(self._around.instances)
