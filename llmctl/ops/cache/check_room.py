"""``cache test``: whether old entries make room for new ones."""

import os
from pathlib import Path

from llmctl.cache.memory import MemoryStore
from llmctl.cache.sqlite import SqliteStore
from llmctl.core.clock import Clock
from llmctl.core.reports_cache import CacheCheck
from llmctl.ops.cache.access import Access
from llmctl.ops.cache.check import until

NAME = "eviction"
MAX_BYTES = 512 * 1024
VALUE = bytes(8 * 1024)
COUNT = 200
"""Three times what there is room for, and less than a store may keep waiting."""


async def check_room(access: Access) -> list[CacheCheck]:
    """Fill a small store of the same kind; Redis is asked what it would do."""
    if access.kind == "redis":
        return [await _asked(access)]
    if access.kind == "memory":
        store = MemoryStore(max_bytes=MAX_BYTES, clock=access.clock)
        return [await _filled(store)]
    return [await _in_a_file(access.paths.cache, access.clock)]


async def _in_a_file(directory: Path, clock: Clock) -> CacheCheck:
    path = directory / f"test-{os.urandom(6).hex()}.db"
    store = SqliteStore(path, max_bytes=MAX_BYTES, clock=clock)
    try:
        await store.start()
        try:
            return await _filled(store)
        finally:
            await store.close()
    finally:
        _remove(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


async def _filled(store: SqliteStore | MemoryStore) -> CacheCheck:
    keys = [os.urandom(32) for _ in range(COUNT)]
    for key in keys:
        store.put(key, VALUE, ttl_s=60)

    async def settled() -> bool:
        status = store.status()
        return bool(status.evicted) and (status.bytes or 0) <= MAX_BYTES

    try:
        await until(settled)
    except TimeoutError:
        used = store.status().bytes
        result = f"{used:,} bytes are used where {MAX_BYTES:,} are allowed"
        return CacheCheck(name=NAME, ok=False, result=result)
    first, last = await store.get(keys[0]), await store.get(keys[-1])
    right = first is None and last is not None
    kept, evicted = store.status().entries, store.status().evicted
    result = f"{evicted} of {COUNT} made room, {kept} are left"
    if not right:
        result += ", but not the newest"
    return CacheCheck(name=NAME, ok=right, result=result)


async def _asked(access: Access) -> CacheCheck:
    async def told() -> bool:
        return access.store.status().evicted is not None

    try:
        await until(told)
    except TimeoutError:
        return CacheCheck(name=NAME, ok=None, result="Redis does not tell what it does when full")
    status = access.store.status()
    if status.advice:
        return CacheCheck(name=NAME, ok=None, result=status.advice)
    return CacheCheck(name=NAME, ok=True, result=f"by the server: {status.evicted:,} so far")
