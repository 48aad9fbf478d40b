"""Which offers fit, and what they cost."""

import pytest

from llmctl.core.money import micro_usd
from llmctl.core.rental import OfferWish
from llmctl.providers.vast.asks import cards, fits, question, read_rows, to_offer
from tests.unit.providers.vast.rows import ASK

WISH = OfferWish(gpus=("rtx4090",), disk_gb=60)
STRICT = OfferWish(
    gpus=("rtx4090",),
    disk_gb=60,
    region="NO",
    secure=True,
    min_reliability=0.99,
    min_download_mbps=500.0,
    min_seconds_left=3600.0,
    min_cuda=12.4,
)


def row(**changes):
    (found,) = read_rows([ASK | changes])
    return found


def test_the_question_says_every_bound():
    assert question(STRICT) == {
        "gpu_name": {"in": ["RTX 4090"]},
        "num_gpus": {"eq": 1},
        "disk_space": {"gte": 60},
        "direct_port_count": {"gte": 1},
        "reliability": {"gte": 0.99},
        "inet_down": {"gte": 500.0},
        "duration": {"gte": 3600.0},
        "cuda_max_good": {"gte": 12.4},
        "geolocation": {"eq": "NO"},
        "datacenter": {"eq": True},
    }


def test_what_is_no_country_is_looked_for_here():
    assert "geolocation" not in question(OfferWish(gpus=("rtx4090",), disk_gb=1, region="Oslo"))


def test_bounds_of_zero_are_not_asked():
    assert set(question(WISH)) == {"gpu_name", "num_gpus", "disk_space", "direct_port_count"}


def test_cards_are_exact():
    wish = OfferWish(gpus=("rtx4090", "h100-nvl", "no-such"), disk_gb=1)
    assert set(cards(wish)) == {"RTX 4090", "H100 NVL"}


def test_what_fits():
    assert fits(row(), WISH)
    assert fits(row(), STRICT)


@pytest.mark.parametrize(
    "changes",
    [
        {"gpu_name": "RTX 4090D"},
        {"num_gpus": 2},
        {"verification": "unverified"},
        {"verification": "deverified"},
        {"rentable": False},
        {"rented": True},
        {"external": True},
        {"hosting_type": 0},
        {"disk_space": 59.9},
        {"disk_space": None},
        {"direct_port_count": 0},
        {"geolocation": "Iowa, US"},
        {"geolocation": None},
        {"geolocation": "NOwhere, SE"},
        {"reliability2": 0.98},
        {"reliability2": None},
        {"inet_down": 499.0},
        {"inet_down": None},
        {"duration": 3599.0},
        {"duration": None},
        {"cuda_max_good": 11.8},
    ],
    ids=str,
)
def test_what_does_not(changes: dict):
    assert not fits(row(**changes), STRICT)


@pytest.mark.parametrize("region", ["no", "NO", "Oslo", "oslo, no"])
def test_regions(region: str):
    assert fits(row(), OfferWish(gpus=("rtx4090",), disk_gb=1, region=region))


def test_an_offer():
    offer = to_offer(row(), WISH)
    assert (offer.id, offer.machine, offer.gpu) == ("9000001", "4711", "rtx4090")
    assert offer.usd_per_hour == micro_usd("0.3125")
    assert offer.stopped_usd_per_hour == micro_usd("0.0125")
    assert (offer.usd_per_gb_down, offer.usd_per_gb_up) == (2000, 4000)
    assert (offer.reliability, offer.download_mbps, offer.cuda) == (0.995, 850.0, 12.8)
    assert (offer.gpu_memory_mib, offer.seconds_left, offer.disk_gb) == (24_564, 86_400.0, 500.0)
    assert offer.secure


def test_a_home_is_said_to_be_one():
    assert not to_offer(row(hosting_type=0), WISH).secure


def test_a_bid_is_added_to_the_disk():
    spot = OfferWish(gpus=("rtx4090",), disk_gb=60, spot=True)
    assert to_offer(row(), spot).usd_per_hour == micro_usd("0.1325")
    assert to_offer(row(min_bid=None), spot).usd_per_hour == micro_usd("0.3125")


def test_the_disks_price_is_computed_where_it_is_not_said():
    offer = to_offer(row(storage_total_cost=None), WISH)
    assert offer.stopped_usd_per_hour == micro_usd("0.0125")  # 60 GB at $0.15 for 720 hours


@pytest.mark.parametrize(
    "broken",
    [
        {"dph_total": None},
        {"dph_total": "NaN"},
        {"dph_total": float("inf")},
        {"gpu_name": None},
        {"id": None},
        {"storage_total_cost": float("nan")},
    ],
    ids=str,
)
def test_what_cannot_be_read_is_left_out(broken: dict):
    assert [each.id for each in read_rows([ASK | broken, "text", ASK])] == [ASK["id"]]


def test_numbers_may_come_as_text():
    assert row(gpu_ram="24564", num_gpus="1").gpu_ram == 24_564
