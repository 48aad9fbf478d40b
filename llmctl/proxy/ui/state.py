"""What the page shows, as one JSON document made when it is asked for."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.core.logs import redact
from llmctl.core.money import decimal_text
from llmctl.core.reports_cost import Spend
from llmctl.ledger.schema import step_ms
from llmctl.ledger.totals import percentiles
from llmctl.proxy.activity import STEP_S, Activity, Failure
from llmctl.proxy.auth import OPEN_TENANT
from llmctl.proxy.messages import Record
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.pipeline import Pipeline

log = logging.getLogger(__name__)

MAX_ROWS = 50
SPEND_FRESH_S = 30.0

ReadSpend = Callable[[], Spend]
"""Blocking; raises ``LlmctlError``."""


class OpenRequest(Struct, frozen=True, kw_only=True):
    """A request that is being answered."""

    request_id: str
    tenant: str
    model: str
    """The engine's, or the name that was asked for while none has it."""
    backend: str
    """Empty while no engine has begun to answer."""
    cache: str
    """``miss``, ``shared`` or ``bypass``; empty while that is not known."""
    stage: str
    """``reading`` the request, ``waiting`` for the engine's first word, or ``answering``."""
    stream: bool
    age_s: float
    tokens: int
    tokens_per_s: float | None
    """Since the first token; None before it."""


class Recent(Struct, frozen=True, kw_only=True):
    """The last quarter of an hour; lists have one figure per step, oldest first."""

    began: float
    """Of the first step, seconds since the epoch, UTC."""
    step_s: int
    tokens_per_s: list[float]
    """Made by engines."""
    cached: list[int]
    """Requests by what answered them."""
    engine: list[int]
    failed: list[int]
    first_token_p50_ms: list[float | None]
    """Of answers an engine made; None where none began."""
    first_token_p95_ms: list[float | None]
    hit_ratio: float | None
    """Over all of it; None where nobody looked into the cache."""
    p50_ms: float | None
    p95_ms: float | None


class Money(Struct, frozen=True, kw_only=True):
    """Decimal text in US dollars, by our own record."""

    today_usd: str
    month_usd: str
    usd_per_hour: str
    timezone: str
    complete: bool
    """False where something that was rented has no known price."""


class State(Struct, frozen=True, kw_only=True):
    """The whole page."""

    at: float
    """Seconds since the epoch, UTC."""
    everything: bool
    """Whether this viewer is shown what all tenants do, and money."""
    health: Mapping[str, Any]
    """The document of ``GET /health``."""
    open: list[OpenRequest]
    open_total: int
    tokens_per_s: float
    queued: int
    hit_ratio: float | None
    """Since the proxy started."""
    requests: int
    recent: Recent
    money: Money | None
    """None where there is no record of rentals, or the viewer is not the operator."""
    money_problem: str
    failures: list[Failure]
    """Newest first."""


