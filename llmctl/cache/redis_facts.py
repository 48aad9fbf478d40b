"""What a Redis says of itself, asked once: for ``doctor``, not for requests."""

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct
from redis import exceptions as errors
from redis.asyncio import Redis
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from llmctl.cache.address import RedisAddress
from llmctl.cache.keyspace import Room, room
from llmctl.core.errors import LlmctlError

ASK_S = 3.0
_PINGS = 5


class RedisFacts(Struct, frozen=True, kw_only=True):
    """One server, as it is set up."""

    software: str
    """``Redis`` or ``Valkey``."""
    version: str
    tls: bool
    cluster: bool
    replica: bool
    """Whether it takes no writes of ours."""
    used_bytes: int
    room: Room
    modules: list[str]
    """Names of what was loaded into it; empty where it does not say."""
    ping_ms: float
    """The slowest of five questions on a connection that is open."""


async def redis_facts(address: RedisAddress, *, within_s: float = ASK_S) -> RedisFacts:
    """Ask the server; raises ``LlmctlError`` with its reason, and without the password.

    ``within_s`` bounds each answer.
    """
    pool = ConnectionPool(
        socket_timeout=within_s,
        socket_connect_timeout=within_s,
        retry=Retry(NoBackoff(), 0),
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
        **address.options(),
    )
    client = Redis.from_pool(pool)
    try:
        return await _asked(client, tls=address.location.startswith("rediss:"))
    except (errors.RedisError, OSError) as failure:
        said = address.redact(str(failure)).rstrip(". ") or type(failure).__name__
        raise LlmctlError(f"Redis at {address.location} cannot be used: {said}") from None
    finally:
        await client.aclose()


async def _asked(client: Redis, *, tls: bool) -> RedisFacts:
    server, cluster = await client.info("server"), await client.info("cluster")
    replication, memory = await client.info("replication"), await client.info("memory")
    valkey = "valkey_version" in server
    return RedisFacts(
        software="Valkey" if valkey else "Redis",
        version=str(server.get("valkey_version" if valkey else "redis_version", "")),
        tls=tls,
        cluster=bool(cluster.get("cluster_enabled")),
        replica=replication.get("role") == "slave",
        used_bytes=int(memory.get("used_memory", 0)),
        room=await room(client),
        modules=await _modules(client),
        ping_ms=await _slowest_ping_ms(client),
    )


async def _modules(client: Redis) -> list[str]:
    with suppress(errors.ResponseError):  # hosted ones do not let everybody ask
        return sorted(_name(each) for each in await client.module_list())
    return []


def _name(module: Mapping[Any, Any]) -> str:
    """Return the name of a module; the protocols differ in the type of its keys."""
    name = module.get(b"name", module.get("name", b"?"))
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


async def _slowest_ping_ms(client: Redis) -> float:
    slowest = 0.0
    for _ in range(_PINGS):
        began = time.monotonic()
        await client.ping()
        slowest = max(slowest, (time.monotonic() - began) * 1000)
    return slowest
