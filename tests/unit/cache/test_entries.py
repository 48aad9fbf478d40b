"""Sealed entries in a store that somebody else may write to."""

import asyncio

import pytest

from llmctl.cache.entries import SKEW_S, WRITING_S
from llmctl.cache.entry import id_of
from llmctl.cache.marks import Mark
from llmctl.cache.memory import MemoryStore
from llmctl.cache.sealed import Seal
from tests.clocks import ManualClock
from tests.sealing import SEAL_KEY, entries_in, entry, sealed

KEY, OTHER = b"\x01" * 32, b"\x02" * 32
HOUR = 3600.0


@pytest.fixture
def clock():
    return ManualClock()


class Shared(MemoryStore):
    """A store that processes on several machines use, as Redis is."""

    news: bytes | None = None

    async def announce(self, news: bytes) -> None:
        self.news = news

    async def announced(self) -> bytes | None:
        return self.news


@pytest.fixture
def store(clock):
    return Shared(max_bytes=10_000_000, clock=clock)


@pytest.fixture
def entries(store, clock, tmp_path):
    return entries_in(store, clock, tmp_path)


def raw(store, key=KEY):
    return dict(store._lru.items())[key]


async def rejected(entries, store, key, value, caplog):
    """See that a value is a miss, counted, and warned of once."""
    store.put(key, value, ttl_s=HOUR)
    before = entries.status().rejected
    for _ in range(3):
        assert await entries.get(key) is None
    assert entries.status().rejected == before + 3
    return sum("changed, moved or put back" in each.getMessage() for each in caplog.records) == 1


async def test_what_is_put_comes_back(entries, clock):
    one = entry(clock.now(), b"text", tenant="ada")
    entries.put(KEY, one)
    assert await entries.get(KEY) == one
    assert await entries.get(OTHER) is None
    assert entries.status().rejected == 0


async def test_a_flipped_bit_anywhere_is_a_miss(entries, store, clock, caplog):
    entries.put(KEY, entry(clock.now()))
    whole = raw(store)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        store.put(KEY, bytes(changed), ttl_s=HOUR)
        assert await entries.get(KEY) is None
    assert entries.status().rejected == len(whole)
    assert len(caplog.records) == 1


async def test_swapped_values_are_misses(entries, store, clock, caplog):
    entries.put(KEY, entry(clock.now(), b"one"))
    entries.put(OTHER, entry(clock.now(), b"other"))
    one, other = raw(store), raw(store, OTHER)
    assert await rejected(entries, store, KEY, other, caplog)
    await rejected(entries, store, OTHER, one, caplog)


async def test_a_forgotten_value_that_is_put_back_is_a_miss(entries, store, clock, caplog):
    entries.put(KEY, entry(clock.now()))
    kept = raw(store)
    assert await entries.forget(Mark(before=clock.now(), entry=id_of(KEY))) == 1
    assert await rejected(entries, store, KEY, kept, caplog)
    clock.advance(1)
    entries.put(KEY, entry(clock.now(), b"new"))
    assert (await entries.get(KEY)).body == b"new"


async def test_a_cleared_value_that_is_put_back_is_a_miss_for_later_processes_too(
    entries, store, clock, tmp_path, caplog
):
    entries.put(KEY, entry(clock.now()))
    kept = raw(store)
    assert await entries.clear() == 1
    later = entries_in(store, clock, tmp_path)
    await later.start()
    assert await rejected(later, store, KEY, kept, caplog)
    await later.close()


async def test_a_replaced_value_that_is_put_back_is_a_miss(entries, store, clock, tmp_path, caplog):
    entries.put(KEY, entry(clock.now(), b"old"))
    old = raw(store)
    clock.advance(1)
    entries.put(KEY, entry(clock.now(), b"new"))
    new = raw(store)
    # a write takes its time, and until then there is the old one
    store.put(KEY, old, ttl_s=HOUR)
    assert await entries.get(KEY) is None
    assert entries.status().rejected == 0
    clock.advance(WRITING_S)
    assert await rejected(entries, store, KEY, old, caplog)
    reader = entries_in(store, clock, tmp_path)
    store.put(KEY, new, ttl_s=HOUR)
    assert (await reader.get(KEY)).body == b"new"
    await rejected(reader, store, KEY, old, caplog)


