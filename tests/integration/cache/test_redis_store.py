"""``RedisStore`` with a Valkey that works."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

import pytest

from llmctl.cache.address import redis_address
from llmctl.cache.breaker import Breaker
from llmctl.cache.keyspace import PREFIX
from llmctl.cache.redis import BATCH, RedisStore
from llmctl.core.clock import SystemClock
from tests.integration.eventually import eventually
from tests.integration.valkey import PATIENT_S, Valkey, relayed, running, valkey

__all__ = ["valkey"]


def make(server: Valkey, *, budget_s: float = PATIENT_S, **options) -> RedisStore:
    address = redis_address(url=server.url, password=server.password)
    return RedisStore(address, clock=SystemClock(), budget_s=budget_s, **options)


@pytest.fixture
async def store(valkey: Valkey) -> AsyncIterator[RedisStore]:
    store = make(valkey)
    await store.start()
    await eventually(lambda: store.breaker.closed)
    yield store
    await store.close()


async def written(server: Valkey, sets: int) -> None:
    await eventually(lambda: server.calls("set") == sets)


async def test_values_come_back_byte_for_byte(store, valkey):
    values = {
        b"empty": b"",
        b"line": b"\r\n$-1\r\n",
        b"\x00\xff*": bytes(range(256)) * 4000,
    }
    for key, value in values.items():
        store.put(key, value, ttl_s=60)
    await written(valkey, 3)
    for key, value in values.items():
        assert await store.get(key) == value
    assert await store.get(b"absent") is None
    status = store.status()
    assert (status.kind, status.healthy, status.detail) == ("redis", True, "")
    assert status.location == valkey.url


async def test_keys_carry_our_prefix_and_expire_by_themselves(store, valkey):
    store.put(b"\x01\xab", b"value", ttl_s=60)
    store.put(b"never", b"value", ttl_s=0)
    await written(valkey, 1)
    assert valkey.command("GET", f"{PREFIX}01ab") == b"value"
    assert 0 < int(valkey.command("PTTL", f"{PREFIX}01ab")) <= 60_000
    assert valkey.command("DBSIZE") == b"1"


async def test_clear_removes_our_keys_and_nobody_elses(store, valkey):
    for number in range(1200):
        store.put(b"%d" % number, b"value", ttl_s=60)
        if number % 100 == 99:
            await written(valkey, number + 1)
    valkey.command("SET", "llmctl:v9:theirs", "kept")
    valkey.command("SET", "other", "kept")
    assert await store.clear() == 1200
    assert await store.get(b"7") is None
    assert valkey.command("DBSIZE") == b"2"
    assert await store.clear() == 0


async def test_reads_of_one_turn_travel_together(store, valkey):
    keys = [b"%d" % number for number in range(64)]
    for key in keys:
        store.put(key, b"value of " + key, ttl_s=60)
    await written(valkey, 64)
    before = valkey.calls("mget")
    values = await asyncio.gather(*(store.get(key) for key in [*keys, keys[0]]))
    assert values == [b"value of " + key for key in [*keys, keys[0]]]
    assert valkey.calls("mget") - before == -(-65 // BATCH)


async def test_more_reads_than_connections_wait_their_turn(store, valkey):
    store.put(b"k", b"value", ttl_s=60)
    await written(valkey, 1)
    assert await asyncio.gather(*(store.get(b"k") for _ in range(2000))) == [b"value"] * 2000
    assert store.status().failed_reads == 0
    assert store.breaker.closed


async def test_closing_writes_what_is_queued(valkey):
    store = make(valkey)
    await store.start()
    await eventually(lambda: store.breaker.closed)
    for number in range(100):
        store.put(b"%d" % number, b"value", ttl_s=60)
    await store.close()
    assert valkey.command("DBSIZE") == b"100"
    assert store.status().dropped_writes == 0


async def test_a_unix_socket_and_another_database(valkey):
    address = redis_address(url=valkey.unix_url.replace("db=0", "db=3"))
    store = RedisStore(address, clock=SystemClock(), budget_s=PATIENT_S)
    await store.start()
    await eventually(lambda: store.breaker.closed)
    store.put(b"k", b"value", ttl_s=60)
    await store.close()
    assert valkey.command("DBSIZE") == b"0"
    assert b"db3:keys=1" in valkey.command("INFO", "keyspace")


async def test_a_password_lets_us_in():
    with running(password="sesame") as server:
        store = make(server)
        await store.start()
        store.put(b"k", b"value", ttl_s=60)
        await written(server, 1)
        assert await store.get(b"k") == b"value"
        await store.close()


async def test_a_server_from_before_hello_is_spoken_to_in_its_own_protocol():
    with running("--rename-command", "HELLO", "") as server:
        store = make(server)
        await store.start()
        await eventually(lambda: store.breaker.closed)
        store.put(b"k", b"value", ttl_s=60)
        await written(server, 1)
        assert await store.get(b"k") == b"value"
        await store.close()


class NeverOpens(Breaker):
    """Lets every command be sent, however many fail."""

    def failed(self, reason: str) -> None:
        pass


async def fill(store: RedisStore, server: Valkey) -> list[bytes]:
    keys = [b"%d" % number for number in range(50)]
    for key in keys:
        store.put(key, key * 400, ttl_s=600)
    await written(server, 50)
    return keys


async def all_answer(store: RedisStore, keys: list[bytes]) -> None:
    """Every connection that went back to the pool answers what it is asked."""
    for key in keys * 4:
        while (value := await store.get(key)) is None:
            await asyncio.sleep(0)
        assert value == key * 400


CANCELS = 3000


async def test_callers_that_leave_take_no_reply_with_them(valkey):
    """Thousands leave, early and late in a read, at times that follow the speed of the machine."""
    store = make(valkey, breaker=NeverOpens())
    await store.start()
    await eventually(lambda: store.breaker.closed)
    keys = await fill(store, valkey)
    chance = random.Random(7)
    left = answered = 0
    began = time.perf_counter()
    for _ in range(10):
        await asyncio.gather(*(store.get(key) for key in keys[:20]))
    typical_s = (time.perf_counter() - began) / 10

    async def client() -> None:
        nonlocal left, answered
        while left < CANCELS or answered < CANCELS // 3:
            key = chance.choice(keys)
            try:
                async with asyncio.timeout(typical_s * chance.uniform(0.05, 2)):
                    value = await store.get(key)
            except TimeoutError:
                left += 1
            else:
                assert value in {key * 400, None}
                answered += value is not None
                if value is None:  # the breaker is open: nothing was awaited
                    await asyncio.sleep(0)

    await asyncio.gather(*(client() for _ in range(20)))
    await all_answer(store, keys)
    await store.close()


async def test_commands_cut_off_by_the_budget_leave_no_reply_to_others(valkey):
    chance = random.Random(7)
    async with relayed(valkey, delay=lambda: chance.uniform(0, 0.008)) as port:
        address = redis_address(url=f"redis://127.0.0.1:{port}")
        store = RedisStore(address, clock=SystemClock(), budget_s=0.004, breaker=NeverOpens())
        await store.start()
        await eventually(lambda: store.breaker.closed)
        keys = await fill(store, valkey)
        answered = 0

        async def client() -> None:
            nonlocal answered
            while answered < 300 or store.status().failed_reads < 300:
                key = chance.choice(keys)
                value = await store.get(key)
                assert value in {key * 400, None}
                answered += value is not None

        await asyncio.gather(*(client() for _ in range(20)))
        await all_answer(store, keys[:10])
        await store.close()


async def test_a_busy_loop_is_not_held_against_the_server(store, valkey):
    store.put(b"k", b"value", ttl_s=60)
    await written(valkey, 1)
    loop = asyncio.get_running_loop()
    busy = True

    def block() -> None:
        time.sleep(0.03)  # longer than the whole budget
        if busy:
            loop.call_soon(block)

    loop.call_soon(block)
    for _ in range(4):
        assert await asyncio.gather(*(store.get(b"k") for _ in range(10))) == [b"value"] * 10
    busy = False
    assert store.status().failed_reads == 0
    assert store.breaker.closed
