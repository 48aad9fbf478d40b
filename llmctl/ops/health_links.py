"""From what the parts say of themselves to the links that ``health`` shows, each with its fix.

Pure: nothing in here asks anybody.
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from llmctl.config.addresses import host_of, is_local
from llmctl.core.model import Health, InstanceHealth, LoadedModel, PartHealth, SemanticHealth
from llmctl.core.rental import Rental
from llmctl.core.reports_health import (
    AnyLink,
    BackendLink,
    CacheLink,
    CheckState,
    LedgerLink,
    ProxyLink,
    TunnelLink,
)
from llmctl.core.tunnel import TunnelState, TunnelStatus

_FULL_GPU = 0.999
"""Ollama's sizes are rounded to bytes of blocks."""
_LOCAL_ENGINE = {
    "ollama": "ollama serve  # or: llmctl serve --backend embedded; llmctl up",
    "embedded": "llmctl serve --backend embedded",
}


def on_record(rental: Rental) -> InstanceHealth:
    """Return what ``/health`` says of a rental."""
    return InstanceHealth(
        name=rental.name,
        provider=rental.provider.value,
        instance_id=rental.instance_id,
        phase=rental.phase.value,
        deadline=rental.deadline,
    )


def proxy_link(health: Health, url: str, latency_ms: float | None) -> ProxyLink:
    """Return the link of a proxy that answers."""
    trouble, fix = "", ""
    if health.status == "draining":
        trouble, fix = "it is stopping and takes no new requests", "llmctl serve"
    elif not health.serving:
        trouble, fix = "it answers, and no engine behind it does", "llmctl doctor"
    return ProxyLink(
        name=url,
        state=CheckState.BAD if trouble else CheckState.OK,
        latency_ms=latency_ms,
        trouble=trouble,
        fix=fix,
        status=health.status,
        version=health.version,
        uptime_s=health.uptime_s,
        generations=health.generations,
        streams=health.streams,
    )


def cache_link(part: PartHealth) -> CacheLink:
    """Return the link of the answer store; trouble there costs hits, not requests."""
    state, trouble, fix = CheckState.OK, part.detail, ""
    if not part.healthy:
        state = CheckState.BAD
        fix = _redis_fix(part) if part.kind == "redis" else file_fix(part.location, part.detail)
    elif part.advice:
        state, trouble, fix = CheckState.NOTE, part.advice, "llmctl doctor"
    elif trouble:
        state = CheckState.NOTE
    return CacheLink(
        name=part.location or part.kind or "off",
        state=state,
        latency_ms=part.latency_ms,
        trouble=trouble,
        fix=fix,
        store=part.kind,
        breaker=part.breaker,
        entries=part.entries,
        bytes=part.bytes,
    )


def ledger_link(part: PartHealth) -> LedgerLink:
    """Return the link of the record of requests."""
    note = CheckState.NOTE if part.detail else CheckState.OK
    return LedgerLink(
        name=part.location or "-",
        state=note if part.healthy else CheckState.BAD,
        latency_ms=part.latency_ms,
        trouble=part.detail,
        fix="" if part.healthy else file_fix(part.location, part.detail),
        waiting=part.waiting,
        dropped=part.dropped,
    )


def backend_link(part: PartHealth) -> BackendLink:
    """Return the link of an engine; one that has spilled to the processor is told of."""
    state, trouble, fix = backend_trouble(part.loaded)
    if not part.healthy:
        state, trouble, fix = CheckState.BAD, part.detail, engine_fix(part.name, part.detail)
    elif part.cooldown_s and state is CheckState.OK:
        state = CheckState.NOTE
        trouble = f"it failed a moment ago; others are preferred for {part.cooldown_s:g} s"
    return BackendLink(
        name=part.name,
        state=state,
        latency_ms=part.latency_ms,
        trouble=trouble,
        fix=fix,
        engine=part.kind,
        version=part.version,
        models=len(part.models),
        loaded=part.loaded,
        in_flight=part.in_flight,
        queued=part.queued,
    )


def backend_trouble(loaded: Iterable[LoadedModel]) -> tuple[CheckState, str, str]:
    """Tell of a model that has spilled to the processor: verdict, why, and what to type."""
    spilled = next((one for one in loaded if _is_spilled(one)), None)
    if spilled is None:
        return CheckState.OK, "", ""
    trouble = f"{_on_cpu(spilled)} of {spilled.name} runs on the processor, which is slow"
    smaller = (spilled.context_tokens or 65536) // 2
    return CheckState.NOTE, trouble, f"llmctl serve --num-ctx {smaller}"


