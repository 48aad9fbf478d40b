"""Questions found in Redis's own vector sets: a real Redis 8."""

from collections import Counter

import pytest

pytest.importorskip("numpy")

from llmctl.cache.address import redis_address
from llmctl.semantic.index import unit
from llmctl.semantic.journal import limits
from llmctl.semantic.redis import RedisJournal, connect
from llmctl.semantic.shelves import group_of
from llmctl.semantic.vectorset import RedisShelves, has_vector_sets
from tests.clocks import ManualClock
from tests.integration.valkey import Valkey, valkey
from tests.integration.vector_redis import VectorRedis, vector_redis
from tests.unit.semantic.library import SCOPE, entry, seal

__all__ = ["valkey", "vector_redis"]

GROUP = group_of("e", SCOPE)
ASKED = unit([1.0, 0.0, 0.0])


def shelves(server: Valkey, **fields) -> RedisShelves:
    wanted = {"max_entries": 100, "clock": ManualClock(), "counts": Counter(), "house": "h"}
    return RedisShelves(redis_address(url=server.url), seal(), **(wanted | fields))


async def add(known: RedisShelves, number: int, **fields) -> bytes:
    made = entry(number, **fields)
    known.add(made, unit([1.0, number / 100, 0.0]))
    await known._tasks.idle()
    return made.key


async def test_servers_are_asked_what_they_have(vector_redis: VectorRedis, valkey: Valkey):
    assert await has_vector_sets(redis_address(url=vector_redis.url))
    assert not await has_vector_sets(redis_address(url=valkey.url))
    valkey.kill()
    assert not await has_vector_sets(redis_address(url=valkey.url))


async def test_two_proxies_find_each_others_questions_at_once(vector_redis: VectorRedis):
    one, other = shelves(vector_redis), shelves(vector_redis)
    far, near = await add(one, 40), await add(one, 10)
    found = await other.nearest(GROUP, ASKED, 5)
    assert [candidate.known.key for candidate in found] == [near, far]
    assert found[0].similarity == pytest.approx(float(unit([1.0, 0.1, 0.0]) @ ASKED), abs=1e-4)
    assert found[0].known.question == "question 10"
    assert await other.nearest(group_of("e", b"t" * 32), ASKED, 5) == []
    await one.close()
    await other.close()


async def test_questions_are_sealed_and_changed_ones_are_misses(vector_redis: VectorRedis):
    counts: Counter[str] = Counter()
    known = shelves(vector_redis, counts=counts)
    key, other = await add(known, 1, question="the launch code"), await add(known, 2)
    name = f"llmctl:semantic:v1:h:entry:{key.hex()}"
    value = vector_redis.command("GET", name)
    assert b"launch" not in value
    vector_redis.command("SET", name, value[:-1] + bytes([value[-1] ^ 1]))
    found = await known.nearest(GROUP, ASKED, 5)
    assert [candidate.known.key for candidate in found] == [other]
    assert counts["damaged"] == 1
    await known.close()


async def test_what_is_dropped_or_expired_is_not_found_and_leaves_the_set(
    vector_redis: VectorRedis,
):
    clock = ManualClock()
    known = shelves(vector_redis, clock=clock)
    dropped, _ = await add(known, 1), await add(known, 2, expires=clock.now() + 60)
    kept = await add(known, 3)
    known.drop(dropped)
    await known._tasks.idle()
    clock.advance(61)
    found = await known.nearest(GROUP, ASKED, 5)
    assert [candidate.known.key for candidate in found] == [kept]
    await known._tasks.idle()
    found = await known._client.vset().vcard(known._set_of(GROUP))
    assert found == 1
    await known.close()


async def test_a_set_stays_within_its_bound(vector_redis: VectorRedis):
    known = shelves(vector_redis, max_entries=5)
    for number in range(12):
        await add(known, number)
    assert await known._client.vset().vcard(known._set_of(GROUP)) == 5
    await known.close()


async def test_without_redis_nothing_is_found_and_nothing_fails(vector_redis: VectorRedis):
    known = shelves(vector_redis)
    await add(known, 1)
    vector_redis.kill()
    assert await known.nearest(GROUP, ASKED, 5) == []
    known.add(entry(2), ASKED)
    await known.close()


async def test_what_is_forgotten_leaves_nothing_in_redis(vector_redis: VectorRedis):
    address = redis_address(url=vector_redis.url)
    known = shelves(vector_redis)
    journal = RedisJournal(address, limits(100), house="h", clock=ManualClock())
    gone, kept = await add(known, 1), await add(known, 2)
    assert {placed.key for placed in await journal.indexed()} == {gone, kept}
    assert await journal.forget([gone, b"never there"]) == 1
    redis = connect(address)
    held = await redis.keys("llmctl:semantic:v1:h:set:*")
    assert await redis.execute_command("VCARD", *held) == 1
    assert [placed.key for placed in await journal.indexed()] == [kept]
    other = shelves(vector_redis, house="other")
    await add(other, 3)
    assert await journal.clear() == 1
    names = await redis.keys("llmctl:semantic:v1:*")
    assert {name.split(b":")[3] for name in names} == {b"other"}
    for each in (known, other, journal):
        await each.close()
    await redis.aclose()
