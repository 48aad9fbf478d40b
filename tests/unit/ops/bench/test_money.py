from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.money import MicroUsd
from llmctl.core.reports_bench import Figures, Level, Mix, Prefill
from llmctl.ops.bench.money import parse_mix, worked_out
from llmctl.ops.prices import CloudPrice

CLOUD = CloudPrice(
    model="claude-sonnet-5",
    input=MicroUsd(2_000_000),
    output=MicroUsd(10_000_000),
    cache_read=MicroUsd(200_000),
    cache_write=MicroUsd(2_500_000),
    source="x",
    checked=date(2026, 11, 23),
)


def figures(*, read=2000.0, known_ms=200.0, write=100.0):
    return Figures(
        cold=Prefill(prompt_tokens=4000, first_token_ms=4000 / read * 1000, tokens_per_s=read),
        warm=Prefill(prompt_tokens=4000, first_token_ms=known_ms, tokens_per_s=20_000.0),
        levels=[
            Level(
                concurrency=4,
                tokens_per_s=write,
                each_tokens_per_s=write / 4,
                first_token_ms=300.0,
                completion_tokens=512,
                seconds=5.0,
            )
        ],
    )


def test_an_hour_by_hand():
    money = worked_out(
        figures(), Mix(prompt=20_000, fresh=500, answer=250), MicroUsd(360_000), CLOUD
    )
    # 0.2 s for the known prompt, 0.25 s for 500 new tokens, 2.5 s for 250 of answer
    assert money.requests_per_hour == pytest.approx(3600 / 2.95)
    assert money.usd_per_million_tokens == round(360_000 * 1e6 / (3600 / 2.95 * 20_250))
    assert money.usd_per_million_answer_tokens == 1_000_000  # $0.36/h at 100 tokens/s
    # at the cloud: 19,500 read at $0.20, 500 written at $2.50, 250 of answer at $10
    assert money.cloud_usd_per_million_tokens == round((3900 + 1250 + 2500) * 1e6 / 20_250)
    assert money.break_even_requests_per_hour == pytest.approx(360_000 / 7650)
    assert money.break_even_utilisation == pytest.approx(360_000 / 7650 / (3600 / 2.95))
    assert money.concurrency == 4


@pytest.mark.parametrize(
    ("given_figures", "price"),
    [(Figures(), 360_000), (figures(), None), (figures(write=0.0), 360_000)],
)
def test_what_is_not_known_is_not_worked_out(given_figures, price):
    usd = None if price is None else MicroUsd(price)
    assert worked_out(given_figures, Mix(), usd, CLOUD) is None


@given(
    price=st.integers(10_000, 20_000_000),
    write=st.floats(1, 5000),
    read=st.floats(10, 50_000),
    fresh=st.integers(1, 20_000),
)
def test_at_the_break_even_both_cost_the_same(price, write, read, fresh):
    mix = Mix(prompt=20_000, fresh=fresh, answer=250)
    money = worked_out(figures(read=read, write=write), mix, MicroUsd(price), CLOUD)
    tokens = mix.prompt + mix.answer
    busy = money.break_even_utilisation
    ours = price / (money.requests_per_hour * busy * tokens) * 1e6
    assert ours == pytest.approx(money.cloud_usd_per_million_tokens, rel=0.001, abs=2)
    assert (money.saved_share > 0) == (
        money.usd_per_million_tokens < money.cloud_usd_per_million_tokens
    )


class TestTheMix:
    def test_read(self):
        assert parse_mix("20,000:500:250") == Mix(prompt=20_000, fresh=500, answer=250)

    @pytest.mark.parametrize("text", ["", "1:2", "a:b:c", "100:200:1", "100:0:1", "100:1:0"])
    def test_refused(self, text):
        with pytest.raises(ValueError, match="expected|new tokens"):
            parse_mix(text)
