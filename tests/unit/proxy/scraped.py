"""A scrape in which everything there is occurs."""

from prometheus_client.parser import text_string_to_metric_families

from llmctl.backend.pool import BackendStatus
from llmctl.cache.store import StoreStatus
from llmctl.core.money import micro_usd
from llmctl.core.reports_cost import Limit, Spend
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.writer import LedgerStatus
from llmctl.proxy.exposition import exposition
from llmctl.proxy.metrics import Metrics

OLLAMA = "ollama:http://127.0.0.1:11434"
HEALTH = {
    "status": "degraded",
    "version": "1.2.3",
    "streams": 3,
    "generations": 2,
    "backends": [
        BackendStatus(
            name=OLLAMA,
            kind="ollama",
            healthy=True,
            detail="",
            models=["qwen3-coder:30b"],
            in_flight=2,
            queued=5,
            cooldown_s=1.5,
            failures=4,
        )
    ],
    "cache": StoreStatus(kind="sqlite", healthy=False, entries=10, bytes=4096, evicted=7),
    "ledger": LedgerStatus(healthy=True, written=31, waiting=1),
    "tunnels": [
        TunnelStatus(
            name="main", state=TunnelState.SUSPECT, connections=2, round_trip_ms=40.0, sent_bytes=9
        ),
        TunnelStatus(name="spare", state=TunnelState.DOWN),
    ],
}
SPEND = Spend(
    at=0.0,
    timezone="UTC",
    usd_per_hour=micro_usd("0.34"),
    today_usd=micro_usd("1.25"),
    month_usd=micro_usd("20"),
    projected_month_usd=micro_usd("40"),
    left_running_month_usd=micro_usd("60"),
    limits=[
        Limit(
            period="day",
            begins=0.0,
            ends=1.0,
            budget_usd=micro_usd("5"),
            spent_usd=micro_usd("1.25"),
        )
    ],
)


def usage(**fields) -> Usage:
    known = {"at": 0.0, "request_id": "r", "tenant": "t", "model_asked": "m"}
    return Usage(**(known | fields))


def busy() -> Metrics:
    """Return the counters of a proxy to which a bit of everything has happened."""
    metrics = Metrics()
    made = {"model_used": "qwen3-coder:30b", "backend": OLLAMA, "cache": CacheOutcome.MISS}
    metrics.record(
        usage(
            **made,
            prompt_tokens=7,
            completion_tokens=11,
            first_token_ms=40.0,
            total_ms=540.0,
        )
    )
    metrics.record(usage(cache=CacheOutcome.HIT, prompt_tokens=10, completion_tokens=5))
    metrics.record(usage(status=529, error="overloaded_error"))
    metrics.semantic["served"] += 1
    return metrics


def families(metrics=None, health=HEALTH, spend=SPEND) -> dict:
    """Return what Prometheus would read, by the names it keeps."""
    text = exposition(metrics or busy(), health, spend).decode()
    return {
        f"{each.name}_total" if each.type == "counter" else each.name: each
        for each in text_string_to_metric_families(text)
    }


def samples(**what) -> dict[str, float]:
    """Return every sample as ``name{label="value"}`` → figure."""
    found = {}
    for family in families(**what).values():
        for sample in family.samples:
            labels = ",".join(f'{key}="{value}"' for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found