class Purse:
    """Reads the spending at most twice a minute, in a thread, and only if somebody asks."""

    def __init__(self, read: ReadSpend | None, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._known: Spend | None = None
        self._problem = ""
        self._asked = float("-inf")

    async def look(self) -> tuple[Spend | None, str]:
        """Return what is known, and why nothing is."""
        now = self._clock.monotonic()
        if self._read is not None and now - self._asked >= SPEND_FRESH_S:
            self._asked = now
            try:
                self._known, self._problem = await asyncio.to_thread(self._read), ""
            except LlmctlError as failure:
                log.info("spending is not known: %s", failure)
                self._known, self._problem = None, failure.message
        return self._known, self._problem


class Observer:
    """Puts the document together."""

    def __init__(
        self,
        pipeline: Pipeline,
        metrics: Metrics,
        *,
        health: Callable[[], Mapping[str, Any]],
        purse: Purse,
        clock: Clock,
    ) -> None:
        self._pipeline = pipeline
        self._metrics = metrics
        self._health = health
        self._purse = purse
        self._clock = clock

    async def state(self, tenant: str) -> State:
        """Return what ``tenant`` may see: requests of their own, and all for the operator."""
        everything = tenant == OPEN_TENANT
        spend, problem = await self._purse.look() if everything else (None, "")
        health, activity, now = self._health(), self._pipeline.activity, self._clock.monotonic()
        visible = [each for each in activity.open if everything or each.tenant == tenant]
        visible.sort(key=lambda each: each.arrived)
        return State(
            at=self._clock.now(),
            everything=everything,
            health=health,
            open=[_open_request(each, now) for each in visible[:MAX_ROWS]],
            open_total=len(activity.open),
            tokens_per_s=self._speed(now),
            queued=sum(backend.queued for backend in health["backends"]),
            hit_ratio=self._metrics.hit_ratio,
            requests=self._metrics.requests.total(),
            recent=self._recent(activity),
            money=None if spend is None else _money(spend),
            money_problem=problem,
            failures=[
                _shown(each)
                for each in reversed(activity.failures)
                if everything or each.tenant == tenant
            ],
        )

    def _speed(self, now: float) -> float:
        return sum(
            _rate(generation.tokens, now - generation.first_content_at) or 0.0
            for generation in self._pipeline.generations()
            if generation.first_content_at is not None
        )

    def _recent(self, activity: Activity) -> Recent:
        steps = activity.steps()
        tokens = activity.tokens_by_step(self._pipeline.generations())
        looked = sum(step.looked for step in steps)
        latencies: Counter[int] = Counter()
        for step in steps:
            latencies.update(step.first_token)
        by_step = [_latencies(step.first_token) for step in steps]
        p50, p95 = _latencies(latencies)
        return Recent(
            began=activity.began,
            step_s=STEP_S,
            tokens_per_s=[round(made / STEP_S, 2) for made in tokens],
            cached=[step.cached for step in steps],
            engine=[step.engine for step in steps],
            failed=[step.failed for step in steps],
            first_token_p50_ms=[found[0] for found in by_step],
            first_token_p95_ms=[found[1] for found in by_step],
            hit_ratio=sum(step.cached for step in steps) / looked if looked else None,
            p50_ms=p50,
            p95_ms=p95,
        )


def _open_request(record: Record, now: float) -> OpenRequest:
    generation = record.generation
    began = None if generation is None else generation.first_content_at
    tokens = 0 if generation is None else generation.tokens
    return OpenRequest(
        request_id=record.request_id,
        tenant=record.tenant,
        model=generation.model_name if generation is not None else record.asked,
        backend="" if generation is None else generation.engine_name,
        cache="" if generation is None else record.cache.value,
        stage=_stage(record),
        stream=record.stream,
        age_s=round(now - record.arrived, 2),
        tokens=tokens,
        tokens_per_s=None if began is None else _rate(tokens, now - began),
    )


def _stage(record: Record) -> str:
    if record.generation is None:
        return "reading"
    return "waiting" if record.generation.first_content_at is None else "answering"


def _rate(tokens: int, seconds: float) -> float | None:
    """Return tokens after the first ÷ time since the first."""
    return round(max(0, tokens - 1) / seconds, 2) if seconds > 0 else None


def _latencies(counts: Mapping[int, int]) -> tuple[float | None, float | None]:
    """Return p50 and p95 in milliseconds."""
    p50, p95 = percentiles(counts, 0.50, 0.95)
    if p50 is None or p95 is None:
        return None, None
    return round(step_ms(p50), 1), round(step_ms(p95), 1)


def _money(spend: Spend) -> Money:
    return Money(
        today_usd=decimal_text(spend.today_usd),
        month_usd=decimal_text(spend.month_usd),
        usd_per_hour=decimal_text(spend.usd_per_hour),
        timezone=spend.timezone,
        complete=not spend.unpriced_s and not spend.unpriced,
    )


def _shown(failure: Failure) -> Failure:
    return Failure(
        at=failure.at,
        request_id=failure.request_id,
        tenant=failure.tenant,
        model=failure.model,
        status=failure.status,
        type=failure.type,
        message=redact(failure.message[:300]),
    )
