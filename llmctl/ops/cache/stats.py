"""``cache stats``: what is in the cache, and what it is good for."""

import asyncio
import statistics
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.cache.store import StoreStatus
from llmctl.config.schema import CostConfig
from llmctl.core.errors import LlmctlError
from llmctl.core.money import MicroUsd
from llmctl.core.reports_cache import Ages, CacheStats, CacheUsage, TierUse
from llmctl.core.usage import CacheOutcome
from llmctl.ledger import queries
from llmctl.ledger.costs import sums
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.totals import Totals
from llmctl.ops.cache.access import Access
from llmctl.ops.cost_use import FREE, Pricing
from llmctl.ops.prices import load_prices
from llmctl.ops.running import RunningProxy
from llmctl.semantic.report import SemanticReport, read_report

TIERS = {
    "exact": CacheOutcome.HIT,
    "semantic": CacheOutcome.SEMANTIC,
    "shared": CacheOutcome.SHARED,
}


class _Part(Struct):
    """The part of ``/health`` that is needed here."""

    cache: StoreStatus


async def collect(
    access: Access, proxy: RunningProxy, *, since: float | None
) -> tuple[CacheStats, SemanticReport | None]:
    """Return what is in the cache now and what it has done since ``since`` (epoch seconds).

    The report is None without a semantic tier. Raises ``LlmctlError`` for a store or a usage
    record that cannot be read.
    """
    running = await asyncio.to_thread(_running, proxy)
    stats = _in_memory(access, running) if access.kind == "memory" else await _stored(access)
    config = access.loaded.config
    ledger = access.paths.ledger_file
    usage = await asyncio.to_thread(usage_of, ledger, config.cost, since)
    stats = msgspec.structs.replace(
        stats, usage=usage, rejected=None if running is None else running.rejected
    )
    return stats, await semantic_report(access)


async def semantic_report(access: Access) -> SemanticReport | None:
    """Return what the semantic tier has done, or would have; None where there is none.

    What counts is what it has left behind: ``serve`` may have got it by a flag.
    """
    if access.journal is None:
        return None
    semantic = access.loaded.config.cache.semantic
    report = await read_report(access.journal, access.entries.seal, error_rate=semantic.error_rate)
    return None if semantic.mode == "off" and report.is_empty else report


def usage_of(ledger: Path, cost: CostConfig, since: float | None) -> CacheUsage | None:
    """Sum up the usage record; None where there is none. Raises ``LlmctlError``."""
    if not ledger.exists():
        return None
    with closing(open_read_only(ledger)) as connection:
        total = queries.summary(connection, since).total
        free = [each for each in sums(connection, since) if each.cache in FREE and not each.failed]
    pricing = Pricing(load_prices(cost.prices), cost.compare)
    prompt = sum(each.prompt_tokens for each in free)
    completion = sum(each.completion_tokens for each in free)
    return CacheUsage(
        requests=total.requests,
        looked=_looked(total),
        hit_ratio=total.hit_ratio,
        tiers={name: _tier(total, name) for name in TIERS},
        tokens_saved=prompt + completion,
        prompt_tokens_saved=prompt,
        completion_tokens_saved=completion,
        saved_usd=MicroUsd(sum(pricing.use_of(each).cloud_hits_usd for each in free)),
        since=since,
    )


def _looked(total: Totals) -> int:
    return sum(
        count
        for outcome, count in total.cache.items()
        if outcome in (CacheOutcome.MISS, *TIERS.values())
    )


def _tier(total: Totals, name: str) -> TierUse:
    return TierUse(hits=total.cache.get(TIERS[name], 0), ratio=total.tier_ratios.get(name))


def _running(proxy: RunningProxy) -> StoreStatus | None:
    try:
        answer = proxy.get("/health")
    except LlmctlError:
        return None
    try:
        return msgspec.json.decode(answer.body, type=_Part).cache
    except msgspec.MsgspecError:
        return None


async def _stored(access: Access) -> CacheStats:
    now = access.clock.now()
    ages: list[float] = []
    models: Counter[str] = Counter()
    total = size = 0
    async for stored in access.store.scan():
        total += 1
        size += len(stored.key) + len(stored.value)
        found = access.entries.opened(stored)
        if found is not None:
            ages.append(now - found.entry.created)
            models[found.meta.model] += 1
    readable = len(ages)
    limit = access.loaded.config.cache.max_bytes if access.kind == "sqlite" else None
    return _stats(
        access.entries.status(),
        entries=total,
        bytes=size,
        max_bytes=limit,
        unreadable=total - readable,
        ages=_ages(ages),
        by_model=dict(models.most_common()),
    )


def _in_memory(access: Access, running: StoreStatus | None) -> CacheStats:
    """Return what the proxy says of its memory, where nobody else can look."""
    limit = access.loaded.config.cache.memory_bytes
    if running is None:
        return _stats(access.entries.status(), max_bytes=limit)
    return _stats(running, entries=running.entries, bytes=running.bytes, max_bytes=limit)


def _stats(status: StoreStatus, **found: Any) -> CacheStats:
    unknown: dict[str, Any] = {
        "entries": None,
        "bytes": None,
        "unreadable": None,
        "ages": None,
        "by_model": {},
    }
    return CacheStats(
        store=status.kind,
        location=status.location,
        healthy=status.healthy,
        detail=status.detail,
        advice=status.advice,
        evicted=status.evicted,
        **(unknown | found),
    )


def _ages(ages: list[float]) -> Ages | None:
    if not ages:
        return None
    newest, middle, oldest = min(ages), statistics.median(ages), max(ages)
    return Ages(newest_s=round(newest), median_s=round(middle), oldest_s=round(oldest))
