"""Our keys in a Redis that others may use too: found and removed, and whether there is room."""

from collections.abc import AsyncIterator, Sequence
from typing import cast

from msgspec import Struct
from redis.asyncio import Redis

from llmctl.cache.store import Stored

PREFIX = "llmctl:v2:"
EARLIER = "llmctl:v1:"
"""Values below it were not sealed."""
SEMANTIC = "llmctl:semantic:"
"""Where the semantic tier keeps questions, and vectors where the operator wants them in Redis."""
NEWS = PREFIX + "news"
NEWS_S = 366 * 86400
"""As long as an entry may live."""
LOOKED_AT_ONCE = 1000
READ_AT_ONCE = 50
REMOVED_AT_ONCE = 500


class Room(Struct, frozen=True, kw_only=True):
    """What the server does when its memory is full."""

    max_bytes: int
    """0 for as much as the machine has."""
    policy: str
    evicted: int

    @property
    def advice(self) -> str:
        """What the operator should mind; empty where old entries make room for new ones."""
        if self.policy != "noeviction":
            return ""
        full = "will keep nothing new" if self.max_bytes else "may take all memory of its machine"
        return (
            f"this Redis has maxmemory-policy noeviction: as it grows it {full}; "
            "set maxmemory, and maxmemory-policy to volatile-lru"
        )


def name_of(key: bytes) -> str:
    """Return the name of an entry."""
    return PREFIX + key.hex()


def key_of(name: bytes) -> bytes | None:
    """Return the key of an entry; None for the names that are none."""
    try:
        return bytes.fromhex(name.decode().removeprefix(PREFIX))
    except ValueError:
        return None


async def room(client: Redis) -> Room:
    """Ask for the limits of the server; raises RedisError."""
    memory, stats = await client.info("memory"), await client.info("stats")
    return Room(
        max_bytes=int(memory.get("maxmemory", 0)),
        policy=str(memory.get("maxmemory_policy", "")),
        evicted=int(stats.get("evicted_keys", 0)),
    )


async def scan(client: Redis, prefix: bytes) -> AsyncIterator[Stored]:
    """Give entries by the beginning of their key; raises RedisError."""
    async for names in _names(client, name_of(prefix) + "*", READ_AT_ONCE):
        keys = [key_of(name) for name in names]
        # bytes and not str, because the client was told not to decode
        values = cast("list[bytes | None]", await client.mget(names))
        for key, value in zip(keys, values, strict=True):
            if key and value is not None:
                yield Stored(key, value, None)


async def remove_all(client: Redis) -> int:
    """Remove what is ours, of every proxy and every version; raises RedisError.

    Returns how many answers there were.
    """
    return sum([await _remove(client, prefix) for prefix in (PREFIX, EARLIER, SEMANTIC)])


async def remove(client: Redis, keys: Sequence[bytes]) -> int:
    """Remove entries; raises RedisError."""
    return int(await client.unlink(*map(name_of, keys)))


async def sweep_earlier(client: Redis) -> None:
    """Remove what earlier versions left; raises RedisError."""
    await _remove(client, EARLIER)


async def _remove(client: Redis, prefix: str) -> int:
    removed = 0
    async for names in _names(client, prefix + "*", REMOVED_AT_ONCE):
        await client.unlink(*names)
        removed += sum(key_of(name.replace(prefix.encode(), b"")) is not None for name in names)
    return removed


async def _names(client: Redis, pattern: str, at_once: int) -> AsyncIterator[list[bytes]]:
    names: list[bytes] = []
    # a server that is making its table bigger gives some keys twice
    known: set[bytes] = set()
    async for name in client.scan_iter(match=pattern, count=LOOKED_AT_ONCE):
        if name in known:
            continue
        known.add(name)
        names.append(name)
        if len(names) == at_once:
            yield names
            names = []
    if names:
        yield names
