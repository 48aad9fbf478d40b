import pytest

from llmctl.core.money import micro_usd
from llmctl.core.rental import OfferWish, ProviderName
from llmctl.ops.rent import misses
from tests.unit.ops.rent.stage import an_offer

VAST = (ProviderName.VAST,)
BOTH = (ProviderName.VAST, ProviderName.RUNPOD)


def a_wish(**changes) -> OfferWish:
    usual = {
        "gpus": ("rtx4090",),
        "disk_gb": 48,
        "max_usd_per_hour": micro_usd("0.40"),
        "min_reliability": 0.98,
        "min_download_mbps": 500.0,
        "min_seconds_left": 8 * 3600.0,
        "min_cuda": 12.4,
    }
    return OfferWish(**(usual | changes))


def test_too_dear_names_the_cheapest_and_what_to_type():
    error = misses.too_dear(an_offer(usd_per_hour=micro_usd("0.4581")), a_wish(), VAST)
    assert error.message == ("no RTX 4090 offer under $0.40/h on vast.ai (cheapest now: $0.46/h)")
    assert error.hint == "llmctl up --max-price 0.50, or add --provider runpod"


def test_over_two_markets_it_says_which():
    error = misses.too_dear(an_offer(usd_per_hour=micro_usd("0.46")), a_wish(), BOTH)
    assert "on vast.ai and RunPod (cheapest now: $0.46/h at vast.ai)" in error.message
    assert error.hint == "llmctl up --max-price 0.50"


@pytest.mark.parametrize(
    ("changes", "cure"),
    [
        ({"reliability": 0.9713}, "llmctl up --min-reliability 0.97"),
        ({"seconds_left": 5.5 * 3600}, "llmctl up --ttl 5h"),
        ({"seconds_left": 1800.0}, "llmctl up --ttl 30m"),
        ({"download_mbps": 312.7}, "LLMCTL_RENT_MIN_DOWNLOAD_MBPS=312 llmctl up"),
        ({"usd_per_hour": micro_usd("0.41")}, "llmctl up --max-price 0.45"),
        (
            {"reliability": 0.9, "download_mbps": 100.0},
            "LLMCTL_RENT_MIN_DOWNLOAD_MBPS=100 llmctl up --min-reliability 0.90",
        ),
    ],
)
def test_the_hint_would_let_the_nearest_in(changes, cure):
    error = misses.out_of_bounds([an_offer(**changes)], a_wish(), BOTH)
    assert error.hint == cure


def test_each_bound_says_how_many_it_keeps_out():
    found = [
        an_offer(id="1", reliability=0.9),
        an_offer(id="2", reliability=0.95, download_mbps=100.0),
        an_offer(id="3", disk_gb=20.0),
        an_offer(id="4", cuda=11.8),
        an_offer(id="5"),
    ]
    error = misses.out_of_bounds(found, a_wish(region="SE"), VAST)
    assert error.message.startswith(
        "no RTX 4090 on vast.ai fits: of 5 on offer 2 under 98.0% reliable, "
        "1 slower than 500 Mb/s, 1 with less than 48 GB of disk, "
        "1 with a driver older than CUDA 12.4, 1 outside SE (nearest: $0.36/h"
    )
    assert error.hint == "llmctl up without --region SE, or add --provider runpod"


def test_what_cannot_be_cured_by_a_flag_is_not_promised():
    error = misses.out_of_bounds([an_offer(cuda=11.8)], a_wish(), BOTH)
    assert "offer list" in error.hint


def test_what_is_unknown_misses_nothing():
    offer = an_offer(reliability=None, download_mbps=None, seconds_left=None)
    assert misses.misses(offer, a_wish()) == []


def test_several_forms_of_a_card_are_all_named():
    wish = a_wish(gpus=("h100-sxm", "h100-pcie"), gpu_count=2)
    error = misses.none_on_offer(wish, VAST)
    assert error.message == "no 2 x H100 SXM or H100 PCIe is on offer on vast.ai now"


def test_all_on_machines_that_failed():
    assert "failed within the last day" in misses.all_avoided(a_wish(), BOTH).message
