"""Cost of one get and one put per cache store, beside the bare library in the same run.

    python benchmarks/cache_store.py [--count 3000] [--rounds 5] [--json]

Each round runs every pair (bare, ours) back to back; figures are medians over the rounds, in
microseconds of wall time per operation at one client. Judge the ratios: the microseconds belong to
the machine. "put" is what the request pays; "stored" is until the store has taken it, per value.
"sealed" compares the proxy's encrypted entries with the same store without the seal.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from redis.asyncio import Redis

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmctl.cache.address import redis_address
from llmctl.cache.entries import EntryStore
from llmctl.cache.entry import Entry, EntryMeta, describe
from llmctl.cache.marks import Mark, Marks
from llmctl.cache.memory import MemoryStore
from llmctl.cache.redis import RedisStore
from llmctl.cache.sealed import Seal
from llmctl.cache.sqlite import SqliteStore
from llmctl.cache.store import Store
from llmctl.core.clock import SystemClock
from tests.integration.valkey import running

SIZES = (4_000, 60_000)
KEYS = [os.urandom(32) for _ in range(200)]
TTL_S = 3600.0

Work = Callable[[int], Awaitable[None]]
"""Does one thing that many times."""


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, running() as valkey:
        for size in SIZES:
            values = [os.urandom(size) for _ in KEYS]
            place = Path(directory) / str(size)
            place.mkdir()
            await compare_memory(size, values, options)
            await compare_sqlite(size, values, place, options)
            await compare_redis(size, values, valkey.url, options)


async def compare_memory(size: int, values: list[bytes], options: argparse.Namespace) -> None:
    bare = dict(zip(KEYS, values, strict=True))
    store = MemoryStore(max_bytes=1 << 30, clock=SystemClock())

    async def bare_get(count: int) -> None:
        for number in range(count):
            bare[KEYS[number % 200]]

    await compare("memory", size, values, store, bare_get, "dict", options)


async def compare_sqlite(
    size: int, values: list[bytes], place: Path, options: argparse.Namespace
) -> None:
    bare = sqlite3.connect(place / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=NORMAL")
    bare.execute("CREATE TABLE entries (key BLOB PRIMARY KEY, value BLOB)")
    insert = "INSERT OR REPLACE INTO entries VALUES (?, ?)"
    bare.executemany(insert, zip(KEYS, values, strict=True))
    store = SqliteStore(place / "ours.db", max_bytes=1 << 30, clock=SystemClock())

    async def bare_get(count: int) -> None:
        for number in range(count):
            question = "SELECT value FROM entries WHERE key=?"
            bare.execute(question, (KEYS[number % 200],)).fetchone()

    async def bare_put(count: int) -> None:
        for number in range(count):
            bare.execute(insert, (KEYS[number % 200], values[number % 200]))

    await compare("sqlite", size, values, store, bare_get, "sqlite3", options, bare_put)
    bare.close()


async def compare_redis(
    size: int, values: list[bytes], url: str, options: argparse.Namespace
) -> None:
    bare = Redis.from_url(url)
    for key, value in zip(KEYS, values, strict=True):
        await bare.set(key, value)
    store = RedisStore(redis_address(url=url), clock=SystemClock(), budget_s=1.0)

    async def bare_get(count: int) -> None:
        for number in range(count):
            await bare.get(KEYS[number % 200])

    async def bare_get_64(count: int) -> None:
        async def client() -> None:
            await bare_get(count // 64)

        await asyncio.gather(*(client() for _ in range(64)))

    async def bare_put(count: int) -> None:
        for number in range(count):
            await bare.set(KEYS[number % 200], values[number % 200], px=3_600_000)

    await compare(
        "valkey", size, values, store, bare_get, "redis-py", options, bare_put, bare_get_64
    )
    await bare.aclose()


async def compare(
    name: str,
    size: int,
    values: list[bytes],
    store: Store,
    bare_get: Work,
    bare_name: str,
    options: argparse.Namespace,
    bare_put: Work | None = None,
    bare_get_64: Work | None = None,
) -> None:
    await store.start()
    await stored(store, values, 200)

    async def get(count: int) -> None:
        for number in range(count):
            if await store.get(KEYS[number % 200]) is None:
                raise SystemExit(f"{name} lost a value: {store.status()}")

    async def get_64(count: int) -> None:
        await asyncio.gather(*(get(count // 64) for _ in range(64)))

    async def put(count: int) -> None:
        await stored(store, values, count)

    rows = [("get", bare_get, get)]
    if bare_get_64:
        rows.append(("get, 64 clients", bare_get_64, get_64))
    if bare_put:
        rows.append(("stored", bare_put, put))
    for row, bare, ours in rows:
        pairs = [
            (await timed(bare, options.count), await timed(ours, options.count))
            for _ in range(options.rounds)
        ]
        show(f"{name} {size // 1000} kB {row}", bare_name, pairs, options)
    await compare_sealed(f"{name} {size // 1000} kB sealed", values, store, options)
    paid = [paid_for_puts(store, values) for _ in range(options.rounds)]
    show(f"{name} {size // 1000} kB put", "", [(0.0, each) for each in paid], options)
    await store.close()


async def compare_sealed(
    name: str, values: list[bytes], store: Store, options: argparse.Namespace
) -> None:
    clock, keys = SystemClock(), [os.urandom(32) for _ in KEYS]
    with tempfile.TemporaryDirectory() as directory:
        marks = Marks(Path(directory) / "marks.json", clock=clock)
        entries = EntryStore(store, seal=Seal(os.urandom(32)), marks=marks, clock=clock)
        # one is forgotten, as it would be: every read is compared with it
        marks.add(Mark(before=clock.now(), entry="000000000000"))
        described = describe(EntryMeta(tenant="local", model="qwen3-coder:30b", excerpt="x" * 200))
        now = clock.now()
        for key, value in zip(keys, values, strict=True):
            entry = Entry(created=now, expires=now + TTL_S, described=described, body=value)
            entries.put(key, entry)
        while await entries.get(keys[-1]) is None:  # noqa: ASYNC110 - a store has no event
            await asyncio.sleep(0)

    async def plain(count: int) -> None:
        for number in range(count):
            await store.get(KEYS[number % 200])

    async def sealed(count: int) -> None:
        for number in range(count):
            if await entries.get(keys[number % 200]) is None:
                raise SystemExit(f"{name} lost a value: {entries.status()}")

    pairs = [
        (await timed(plain, options.count), await timed(sealed, options.count))
        for _ in range(options.rounds)
    ]
    show(f"{name} get", "unsealed", pairs, options)


async def stored(store: Store, values: list[bytes], count: int) -> None:
    """Put ``count`` values and wait until each of them can be read."""
    for number in range(count):
        store.put(KEYS[number % 200], values[number % 200], ttl_s=TTL_S)
        if number % 200 == 199:
            # readable only after everything before it
            marker = os.urandom(32)
            store.put(marker, b"x", ttl_s=TTL_S)
            while await store.get(marker) is None:  # noqa: ASYNC110 - a store has no event for it
                await asyncio.sleep(0)


async def timed(work: Work, count: int) -> float:
    began = time.perf_counter()
    await work(count)
    return (time.perf_counter() - began) / count * 1e6


def paid_for_puts(store: Store, values: list[bytes]) -> float:
    began = time.perf_counter()
    for number in range(200):
        store.put(KEYS[number], values[number], ttl_s=TTL_S)
    return (time.perf_counter() - began) / 200 * 1e6


def show(
    name: str, bare_name: str, pairs: list[tuple[float, float]], options: argparse.Namespace
) -> None:
    bare = statistics.median(bare for bare, _ in pairs)
    ours = statistics.median(ours for _, ours in pairs)
    ratio = statistics.median(ours / bare for bare, ours in pairs) if bare else None
    if options.json:
        figures = {"name": name, "unit": "us", "value": ours, "bare": bare or None, "ratio": ratio}
        print(json.dumps(figures))
        return
    beside = f"{bare_name} {bare:8.1f} us   ratio {ratio:5.2f}" if ratio else ""
    print(f"{name:32} {ours:8.1f} us   {beside}")


if __name__ == "__main__":
    asyncio.run(main())
