"""Exact nearest neighbours: the same as comparing with every vector, whatever was removed."""

import pytest

np = pytest.importorskip("numpy")

from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.semantic.index import Index, packed, unit, unpacked

KEYS = st.integers(0, 40)
CHANGES = st.lists(st.tuples(st.sampled_from(["add", "remove"]), KEYS), max_size=120)


def key(number: int) -> bytes:
    return number.to_bytes(4, "big")


@given(CHANGES, st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_it_finds_what_comparing_with_each_finds(changes, seed):
    random = np.random.default_rng(seed)
    index, known = Index(), {}
    for change, number in changes:
        if change == "add":
            known[key(number)] = vector = unit(random.normal(size=8))
            index.add(b"g", key(number), vector)
        else:
            known.pop(key(number), None)
            index.remove((key(number),))
    assert len(index) == len(known)
    asked = unit(random.normal(size=8))
    wanted = sorted(known, key=lambda one: -float(known[one] @ asked))[:3]
    found = index.nearest(b"g", asked, 3)
    assert [one for one, _ in found] == wanted
    for one, similarity in found:
        assert similarity == pytest.approx(float(known[one] @ asked), abs=1e-6)


def test_groups_do_not_see_each_other():
    index = Index()
    vector = unit([1.0, 0.0])
    index.add(b"mine", b"a", vector)
    assert index.nearest(b"yours", vector, 3) == []
    assert index.nearest(b"mine", vector, 3) == [(b"a", 1.0)]


def test_a_key_moves_with_its_group_and_leaves_nothing_behind():
    index = Index()
    index.add(b"one", b"a", unit([1.0, 0.0]))
    index.add(b"two", b"a", unit([0.0, 1.0]))
    assert len(index) == 1
    assert index.nearest(b"one", unit([1.0, 0.0]), 3) == []
    assert index.nearest(b"two", unit([0.0, 1.0]), 3) == [(b"a", 1.0)]


def test_a_vector_of_another_length_is_refused_and_not_found():
    index = Index()
    index.add(b"g", b"a", unit([1.0, 0.0]))
    with pytest.raises(ValueError, match="shape"):
        index.add(b"g", b"b", unit([1.0, 0.0, 0.0]))
    assert index.nearest(b"g", unit([1.0, 0.0, 0.0]), 3) == []
    assert index.nearest(b"g", unit([1.0, 0.0]), 3) == [(b"a", 1.0)]


@pytest.mark.parametrize("values", [[], [0.0, 0.0], [float("nan")], [float("inf")], [[1.0], [2.0]]])
def test_what_has_no_direction_is_no_vector(values):
    with pytest.raises(ValueError, match="embedding"):
        unit(values)


def test_packing_halves_a_vector_and_keeps_its_direction():
    vector = unit(np.random.default_rng(1).normal(size=512))
    raw = packed(vector)
    assert len(raw) == 1024
    assert float(unpacked(raw) @ vector) == pytest.approx(1.0, abs=1e-4)


def test_bytes_that_are_no_vector_are_refused():
    with pytest.raises(ValueError, match="multiple"):
        unpacked(b"abc")
