from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.money import cost, decimal_text, micro_usd


@pytest.mark.parametrize(
    ("dollars", "micro"),
    [(0.1, 100_000), ("0.34", 340_000), (Decimal("1.000001"), 1_000_001), (0, 0), (2, 2_000_000)],
)
def test_dollars_become_micro_dollars(dollars, micro):
    assert micro_usd(dollars) == micro


@pytest.mark.parametrize("text", ["", "free", "1,5", float("nan"), float("inf")])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(ValueError, match="not an amount of money"):
        micro_usd(text)


def test_costs_are_rounded_up():
    assert cost(micro_usd("0.36"), 1) == 100
    assert cost(micro_usd("0.34"), 1) == 95
    assert cost(micro_usd("0.34"), -5) == 0


@given(st.integers(min_value=0, max_value=10**9))
def test_text_of_six_places_says_it_all(amount):
    assert micro_usd(decimal_text(amount, places=6)) == amount


def test_documents_have_four_places():
    assert decimal_text(micro_usd("0.34")) == "0.3400"
