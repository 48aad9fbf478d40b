import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.money import micro_usd
from llmctl.ops.rent.ranking import rank, ready_cost, ready_s, why
from tests.unit.ops.rent.stage import an_offer

MODEL = 18_600_000_000


def best(*offers, hours: float = 8):
    return rank(offers, model_bytes=MODEL, hours=hours)[0].id


def test_the_cheaper_of_two_equals():
    assert best(an_offer(id="a"), an_offer(id="b", usd_per_hour=micro_usd("0.35"))) == "b"


def test_a_slow_link_costs_more_than_it_saves_in_a_short_use():
    slow = an_offer(id="slow", usd_per_hour=micro_usd("0.35"), download_mbps=50.0)
    fast = an_offer(id="fast")
    assert best(slow, fast, hours=2) == "fast"
    assert best(slow, fast, hours=500) == "slow"


def test_dear_traffic_counts():
    dear = an_offer(id="dear", usd_per_hour=micro_usd("0.34"), usd_per_gb_down=micro_usd("0.05"))
    assert best(dear, an_offer(id="free")) == "free"


def test_a_machine_that_fails_is_not_cheap():
    shaky = an_offer(id="shaky", usd_per_hour=micro_usd("0.34"), reliability=0.9)
    assert best(shaky, an_offer(id="sound")) == "sound"


def test_a_data_centre_is_worth_a_little():
    home = an_offer(id="home", usd_per_hour=micro_usd("0.35"), secure=False)
    assert best(home, an_offer(id="centre")) == "centre"
    gift = an_offer(id="home", usd_per_hour=micro_usd("0.30"), secure=False)
    assert best(gift, an_offer(id="centre")) == "home"


def test_unknown_figures_are_middling():
    unknown = an_offer(id="unknown", reliability=None, download_mbps=None)
    assert best(unknown, an_offer(id="good", reliability=0.999)) == "good"
    assert best(unknown, an_offer(id="bad", reliability=0.9)) == "unknown"


offers = st.lists(
    st.builds(
        an_offer,
        id=st.integers(0, 10_000).map(str),
        usd_per_hour=st.integers(100_000, 500_000),
        reliability=st.none() | st.floats(0.5, 1),
        download_mbps=st.none() | st.floats(1, 10_000),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda offer: offer.id,
)


@given(offers, st.randoms())
def test_the_order_they_come_in_does_not_matter(found, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    expected = [each.id for each in rank(found, model_bytes=MODEL, hours=8)]
    assert [each.id for each in rank(shuffled, model_bytes=MODEL, hours=8)] == expected


@given(offers)
def test_a_cheaper_price_never_ranks_lower(found):
    ranked = rank(found, model_bytes=MODEL, hours=8)
    last = ranked[-1]
    cheaper = an_offer(
        id=last.id, usd_per_hour=0, reliability=1.0, download_mbps=10_000.0, secure=True
    )
    assert rank([*ranked[:-1], cheaper], model_bytes=MODEL, hours=8)[0].id == last.id


def test_ready_takes_what_the_link_needs():
    assert ready_s(an_offer(download_mbps=1000.0), model_bytes=MODEL) == pytest.approx(321, abs=5)
    gb = ready_s(an_offer(download_mbps=38.0), model_bytes=MODEL)
    assert gb > 5000  # 27 GB at 38 Mbit/s


def test_getting_ready_costs_its_time_and_traffic():
    free = ready_cost(an_offer(), model_bytes=MODEL)
    dear = ready_cost(an_offer(usd_per_gb_down=micro_usd("0.01")), model_bytes=MODEL)
    assert dear - free == 266_000


def test_the_first_says_why():
    text = why([an_offer(), an_offer(id="b", usd_per_hour=400_000)], model_bytes=MODEL, hours=8)
    assert "99.5% reliable" in text
    assert "1,000 Mb/s" in text
    assert "next of 2" in text
    assert why([an_offer()], model_bytes=MODEL, hours=8).startswith("the only offer")
