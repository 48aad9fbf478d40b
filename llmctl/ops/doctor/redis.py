"""The Redis that keeps answers: version, way to it, what it does when full, how fast it is."""

import shlex

from llmctl.cache.address import RedisAddress
from llmctl.cache.redis_facts import RedisFacts, redis_facts
from llmctl.config.addresses import host_of, is_local
from llmctl.config.load import Loaded
from llmctl.core.errors import LlmctlError
from llmctl.core.reports_health import CheckState, Finding
from llmctl.ops.cache.stores import redis_place, store_kind

SECTION = "redis"


async def redis_findings(loaded: Loaded) -> list[Finding]:
    """Look at the configured Redis; raises ``ConfigError`` for an address that cannot be used."""
    if store_kind(loaded.config) != "redis":
        kind = store_kind(loaded.config)
        return [_finding("server", CheckState.UNKNOWN, f"not used: answers are kept in {kind}")]
    address = redis_place(loaded)
    try:
        facts = await redis_facts(address)
    except LlmctlError as failure:
        return [_finding("server", CheckState.BAD, failure.message, _way_in(address, failure))]
    return judged(facts, address.location, budget_s=loaded.config.redis.budget_s)


def judged(facts: RedisFacts, location: str, *, budget_s: float) -> list[Finding]:
    """Judge what a server says; pure."""
    return [
        _server(facts, location),
        _transport(facts, location),
        _policy(facts, location),
        _speed(facts, budget_s),
    ]


def _server(facts: RedisFacts, location: str) -> Finding:
    modules = ", ".join(facts.modules) if facts.modules else "none"
    detail = f"{facts.software} {facts.version} at {location}, modules: {modules}"
    if facts.cluster:
        detail += "; it is a cluster, and llmctl needs a single server"
        return _finding("server", CheckState.BAD, detail, "export REDIS_URL=redis://HOST:6379/0")
    if facts.replica:
        detail += "; it is a replica, which takes no writes"
        return _finding("server", CheckState.BAD, detail, "export REDIS_URL=redis://PRIMARY:6379/0")
    return _finding("server", CheckState.OK, detail)


def _transport(facts: RedisFacts, location: str) -> Finding:
    if facts.tls:
        return _finding("tls", CheckState.OK, "the way to it is encrypted")
    if location.startswith("unix:") or _is_loopback(location):
        return _finding("tls", CheckState.OK, "not needed: it is on this machine")
    detail = "the way to it is not encrypted; values are sealed, their sizes and times are not"
    fix = f"export REDIS_URL={shlex.quote(location.replace('redis://', 'rediss://', 1))}"
    return _finding("tls", CheckState.NOTE, detail, fix)


def _policy(facts: RedisFacts, location: str) -> Finding:
    limit = facts.room.max_bytes
    full = f"{facts.used_bytes / 1e6:,.0f} MB of "
    full += f"{limit / 1e6:,.0f} MB used" if limit else "no limit used"
    detail = f"maxmemory-policy {facts.room.policy or 'unknown'}, {full}"
    command = f"redis-cli {_reach(location)} CONFIG SET"
    if facts.room.policy == "noeviction":
        if not limit:
            detail += "; it may take all memory of its machine"
            fix = f"{command} maxmemory 1gb maxmemory-policy volatile-lru"
            return _finding("eviction", CheckState.NOTE, detail, fix)
        detail += "; when it is full nothing new is cached"
        return _finding(
            "eviction", CheckState.BAD, detail, f"{command} maxmemory-policy volatile-lru"
        )
    if facts.room.policy.endswith("-random"):
        detail += "; what is in use goes as easily as what is not"
        return _finding(
            "eviction", CheckState.NOTE, detail, f"{command} maxmemory-policy volatile-lru"
        )
    if facts.room.evicted:
        detail += f"; {facts.room.evicted:,} entries had to make room since it started"
        fix = f"{command} maxmemory {max(limit * 2 // 1_000_000, 1)}mb"
        return _finding("eviction", CheckState.NOTE, detail, fix if limit else "")
    return _finding("eviction", CheckState.OK, detail)


def _speed(facts: RedisFacts, budget_s: float) -> Finding:
    budget_ms = budget_s * 1000
    detail = f"answers in {facts.ping_ms:.1f} ms; a request waits {budget_ms:g} ms at most"
    if facts.ping_ms < budget_ms:
        return _finding("speed", CheckState.OK, detail)
    wanted = max(facts.ping_ms * 3, budget_ms) / 1000
    return _finding(
        "speed",
        CheckState.BAD,
        f"{detail}, so that it is of no use",
        f"export LLMCTL_REDIS_BUDGET_S={wanted:.2f}",
    )


def _way_in(address: RedisAddress, failure: LlmctlError) -> str:
    if any(word in failure.message.lower() for word in ("auth", "password")):
        return "export REDIS_PASSWORD=…"
    return f"redis-cli {_reach(address.location)} ping"


def _reach(location: str) -> str:
    if location.startswith("unix://"):
        return f"-s {shlex.quote(location.removeprefix('unix://').partition('?')[0])}"
    return f"-u {shlex.quote(location)}"


def _is_loopback(location: str) -> bool:
    return is_local(host_of(location))


def _finding(name: str, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=SECTION, name=name, state=state, detail=detail, fix=fix)
