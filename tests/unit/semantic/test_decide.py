"""One number out of what the gate saw."""

import pytest
from benchmarks.semantic_data import FILE, Pair, pairs
from hypothesis import given
from hypothesis import strategies as st

from llmctl.semantic.decide import WEIGHTS, features, likeness
from llmctl.semantic.gate import compare, conflict, facts, plainly_differ


def like(a: str, b: str, similarity: float = 0.9) -> float:
    return likeness(facts(a), facts(b), similarity)


def test_what_the_gate_blocks_is_not_alike_however_near():
    assert like("Install Node 18", "Install Node 20", 0.999) == 0


def test_little_in_common_and_far_vectors_speak_against():
    long = like(
        "How do I sort a list of dates in Python?", "In Python, how can I sort a list of dates?"
    )
    short = like("How do I sort a list?", "How can I sort a list?")
    assert 0 < short < long < 1
    assert like("How do I sort a list?", "How can I sort a list?", 0.5) < short


def test_every_feature_has_a_weight_and_none_speaks_for_a_difference():
    a, b = facts("How do I sort a list?"), facts("How do I sort a dict?")
    assert features(compare(a, b), 0.9).keys() == WEIGHTS.keys()
    assert all(weight <= 0 for name, weight in WEIGHTS.items() if name != "bias")


@pytest.mark.parametrize("similarity", [-1.0, 0.0, 1.0, 1.0001])
def test_any_cosine_will_do(similarity):
    assert 0 < like("How do I sort a list?", "How can I sort a list?", similarity) < 1


@given(st.sampled_from(pairs(FILE)))
def test_what_plainly_differs_conflicts(pair: Pair):
    a, b = facts(pair.a), facts(pair.b)
    assert conflict(a, b) is not None or not plainly_differ(a, b)
