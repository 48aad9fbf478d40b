"""The chain from a client to the model as lines, each with its latency and its fix."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmctl.core.model import LoadedModel
from llmctl.core.reports_health import (
    AnyLink,
    AuthLink,
    BackendLink,
    CacheLink,
    CheckState,
    CompletionLink,
    HealthReport,
    InstanceLink,
    LedgerLink,
    ProxyLink,
    TunnelLink,
)
from llmctl.render.amounts import duration, size
from llmctl.render.checks import Row, milliseconds, rows_text


def health_text(report: HealthReport, *, width: int | None = None, colour: bool = False) -> str:
    """Return a line for each link, and one for all of them."""
    rows = [
        Row(
            state=link.state,
            kind=_kind(link),
            name=link.name,
            timing=milliseconds(link.latency_ms),
            detail=_detail(link),
            fix=link.fix,
        )
        for link in report.links
    ]
    return rows_text(rows, width=width, colour=colour) + f"\n{_verdict(report)}\n"


def health_document(report: HealthReport) -> dict[str, Any]:
    """Return what ``--json`` prints: the proxy's own answer, and every link that was looked at."""
    return {
        **report.document,
        "status": report.status,
        "healthy": report.healthy,
        "at": datetime.fromtimestamp(report.at, UTC).isoformat(timespec="milliseconds"),
        "links": msgspec.to_builtins(report.links),
    }


def _verdict(report: HealthReport) -> str:
    bad = sum(link.state is CheckState.BAD for link in report.links)
    if not bad:
        return "healthy"
    return f"{bad} of {len(report.links)} are not well"


def _kind(link: AnyLink) -> str:
    return str(link.__struct_config__.tag)


def _detail(link: AnyLink) -> str:
    """Return what is wrong, and what is known all the same."""
    facts = ", ".join(part for part in _facts(link) if part)
    if not link.trouble:
        return facts
    return f"{link.trouble}; {facts}" if facts else link.trouble


def _facts(link: AnyLink) -> list[str]:
    of: dict[str, Callable[[Any], list[str]]] = {
        "proxy": _proxy_facts,
        "auth": _auth_facts,
        "cache": _cache_facts,
        "ledger": _ledger_facts,
        "backend": _backend_facts,
        "tunnel": _tunnel_facts,
        "instance": _instance_facts,
        "completion": _completion_facts,
    }
    return of[_kind(link)](link)


def _proxy_facts(link: ProxyLink) -> list[str]:
    if not link.version:
        return []
    word = "" if link.status == "ok" else link.status
    streams = f"{link.streams} streams" if link.streams else ""
    return [word, f"llmctl {link.version}", f"up {duration(link.uptime_s)}", streams]


def _auth_facts(link: AuthLink) -> list[str]:
    if link.required is None or link.trouble:
        return []
    return ["accepted" if link.required else "no token is asked for"]


def _cache_facts(link: CacheLink) -> list[str]:
    breaker = f"breaker {link.breaker}" if link.breaker else ""
    entries = "" if link.entries is None else f"{link.entries:,} answers"
    return [link.store, breaker, entries, "" if link.bytes is None else size(link.bytes)]


def _ledger_facts(link: LedgerLink) -> list[str]:
    waiting = f"{link.waiting:,} rows waiting" if link.waiting else ""
    return [waiting, f"{link.dropped:,} rows lost" if link.dropped else ""]


def _backend_facts(link: BackendLink) -> list[str]:
    if link.state is CheckState.BAD:
        return []
    names = {"ollama": "Ollama"}
    version = f"{names.get(link.engine, link.engine)} {link.version}" if link.version else ""
    loaded = [_loaded(model) for model in link.loaded]
    if not loaded and link.engine == "ollama" and link.version:
        loaded = ["no model is loaded"]
    known = link.in_flight is not None
    return [version, *loaded, f"{link.in_flight} answering, {link.queued} waiting" if known else ""]


def _loaded(model: LoadedModel) -> str:
    context = f"{model.context_tokens:,} tokens" if model.context_tokens else ""
    facts = ", ".join(part for part in (context, _place(model.gpu_share)) if part)
    return f"{model.name} loaded ({facts})" if facts else f"{model.name} loaded"


def _place(gpu_share: float | None) -> str:
    if gpu_share is None:
        return ""
    if gpu_share <= 0:
        return "on the processor"
    share = round(100 * gpu_share)
    return "all on the GPU" if share >= 100 else f"{share} % on the GPU"


def _tunnel_facts(link: TunnelLink) -> list[str]:
    again = f"{link.reconnects} reconnects" if link.reconnects else "no reconnects"
    since = f"connected for {duration(link.connected_s)}" if link.connected_s else ""
    return [link.tunnel, since, again if since else "", link.holder]


def _instance_facts(link: InstanceLink) -> list[str]:
    where = f"{link.provider} {link.instance_id}" if link.instance_id else link.provider
    watchdog = ""
    if link.ends_in_s is not None:
        by = "armed, ends" if link.watchdog is CheckState.OK else "on record to end"
        watchdog = f"{by} in {duration(link.ends_in_s)}"
    return [where, link.gpu, link.market or link.phase, watchdog]


def _completion_facts(link: CompletionLink) -> list[str]:
    if not link.completion_tokens:
        return []
    rate = "" if link.tokens_per_s is None else f"{link.tokens_per_s:,.1f} tokens/s"
    return ["until the first token", f"then {link.completion_tokens} tokens", rate]
