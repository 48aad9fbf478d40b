"""Offers: cards by their exact names, bounds the server ignores, pages beyond the 64th."""

import pytest

from llmctl.core.errors import ProviderError
from llmctl.core.money import micro_usd
from tests.contract.bed import Bed
from tests.emulators.vast import VastEmulator
from tests.emulators.vast_contracts import Ask


async def ids(bed: Bed, **wish) -> set[str]:
    return {offer.id for offer in await bed.provider.offers(bed.wish(**wish))}


async def test_a_4090d_is_another_card_and_so_is_an_unverified_or_portless_host(bed: Bed):
    assert await ids(bed) == {"9000001", "9000002", "9000003"}
    assert await ids(bed, gpus=("rtx4090d",)) == {"9000004"}


async def test_a_family_is_asked_for_at_once(bed: Bed):
    offers = await bed.provider.offers(bed.wish(gpus=("h100-sxm", "h100-pcie", "h100-nvl")))
    assert {offer.gpu for offer in offers} == {"h100-sxm", "h100-pcie", "h100-nvl"}
    assert bed.calls("offers") == 1


async def test_data_centres_alone(bed: Bed):
    assert await ids(bed, secure=True) == {"9000001"}


async def test_several_cards(bed: Bed):
    assert await ids(bed, gpu_count=2) == {"9000009"}


async def test_cards_without_a_name_here_are_not_asked_for(bed: Bed):
    assert await bed.provider.offers(bed.wish(gpus=())) == []
    assert bed.calls("offers") == 0


async def test_the_price_is_for_the_disk_that_is_wanted(bed: Bed):
    offer = await bed.offer(disk_gb=144)
    assert offer.usd_per_hour == micro_usd("0.33")  # 0.30 + 144 GB at $0.15 for 720 hours
    assert offer.stopped_usd_per_hour == micro_usd("0.03")
    assert (offer.usd_per_gb_down, offer.usd_per_gb_up) == (2000, 4000)


async def test_a_spot_offer_costs_its_lowest_bid_and_the_disk(bed: Bed):
    offer = await bed.offer(disk_gb=144, spot=True)
    assert offer.spot
    assert offer.usd_per_hour == micro_usd("0.15")


@pytest.mark.parametrize(
    "bound",
    [
        {"min_download_mbps": 2000.0},
        {"min_reliability": 0.999},
        {"min_seconds_left": 60 * 86400.0},
        {"min_cuda": 12.9},
        {"disk_gb": 800},
        {"region": "US"},
    ],
    ids=lambda bound: next(iter(bound)),
)
@pytest.mark.parametrize("honoured", [True, False])
async def test_bounds_hold_whether_the_server_honours_them_or_not(
    bed: Bed, vast: VastEmulator, bound: dict, honoured: bool
):
    best = {"inet_down": 2500.0, "reliability": 0.9995, "duration": 90 * 86400.0, "cuda": 13.0}
    vast.contracts.asks[1] = Ask(id=1, geolocation="Iowa, US", disk_space=900.0, **best)
    vast.contracts.asks.pop(9_000_003)
    names = ("inet_down", "reliability", "duration", "cuda_max_good", "disk_space", "geolocation")
    vast.contracts.ignored_filters = set() if honoured else set(names)
    assert await ids(bed, **bound) == {"1"}


async def test_a_region_is_a_country_or_a_city_in_any_case(bed: Bed, vast: VastEmulator):
    vast.contracts.asks[1] = Ask(id=1, geolocation=None)
    assert await ids(bed, region="us") == await ids(bed, region="iowa") == {"9000003"}
    assert "1" not in await ids(bed, region="NO")


async def test_the_65th_offer_is_on_the_next_page_by_price(bed: Bed, vast: VastEmulator):
    vast.contracts.asks = {n: Ask(id=n, base=0.2 + n / 1000) for n in range(1, 151)}
    assert len(await ids(bed)) == 150
    assert bed.calls("offers") == 3


async def test_a_search_that_repeats_itself_ends(bed: Bed, vast: VastEmulator):
    vast.contracts.asks = {n: Ask(id=n, base=0.2) for n in range(1, 151)}
    assert len(await ids(bed)) == 64
    assert bed.calls("offers") == 2


async def test_the_quota_of_the_day_is_not_tried_again(bed: Bed):
    bed.poison("offers", "quota", times=-1)
    with pytest.raises(ProviderError, match="search_quota_exceeded") as refused:
        await bed.provider.offers(bed.wish())
    assert not refused.value.retryable
    assert refused.value.hint and "midnight" in refused.value.hint
    assert bed.calls("offers") == 1


async def test_a_rented_offer_is_no_offer(bed: Bed):
    await bed.rent()
    assert await ids(bed) == {"9000001", "9000003"}
