"""Rows at rest: readable only where they were written, by who holds the key."""

import pytest

pytest.importorskip("numpy")

from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.records import (
    Placed,
    entry_row,
    evidence_kind,
    outcome_row,
    read_entry,
    read_outcome,
)
from tests.unit.semantic.library import entry, outcome, seal


def test_an_entry_comes_back():
    row = entry_row(entry(1), seal())
    assert read_entry(Placed("1", row.key, row.value), seal()) == entry(1)


def test_an_outcome_comes_back():
    row = outcome_row(outcome(same=None), b"o" * 16, seal())
    assert read_outcome(Placed("1", row.key, row.value), seal()) == outcome(same=None)


def test_nothing_of_a_question_can_be_read_at_rest():
    row = entry_row(entry(1, question="my secret question", tenant="alice"), seal())
    for piece in (b"secret", b"alice", entry(1).vector, entry(1).vector[:8]):
        assert piece not in row.value


@given(st.data())
def test_any_flipped_bit_makes_a_row_unreadable(data):
    row = entry_row(entry(1), seal())
    bit = data.draw(st.integers(0, 8 * len(row.value) - 1))
    value = bytearray(row.value)
    value[bit // 8] ^= 1 << bit % 8
    assert read_entry(Placed("1", row.key, bytes(value)), seal()) is None


def test_a_value_moved_to_another_key_is_unreadable():
    one, other = entry_row(entry(1), seal()), entry_row(entry(2), seal())
    assert read_entry(Placed("1", one.key, other.value), seal()) is None


def test_a_row_of_one_kind_is_none_of_the_other():
    row = outcome_row(outcome(), b"o" * 32, seal())
    assert read_entry(Placed("1", row.key, row.value), seal()) is None
    row = entry_row(entry(1), seal())
    assert read_outcome(Placed("1", row.key, row.value), seal()) is None


def test_another_installs_rows_are_unreadable():
    row = entry_row(entry(1), seal())
    assert read_entry(Placed("1", row.key, row.value), seal(b"x")) is None


def test_outcomes_of_two_tenants_are_of_two_kinds():
    kinds = {evidence_kind(tenant=tenant, embedder=one) for tenant in "ab" for one in "xy"}
    assert len(kinds) == 4
