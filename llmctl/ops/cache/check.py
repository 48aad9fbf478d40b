"""``cache test``: tries what the cache promises on the configured store, and removes every trace.

Entries of the test have random keys and a tenant of their own, so no request can meet them.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from msgspec import Struct

from llmctl.cache.entry import Entry, EntryMeta, describe, pack
from llmctl.cache.store import Stored
from llmctl.core.errors import LlmctlError
from llmctl.core.reports_cache import CacheCheck
from llmctl.ops.cache.access import Access
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, dump_message, load_message
from llmctl.protocol.message import Replay

TENANT = "llmctl-cache-test"
STORE = "store"
COUNT = 100
TEXT = "An answer that only the test of the cache has given. " * 80
"""4 kB: what an answer of Claude Code has."""
TTL_S = 1.0
PATIENCE_S = 5.0
PAUSE_S = 0.01
KEEP_S = 120.0
"""Should the test be killed, its entries go by themselves."""


class Bench(Struct, frozen=True, kw_only=True):
    """What a check works with."""

    access: Access
    keys: list[bytes]
    replay: Replay

    def entry(self, ttl_s: float = KEEP_S) -> Entry:
        """Return an entry as the proxy would make it."""
        now = self.access.clock.now()
        meta = EntryMeta(tenant=TENANT, model=TENANT, excerpt="cache test")
        return Entry(
            created=now,
            expires=now + ttl_s,
            described=describe(meta),
            body=dump_message(self.replay.message),
        )


Check = Callable[[Bench], Awaitable[list[CacheCheck]]]


def bench(access: Access) -> Bench:
    """Return random keys, and an answer."""
    usage = TokenUsage(input_tokens=10, output_tokens=1000)
    message = Message(
        model=TENANT, content=[TextBlock(text=TEXT)], stop_reason="end_turn", usage=usage
    )
    return Bench(access=access, keys=[os.urandom(32) for _ in range(COUNT)], replay=Replay(message))


async def check_store(access: Access) -> list[CacheCheck]:
    """Try the store; what fails is told in the rows, not raised."""
    kit = bench(access)
    rows: list[CacheCheck] = []
    if (unusable := await _unusable(access)) is not None:
        return [unusable]
    try:
        for check in (_hits, _misses, _replays, _seal, _ttl):
            rows += await _tried(check, kit)
    finally:
        rows += await _tried(_clean_up, kit)
    return rows


async def _unusable(access: Access) -> CacheCheck | None:
    async def usable() -> bool:
        return access.entries.status().healthy

    try:
        await until(usable)
    except TimeoutError:
        return CacheCheck(name=STORE, ok=False, result=access.entries.status().detail)
    return None


async def _tried(check: Check, kit: Bench) -> list[CacheCheck]:
    try:
        return await check(kit)
    except (LlmctlError, TimeoutError) as failure:
        reason = str(failure) or f"not done within {PATIENCE_S:g} s"
        name = check.__name__.strip("_").replace("_", " ")
        return [CacheCheck(name=name, ok=False, result=reason)]


async def _hits(kit: Bench) -> list[CacheCheck]:
    entries = kit.access.entries
    began = time.perf_counter()
    for key in kit.keys:
        entries.put(key, kit.entry())
    await until(partial(_all_there, kit))
    stored_ms = (time.perf_counter() - began) * 1000 / COUNT
    got, times = await _timed(kit, kit.keys)
    right = sum(entry is not None and entry.body == kit.entry().body for entry in got)
    size = len(pack(kit.entry())) / 1000
    return [
        CacheCheck(name="write", ok=True, result=f"{COUNT} of {size:.0f} kB", p50_ms=stored_ms),
        latency_row("hit", right == COUNT, f"{right} of {COUNT} came back as they were", times),
    ]


async def _misses(kit: Bench) -> list[CacheCheck]:
    got, times = await _timed(kit, [os.urandom(32) for _ in range(COUNT)])
    found = sum(entry is not None for entry in got)
    return [latency_row("miss", not found, f"{found} of {COUNT} unknown keys were found", times)]


async def _replays(kit: Bench) -> list[CacheCheck]:
    entry = await kit.access.entries.get(kit.keys[0])
    if entry is None:
        return [CacheCheck(name="replay", ok=False, result="the answer is not there")]
    replay = Replay(load_message(entry.body))
    texts = {"stream": streamed_text(replay.sse()), "whole": whole_text(replay.json())}
    rows = [
        CacheCheck(
            name=f"replay, {how}",
            ok=text == TEXT,
            result="the same text" if text == TEXT else "another text than was stored",
        )
        for how, text in texts.items()
    ]
    fresh = replay.json() != replay.json()
    ids = "every answer has ids of its own" if fresh else "two answers have the same id"
    return [*rows, CacheCheck(name="replay, ids", ok=fresh, result=ids)]


async def _seal(kit: Bench) -> list[CacheCheck]:
    store, entries = kit.access.store, kit.access.entries
    one, other = kit.keys[:2]
    sealed = await store.get(one)
    if sealed is None:
        return [CacheCheck(name="sealed", ok=False, result="the answer is not there")]
    secret = TEXT[:20].encode() not in sealed and b"cache test" not in sealed
    what = "nothing of it can be read" if secret else "its text can be read"
    flipped = bytearray(sealed)
    flipped[len(flipped) // 2] ^= 1
    rows = [CacheCheck(name="sealed at rest", ok=secret, result=what)]
    for name, value in (("changed value", bytes(flipped)), ("moved value", sealed)):
        store.put(other, value, ttl_s=KEEP_S)
        await until(partial(_holds, kit, other, value))
        # not ``get``, which would warn of it
        refused = entries.opened(Stored(other, value, None)) is None
        result = "a miss" if refused else "was believed"
        rows.append(CacheCheck(name=name, ok=refused, result=result))
    return rows


async def _ttl(kit: Bench) -> list[CacheCheck]:
    entries, key = kit.access.entries, kit.keys[2]
    await kit.access.store.delete([key])
    entries.put(key, kit.entry(TTL_S))
    await until(partial(_holds, kit, key, None))
    await asyncio.sleep(TTL_S + 0.1)
    gone = await entries.get(key) is None
    result = f"gone after {TTL_S:g} s" if gone else f"still there after {TTL_S:g} s"
    return [CacheCheck(name="time to live", ok=gone, result=result)]


async def _clean_up(kit: Bench) -> list[CacheCheck]:
    await kit.access.store.delete(kit.keys)
    left = sum([await kit.access.store.get(key) is not None for key in kit.keys])
    result = "nothing is left" if not left else f"{left} entries are left"
    return [CacheCheck(name="removed again", ok=not left, result=result)]


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; raises TimeoutError after a while."""
    async with asyncio.timeout(PATIENCE_S):
        while not await true():  # noqa: ASYNC110  a store has no event to wait for
            await asyncio.sleep(PAUSE_S)


