"""What ``serve`` would use, looked at while no proxy runs: engines, answers, the ledger.

Makes no file and changes none.
"""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from llmctl.backend.base import Engine, facts_of
from llmctl.config.load import Loaded
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.model import Health, PartHealth
from llmctl.core.paths import Paths
from llmctl.core.sqlitefile import explain
from llmctl.ops.cache.stores import answers_file, open_store, store_kind
from llmctl.ops.engines import http_engine
from llmctl.protocol.errors import ApiError

if TYPE_CHECKING:
    from llmctl.cache.store import Store

ENGINE_S = 8.0
STORE_S = 2.0
_PROBE = b"llmctl health probe"


async def look_at_parts(
    loaded: Loaded, environ: Mapping[str, str], paths: Paths, clock: Clock
) -> Health:
    """Ask engines and stores once, all at the same time; never raises for what is unwell."""
    backends = loaded.config.backend
    looked, cache, ledger = await asyncio.gather(
        asyncio.gather(*(_engine_health(each.url, loaded, environ) for each in backends)),
        _cache_health(loaded, paths, clock),
        asyncio.to_thread(_ledger_health, loaded, paths),
    )
    return Health(status="unreachable", backends=looked, cache=cache, ledger=ledger)


async def _engine_health(backend: str, loaded: Loaded, environ: Mapping[str, str]) -> PartHealth:
    kind = backend.partition(":")[0]
    try:
        engine = http_engine(backend, environ, timeouts=loaded.config.timeouts)
    except LlmctlError as failure:
        return PartHealth(name=backend, kind=kind, detail=failure.message)
    if engine is None:
        detail = "llmctl serve runs it, and no proxy does"
        return PartHealth(name=backend, kind=kind, healthy=True, detail=detail)
    try:
        async with asyncio.timeout(ENGINE_S):
            return await _described(engine)
    except TimeoutError:
        detail = f"it did not answer within {ENGINE_S:g} s"
        return PartHealth(name=engine.name, kind=kind, detail=detail)
    finally:
        await engine.close()


async def _described(engine: Engine) -> PartHealth:
    try:
        models = await engine.discover()
    except ApiError as failure:
        return PartHealth(name=engine.name, kind=engine.kind, detail=failure.message)
    facts = facts_of(engine)
    return PartHealth(
        name=engine.name,
        kind=engine.kind,
        healthy=True,
        models=[model.name for model in models],
        version=facts.version,
        latency_ms=facts.latency_ms,
        loaded=list(facts.loaded),
    )


async def _cache_health(loaded: Loaded, paths: Paths, clock: Clock) -> PartHealth | None:
    if not loaded.config.cache.enabled:
        return None
    kind = store_kind(loaded.config)
    if kind == "memory":
        return PartHealth(kind=kind, healthy=True, detail="it lives and ends with the proxy")
    if kind == "sqlite" and not answers_file(paths).exists():
        place = str(answers_file(paths))
        return PartHealth(kind=kind, healthy=True, location=place, detail="not made yet")
    try:
        store = open_store(loaded, paths, clock=clock)
    except LlmctlError as failure:
        return PartHealth(kind=kind, detail=failure.message)
    try:
        return await _probed(store)
    finally:
        await store.close()


async def _probed(store: "Store") -> PartHealth:
    """Read a key that is never set, as a request would."""
    await store.start()
    deadline = time.monotonic() + STORE_S
    while not store.status().healthy and time.monotonic() < deadline:
        if store.status().failed_reads or store.status().failed_writes:
            break
        await asyncio.sleep(0.02)
    began = time.monotonic()
    await store.get(_PROBE)
    latency_ms = round((time.monotonic() - began) * 1000, 2)
    status = store.status()
    part = msgspec.convert(msgspec.to_builtins(status), PartHealth)
    return msgspec.structs.replace(part, latency_ms=latency_ms if status.healthy else None)


def _ledger_health(loaded: Loaded, paths: Paths) -> PartHealth | None:
    from llmctl.ledger.reading import open_read_only

    if not loaded.config.ledger.enabled:
        return None
    location = str(paths.ledger_file)
    began = time.monotonic()
    try:
        with contextlib.closing(open_read_only(paths.ledger_file)) as connection:
            connection.execute("SELECT max(id) FROM requests").fetchone()
    except NotFound:
        return PartHealth(kind="sqlite", healthy=True, location=location, detail="not made yet")
    except LlmctlError as failure:
        return PartHealth(kind="sqlite", location=location, detail=failure.message)
    except sqlite3.Error as failure:
        detail = explain(paths.ledger_file, failure)
        return PartHealth(kind="sqlite", location=location, detail=detail)
    latency_ms = round((time.monotonic() - began) * 1000, 2)
    return PartHealth(kind="sqlite", healthy=True, location=location, latency_ms=latency_ms)
