from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.backend.models import CLAUDE_NAMES
from llmctl.core.errors import ConfigError
from llmctl.core.money import MicroUsd
from llmctl.ops.prices import CloudPrice, cloud_cost, load_prices, price_of

TODAY = date(2026, 11, 23)
OWN = """
default = "house"

[[price]]
model = "house"
aliases = ["claude-sonnet-5"]
input = 1
output = "4.5"
"""


@pytest.mark.parametrize("name", CLAUDE_NAMES)
def test_what_claude_code_asks_for_has_a_price_of_its_own(name):
    assert not price_of(name, TODAY).assumed


@pytest.mark.parametrize(
    ("name", "dollars"),
    [
        ("claude-opus-4-8", (5, 25)),
        ("claude-opus-5-5", (4, 20)),
        ("claude-sonnet-5", (2, 10)),
        ("claude-sonnet-4-5-20250929", (3, 15)),
        ("claude-sonnet-4.5@20250929", (3, 15)),
        ("anthropic/claude-sonnet-4-6", (3, 15)),
        ("claude-sonnet-5-5[1m]", (2, 10)),
        ("claude-haiku-4-5-20251001", (1, 5)),
        ("claude-3-5-haiku-latest", (0.8, 4)),
        ("Claude-Fable-5-2", (8, 40)),
        ("sonnet", (2, 10)),
    ],
)
def test_names_are_known_in_their_usual_forms(name, dollars):
    price = price_of(name, TODAY)
    assert (price.input / 1e6, price.output / 1e6) == dollars
    assert not price.assumed


@pytest.mark.parametrize(
    ("name", "stand_in"),
    [
        ("claude-opus-9", "claude-opus-5-5"),
        ("claude-9-opus", "claude-opus-5-5"),
        ("claude-sonnet-7-20280101", "claude-sonnet-5-5"),
        ("claude-haiku-9", "claude-haiku-5-5"),
        ("claude-mythos-6", "claude-fable-5-2"),
        ("claude-next", "claude-sonnet-5"),
        ("qwen3-coder:30b", "claude-sonnet-5"),
        ("", "claude-sonnet-5"),
    ],
)
def test_a_name_without_a_price_has_a_stand_in_that_is_told(name, stand_in):
    price = price_of(name, TODAY)
    assert (price.model, price.assumed) == (stand_in, True)


def test_a_price_counts_from_its_day():
    before, after = date(2026, 10, 6), date(2026, 10, 7)
    assert price_of("claude-sonnet-5-5", before).cache_read == 200_000
    assert price_of("claude-sonnet-5-5", after).cache_read == 100_000
    assert price_of("gemini-3.8-flash", TODAY).input == 750_000
    assert price_of("gemini-3.8-flash", date(2027, 1, 1)).input == 1_500_000


def test_every_row_says_where_and_when_it_was_read():
    table = load_prices()
    names = {name for name in table._rows}
    assert len(names) > 25
    for name in names:
        price = table.price_of(name, TODAY)
        assert price.source.startswith("https://")
        assert price.checked is not None
        assert 0 < price.cache_read <= price.input <= price.cache_write
        assert price.input < price.output


def test_each_kind_of_token_has_its_price():
    price = price_of("claude-sonnet-4-6", TODAY)
    tokens = {"prompt": 3_000_000, "completion": 1_000_000}
    assert price.of(**tokens) == 24_000_000
    assert price.of(**tokens, cached=1_000_000) == 21_300_000
    assert price.of(**tokens, cached=1_000_000, written=1_000_000) == 22_050_000
    assert cloud_cost(3_000_000, 1_000_000, 0, "claude-sonnet-4-6", at=TODAY) == 24_000_000


tokens = st.integers(0, 10**10)
amounts = st.integers(0, 10**8).map(MicroUsd)


@given(
    prompt=tokens,
    completion=tokens,
    prices=st.tuples(amounts, amounts, amounts, amounts),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_cost_is_exact_to_the_micro_dollar(prompt, completion, prices, shares):
    cached = int(prompt * shares[0])
    written = int((prompt - cached) * shares[1])
    names = ("input", "output", "cache_read", "cache_write")
    price = CloudPrice(model="m", source="s", **dict(zip(names, prices, strict=True)))
    exact = (prompt - cached - written) * prices[0] + completion * prices[1]
    exact += cached * prices[2] + written * prices[3]
    cost = price.of(prompt=prompt, completion=completion, cached=cached, written=written)
    assert abs(cost * 1_000_000 - exact) * 2 <= 1_000_000


def test_the_operators_own_table_comes_first(tmp_path):
    path = tmp_path / "prices.toml"
    path.write_text(OWN)
    table = load_prices(str(path))
    sonnet = table.price_of("claude-sonnet-5", TODAY)
    assert (sonnet.input, sonnet.output, sonnet.cache_read) == (1_000_000, 4_500_000, 1_000_000)
    assert sonnet.source == str(path)
    assert table.price_of("claude-opus-5", TODAY).input == 5_000_000
    assert table.price_of("qwen3-coder", TODAY).model == "house"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("price = 7", "Expected `array`"),
        ("[[price]", "TOML|expected|Expected"),
        ('[[price]]\nmodel = "x"', "input"),
        ('[[price]]\nmodel = "x"\ninput = "free"\noutput = "1"', "'free' is not an amount"),
        ('[[price]]\nmodel = "x"\ninput = -1\noutput = "1"', "less than nothing"),
        ('[[price]]\nmodel = "x"\ninput = 1\noutput = 2\ncolour = "red"', "colour"),
        ('default = "nobody"', "nobody, which has no price"),
        ('[families]\nclaude-opus = "nobody"', "nobody, which has no price"),
    ],
)
def test_a_table_that_cannot_be_used_is_said(tmp_path, text, said):
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_prices(str(path))


def test_a_table_that_is_missing_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_prices(str(tmp_path / "nowhere.toml"))