def tunnel_link(status: TunnelStatus, *, holder: str) -> TunnelLink:
    """Return the link of a tunnel; ``holder`` is ``proxy``, or the process that holds it."""
    well = status.state is TunnelState.UP and not status.detail
    state = CheckState.OK if well else CheckState.BAD
    if not well and status.state is TunnelState.SUSPECT:
        state = CheckState.NOTE
    return TunnelLink(
        name=status.name,
        state=state,
        latency_ms=status.round_trip_ms,
        trouble="" if well else status.detail or f"it is {status.state.value}",
        fix="" if well else _tunnel_fix(status, holder),
        tunnel=status.state.value,
        holder=holder,
        connected_s=status.uptime_s,
        reconnects=status.reconnects,
    )


def semantic_link(tier: SemanticHealth) -> CacheLink:
    """Return the link of the semantic tier; trouble there costs hits, not requests."""
    fix = ""
    if not tier.healthy:
        fix = cache_link(tier.journal).fix if tier.journal.detail else "llmctl cache test"
        fix = "pip install 'llmctl[semantic]'" if "pip install" in tier.detail else fix
    return CacheLink(
        name=f"in other words: {tier.mode}",
        state=CheckState.OK if tier.healthy else CheckState.BAD,
        trouble=tier.detail,
        fix=fix,
        store=tier.journal.kind,
        entries=tier.entries,
    )


def links_of(health: Health) -> list[AnyLink]:
    """Return the links that a running proxy tells of, but for itself and the token."""
    links: list[AnyLink] = []
    if health.cache is not None:
        links.append(cache_link(health.cache))
    if health.semantic is not None:
        links.append(semantic_link(health.semantic))
    if health.ledger is not None:
        links.append(ledger_link(health.ledger))
    links += [backend_link(part) for part in health.backends]
    links += [tunnel_link(status, holder="proxy") for status in health.tunnels]
    return links


def engine_fix(name: str, detail: str) -> str:
    """Return what to type about an engine (``ollama:http://…``) that is not well."""
    kind, _, url = name.partition(":")
    if "LLMCTL_BACKEND_API_KEY" in detail:
        return "export LLMCTL_BACKEND_API_KEY=…, then llmctl serve"
    host = host_of(url)
    if host.endswith(".localhost"):
        return f"llmctl up {host.removesuffix('.localhost')}"
    if kind in _LOCAL_ENGINE and (kind == "embedded" or is_local(host)):
        return _LOCAL_ENGINE[kind]
    path = "/api/version" if kind == "ollama" else "/v1/models"
    return f"curl -sS {shlex.quote(url + path)}"


def file_fix(location: str, detail: str) -> str:
    """Return what to type about a file of ours that cannot be used."""
    path = Path(location)
    if "no space" in detail:
        return f"df -h {shlex.quote(str(path.parent))}"
    if "locked" in detail:
        return f"fuser -v {shlex.quote(location)}"
    if "network file system" in detail:
        return "export LLMCTL_HOME=… on a local disk, then llmctl serve"
    return f"ls -ld {shlex.quote(str(path.parent))} {shlex.quote(location)}"


def _redis_fix(part: PartHealth) -> str:
    if "REDIS_PASSWORD" in part.detail:
        return "export REDIS_PASSWORD=…, then llmctl serve"
    if part.location.startswith("unix://"):
        socket = part.location.removeprefix("unix://").partition("?")[0]
        return f"redis-cli -s {shlex.quote(socket)} ping"
    return f"redis-cli -u {shlex.quote(part.location)} ping"


def _tunnel_fix(status: TunnelStatus, holder: str) -> str:
    name = shlex.quote(status.name)
    if status.given_up:
        return f"llmctl instance trust {name}"
    if status.state is TunnelState.UP:  # the way is open, and nothing answers at its end
        return f"llmctl up {name}"
    if holder == "proxy":
        return f"llmctl instance show {name}"
    return f"llmctl tunnel stop {name}; llmctl tunnel {name} --background"


def _is_spilled(model: LoadedModel) -> bool:
    return model.gpu_share is not None and 0 < model.gpu_share < _FULL_GPU


def _on_cpu(model: LoadedModel) -> str:
    return f"{100 - round(100 * (model.gpu_share or 0))} %"
