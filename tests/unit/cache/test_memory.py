from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.memory import ENTRY_OVERHEAD_BYTES, Lru, MemoryStore
from tests.clocks import ManualClock


def lru(max_cost: int = 100, max_entries: int | None = None) -> tuple[Lru[str, str], ManualClock]:
    clock = ManualClock()
    return Lru(max_cost=max_cost, max_entries=max_entries, clock=clock), clock


def test_the_least_recently_used_goes_first():
    entries, _ = lru(max_cost=3)
    for name in "abc":
        entries.put(name, name.upper(), cost=1, ttl_s=60)
    assert entries.get("a") == "A"
    entries.put("d", "D", cost=1, ttl_s=60)
    assert [entries.get(name) for name in "abcd"] == ["A", None, "C", "D"]


def test_one_big_value_pushes_out_several_small_ones():
    entries, _ = lru(max_cost=10)
    for name in "abcde":
        entries.put(name, name, cost=2, ttl_s=60)
    entries.put("big", "big", cost=7, ttl_s=60)
    assert [name for name in "abcde" if entries.get(name)] == ["e"]
    assert entries.cost == 9


def test_a_value_above_the_bound_only_removes_what_it_replaces():
    entries, _ = lru(max_cost=10)
    entries.put("a", "old", cost=1, ttl_s=60)
    entries.put("b", "kept", cost=1, ttl_s=60)
    entries.put("a", "new", cost=11, ttl_s=60)
    assert (entries.get("a"), entries.get("b"), entries.cost) == (None, "kept", 1)


def test_count_is_bounded_too():
    entries, _ = lru(max_entries=2)
    for name in "abc":
        entries.put(name, name, cost=1, ttl_s=60)
    assert (len(entries), entries.get("a")) == (2, None)


def test_entries_expire_at_their_time_and_give_their_cost_back():
    entries, clock = lru()
    entries.put("a", "A", cost=5, ttl_s=10)
    clock.advance(9.999)
    assert entries.get("a") == "A"
    clock.advance(0.001)
    assert entries.get("a") is None
    assert (len(entries), entries.cost) == (0, 0)


def test_nothing_is_kept_for_no_time():
    entries, _ = lru()
    entries.put("a", "A", cost=1, ttl_s=0)
    assert len(entries) == 0


def test_pop_and_clear():
    entries, _ = lru()
    entries.put("a", "A", cost=1, ttl_s=60)
    entries.put("b", "B", cost=1, ttl_s=60)
    assert (entries.pop("a"), entries.pop("a")) == ("A", None)
    assert (entries.clear(), len(entries), entries.cost) == (1, 0, 0)


keys = st.integers(0, 5)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), keys, st.integers(1, 12), st.integers(1, 5)),
        st.tuples(st.just("get"), keys),
        st.tuples(st.just("pop"), keys),
        st.tuples(st.just("advance"), st.integers(0, 3)),
    ),
    max_size=60,
)


class Model:
    """The same map, written to be obvious."""

    def __init__(self, max_cost: int) -> None:
        self.entries: OrderedDict[int, tuple[int, int, float]] = OrderedDict()
        self.max_cost = max_cost
        self.time = 0.0

    def put(self, key: int, cost: int, ttl_s: int, value: int) -> None:
        self.entries.pop(key, None)
        if cost <= self.max_cost:
            self.entries[key] = (value, cost, self.time + ttl_s)
        while sum(cost for _, cost, _ in self.entries.values()) > self.max_cost:
            self.entries.popitem(last=False)

    def get(self, key: int) -> int | None:
        if key in self.entries and self.entries[key][2] <= self.time:
            del self.entries[key]
        if key not in self.entries:
            return None
        self.entries.move_to_end(key)
        return self.entries[key][0]


@given(steps, st.integers(1, 20))
def test_it_does_what_the_model_does(actions, max_cost):
    clock, model = ManualClock(), Model(max_cost)
    entries: Lru[int, int] = Lru(max_cost=max_cost, clock=clock)
    for number, (name, *rest) in enumerate(actions):
        if name == "put":
            key, cost, ttl_s = rest
            entries.put(key, number, cost=cost, ttl_s=ttl_s)
            model.put(key, cost, ttl_s, number)
        elif name == "get":
            assert entries.get(rest[0]) == model.get(rest[0])
        elif name == "pop":
            entry = model.entries.pop(rest[0], None)
            assert entries.pop(rest[0]) == (entry and entry[0])
        else:
            clock.advance(rest[0])
            model.time += rest[0]
        assert len(entries) == len(model.entries)
        assert entries.cost == sum(cost for _, cost, _ in model.entries.values())
        assert entries.cost <= max_cost


async def test_the_store_counts_bytes_and_forgets_on_clear():
    store = MemoryStore(max_bytes=10_000, clock=ManualClock())
    await store.start()
    store.put(b"k", b"value", ttl_s=60)
    assert await store.get(b"k") == b"value"
    assert await store.get(b"other") is None
    status = store.status()
    assert (status.kind, status.healthy, status.entries) == ("memory", True, 1)
    assert status.bytes == 6 + ENTRY_OVERHEAD_BYTES
    assert await store.clear() == 1
    assert await store.get(b"k") is None
    await store.close()