async def test_one_that_should_have_expired_is_a_miss_whatever_the_store_says(
    entries, store, clock, caplog
):
    value = sealed(KEY, entry(clock.now(), ttl_s=60))
    clock.advance(60)
    store.put(KEY, value, ttl_s=10 * HOUR)
    assert await entries.get(KEY) is None
    assert entries.status().rejected == 0  # clocks differ by as much
    clock.advance(SKEW_S + 1)
    assert await rejected(entries, store, KEY, value, caplog)


async def test_with_another_key_nothing_can_be_read(entries, store, clock, caplog):
    entries.put(KEY, entry(clock.now()))
    entries.seal.change(b"\x09" * 32)
    assert await entries.get(KEY) is None
    assert entries.status().rejected == 1
    assert [found async for found in entries.found()] == []


# -- what others forget


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0)


async def test_proxies_beside_it_and_on_other_machines_let_go(store, clock, tmp_path):
    here, beside, elsewhere, stranger = (
        entries_in(store, clock, tmp_path / place, look_s=0)
        for place in ("here", "here", "elsewhere", "stranger")
    )
    stranger.seal.change(b"\x09" * 32)
    told = []
    others = {"beside": beside, "elsewhere": elsewhere, "stranger": stranger}
    for name, entries in others.items():
        entries.on_forgotten.append(lambda name=name: told.append(name))
        await entries.start()
    here.put(KEY, entry(clock.now()))
    value = raw(store)
    await here.clear()
    await until(lambda: set(told) == set(others))
    store.put(KEY, value, ttl_s=HOUR)
    for entries in (beside, elsewhere):
        assert await entries.get(KEY) is None
        assert entries.status().rejected == 1
    for entries in others.values():
        await entries.close()


async def test_forged_news_make_nobody_forget_more_than_memory(entries, store, clock):
    told = []
    entries.on_forgotten.append(lambda: told.append(True))
    entries.put(KEY, entry(clock.now()))
    store.news = Seal(b"\x09" * 32).seal(b'[{"before": 9e9}]', b"llmctl cache marks")
    await entries.start()
    await until(lambda: told)
    assert await entries.get(KEY) is not None
    await entries.close()


async def test_a_dropped_key_is_taken_up_by_running_proxies(store, clock, tmp_path):
    current = [SEAL_KEY]
    proxy = entries_in(store, clock, tmp_path, look_s=0, load_key=lambda: current[0])
    here = entries_in(store, clock, tmp_path, load_key=lambda: current[0])
    await proxy.start()
    proxy.put(KEY, entry(clock.now()))
    assert await here.drop_key(lambda: current.__setitem__(0, b"\x09" * 32)) == 1
    clock.advance(1)

    async def readable() -> bool:
        proxy.put(KEY, entry(clock.now()))
        return await here.get(KEY) is not None

    async with asyncio.timeout(20):
        while not await readable():
            await asyncio.sleep(0)
    await proxy.close()


async def test_forgetting_by_tenant_model_and_age(entries, clock):
    keys = [bytes([number]) * 32 for number in range(1, 7)]
    start = clock.now()
    for number, key in enumerate(keys):
        tenant, model = ("ada", "bob")[number % 2], ("qwen", "llama")[number // 3]
        entries.put(key, entry(start - 100 * number, tenant=tenant, model=model))

    async def left() -> set[int]:
        return {found.key[0] async for found in entries.found()}

    assert await left() == {1, 2, 3, 4, 5, 6}
    assert await entries.forget(Mark(before=start - 500)) == 1
    assert await left() == {1, 2, 3, 4, 5}
    assert await entries.forget(Mark(before=start, tenant="ada", model="llama")) == 1
    assert await left() == {1, 2, 3, 4}
    assert await entries.forget(Mark(before=start, tenant="bob")) == 2
    assert await left() == {1, 3}
    assert await entries.forget(Mark(before=start, model="qwen")) == 2
    assert await left() == set()


async def test_tenants_have_entries_of_their_own(entries, clock):
    for number in range(1000):
        key = number.to_bytes(2, "big") * 16
        tenant = f"t{number % 10}"
        entries.put(key, entry(clock.now(), f"of {tenant}".encode(), tenant=tenant))
    await entries.forget(Mark(before=clock.now(), tenant="t3"))
    found = [each async for each in entries.found()]
    assert len(found) == 900
    assert all(each.entry.body == f"of {each.meta.tenant}".encode() for each in found)
