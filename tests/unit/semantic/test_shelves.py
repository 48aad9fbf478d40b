"""What a proxy knows: found by likeness, bounded, for a time, and shared through a journal."""

from collections import Counter

import pytest

pytest.importorskip("numpy")

from llmctl.semantic.index import unit
from llmctl.semantic.records import Placed
from llmctl.semantic.shelves import LocalShelves, group_of
from tests.clocks import ManualClock
from tests.unit.semantic.library import SCOPE, AtOnce, ListJournal, entry, seal

GROUP = group_of("e", SCOPE)
ASKED = unit([1.0, 0.0, 0.0])


def shelves(journal=None, **fields) -> LocalShelves:
    wanted = {"max_entries": 100, "clock": ManualClock(), "counts": Counter()} | fields
    return LocalShelves(journal or ListJournal(), seal(), executor=AtOnce(), **wanted)


def add(known: LocalShelves, number: int, **fields) -> bytes:
    made = entry(number, **fields)
    known.add(made, unit([1.0, number / 100, 0.0]))
    return made.key


async def keys(known: LocalShelves, group: bytes = GROUP, count: int = 9) -> list[bytes]:
    return [one.known.key for one in await known.nearest(group, ASKED, count)]


async def test_the_nearest_come_first():
    known = shelves()
    far, near = add(known, 9), add(known, 1)
    assert await keys(known) == [near, far]
    assert await keys(known, count=1) == [near]


async def test_another_scope_or_embedder_finds_nothing():
    known = shelves()
    add(known, 1)
    assert await keys(known, group_of("e", b"t" * 32)) == []
    assert await keys(known, group_of("f", SCOPE)) == []


async def test_entries_end_with_their_time():
    clock = ManualClock()
    known = shelves(clock=clock)
    add(known, 1, expires=clock.now() + 10)
    clock.advance(9.9)
    assert len(await keys(known)) == 1
    clock.advance(0.2)
    assert await keys(known) == []
    assert len(known) == 0


async def test_beyond_the_bound_the_least_recently_used_go():
    counts: Counter[str] = Counter()
    known = shelves(max_entries=2, counts=counts)
    first, second = add(known, 1), add(known, 2)
    known.used(first)
    third = add(known, 3)
    assert await keys(known) == [first, third]
    assert second not in await keys(known)
    assert len(known) == 2
    assert counts["evicted"] == 1


async def test_what_is_dropped_is_not_found_again():
    known = shelves()
    one = add(known, 1)
    known.drop(one)
    known.drop(one)
    assert await keys(known) == []


async def test_two_proxies_see_what_each_other_adds():
    journal = ListJournal()
    one, other = shelves(journal), shelves(journal)
    key = add(one, 1)
    assert await keys(other) == []
    await other.follow()
    assert await keys(other) == [key]
    await one.follow()
    assert len(one) == 1


async def test_many_rows_are_followed_to_their_end():
    journal = ListJournal()
    one = shelves(journal, max_entries=2000)
    for number in range(1203):
        add(one, number)
    other = shelves(journal, max_entries=2000)
    await other.follow()
    assert len(other) == 1203


async def test_at_start_the_newest_are_kept():
    journal = ListJournal()
    one = shelves(journal)
    added = [add(one, number) for number in range(5)]
    other = shelves(journal, max_entries=2)
    await other.follow()
    assert set(await keys(other)) == set(added[-2:])


async def test_a_changed_or_swapped_row_is_no_candidate_and_counted():
    journal, counts = ListJournal(), Counter()
    writer = shelves(journal)
    for number in range(4):
        add(writer, number)
    (kind, one), (_, two), (_, three), _ = journal.rows
    journal.rows[0] = kind, Placed(one.position, one.key, two.value)
    journal.rows[1] = kind, Placed(two.position, two.key, one.value)
    flipped = three.value[:40] + bytes([three.value[40] ^ 1]) + three.value[41:]
    journal.rows[2] = kind, Placed(three.position, three.key, flipped)
    reader = shelves(journal, counts=counts)
    await reader.follow()
    assert await keys(reader) == [(3).to_bytes(32, "big")]
    assert counts["damaged"] == 3


async def test_a_row_with_another_length_of_vector_is_counted_and_not_found():
    counts: Counter[str] = Counter()
    known = shelves(counts=counts)
    add(known, 1)
    known.add(entry(2), unit([1.0, 0.0]))
    assert await keys(known) == [(1).to_bytes(32, "big")]
    assert counts["damaged"] == 1
