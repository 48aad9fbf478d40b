import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.cache.sealed import OVERHEAD_BYTES, Seal

KEY, OTHER = b"k" * 32, b"o" * 32


@given(st.binary(max_size=300), st.binary(max_size=80))
def test_what_is_sealed_opens_again_and_shows_nothing(value, bound_to):
    sealed = Seal(KEY).seal(value, bound_to)
    assert Seal(KEY).open(sealed, bound_to) == value
    assert len(sealed) == len(value) + OVERHEAD_BYTES
    assert len(value) < 4 or value not in sealed


@given(st.binary(max_size=64), st.data())
def test_any_flipped_bit_closes_it(value, data):
    sealed = bytearray(Seal(KEY).seal(value, b"place"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    assert Seal(KEY).open(bytes(sealed), b"place") is None


@given(st.binary(max_size=100))
def test_junk_does_not_open(junk):
    assert Seal(KEY).open(junk, b"place") is None


@pytest.mark.parametrize("cut", [1, 16, OVERHEAD_BYTES, OVERHEAD_BYTES + 4])
def test_a_part_does_not_open(cut):
    sealed = Seal(KEY).seal(b"text", b"place")
    assert Seal(KEY).open(sealed[:-cut], b"place") is None
    assert Seal(KEY).open(sealed[cut:], b"place") is None


def test_it_opens_in_its_place_only_and_with_its_key_only():
    sealed = Seal(KEY).seal(b"text", b"place")
    assert Seal(KEY).open(sealed, b"another") is None
    assert Seal(OTHER).open(sealed, b"place") is None


def test_the_same_value_is_never_sealed_the_same():
    seal = Seal(KEY)
    assert len({seal.seal(b"text", b"place") for _ in range(100)}) == 100


def test_another_key_makes_what_was_sealed_unreadable():
    seal = Seal(KEY)
    sealed = seal.seal(b"text", b"place")
    assert not seal.change(KEY)
    assert seal.open(sealed, b"place") == b"text"
    assert seal.change(OTHER)
    assert seal.open(sealed, b"place") is None


@pytest.mark.parametrize("key", [b"", b"k" * 16, b"k" * 33])
def test_a_key_of_another_length_is_refused(key):
    with pytest.raises(ValueError, match=f"not {len(key)}"):
        Seal(key)


def test_no_way_of_showing_it_shows_the_key():
    assert repr(Seal(KEY)) == "Seal(****)"
    for attempt in (pickle.dumps, copy.deepcopy):
        with pytest.raises(TypeError, match="not to be pickled"):
            attempt(Seal(KEY))