async def _all_there(kit: Bench) -> bool:
    return all([await kit.access.store.get(key) is not None for key in kit.keys])


async def _holds(kit: Bench, key: bytes, value: bytes | None) -> bool:
    """Tell whether the store has this value under the key; None stands for any."""
    found = await kit.access.store.get(key)
    return found is not None and value in (None, found)


def streamed_text(stream: bytes) -> str | None:
    """Return the text of an answer as a stream; None for one that does not end as it should."""
    events = [
        msgspec.json.decode(line[5:], type=_Event)
        for line in stream.splitlines()
        if line.startswith(b"data:")
    ]
    if not events or events[-1].type != "message_stop":
        return None
    return "".join(event.delta.text for event in events if event.delta.type == "text_delta")


def whole_text(body: bytes) -> str:
    """Return the text of an answer in one piece."""
    return "".join(block.text for block in msgspec.json.decode(body, type=_Answer).content)


class _Delta(Struct):
    type: str = ""
    text: str = ""


class _Event(Struct):
    type: str
    delta: _Delta = msgspec.field(default_factory=_Delta)


class _Answer(Struct):
    content: list[_Delta] = []


async def _timed(kit: Bench, keys: list[bytes]) -> tuple[list[Entry | None], list[float]]:
    got: list[Entry | None] = []
    times: list[float] = []
    for key in keys:
        began = time.perf_counter()
        got.append(await kit.access.entries.get(key))
        times.append((time.perf_counter() - began) * 1000)
    return got, times


def latency_row(name: str, ok: bool, result: str, times: list[float]) -> CacheCheck:
    ordered = sorted(times)
    return CacheCheck(
        name=name,
        ok=ok,
        result=result,
        p50_ms=round(ordered[len(ordered) // 2], 4),
        p95_ms=round(ordered[len(ordered) * 95 // 100], 4),
    )
