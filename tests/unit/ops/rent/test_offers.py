import pytest

from llmctl.core.errors import AuthError, NoCapacity, ProviderError
from llmctl.core.money import micro_usd
from llmctl.core.rental import ProviderName
from llmctl.ops.rent.offers import distinct, find_offers, nothing_fits, wish_for
from tests.unit.ops.rent.stage import FakeMarket, Stage, a_spec, an_offer

MODEL = 18_600_000_000
BOTH = (ProviderName.VAST, ProviderName.RUNPOD)


async def found(stage: Stage, names=(ProviderName.VAST,), **changes):
    wish = wish_for(stage.world, a_spec(**changes), disk_gb=48)
    report = await find_offers(stage.world, wish, names, model_bytes=MODEL)
    return report, wish


def two_markets(tmp_path, **runpod) -> Stage:
    usual = {
        "name": ProviderName.RUNPOD,
        "catalogue": [an_offer(provider=ProviderName.RUNPOD, id="SECURE/EU", machine="EU")],
    }
    return Stage(tmp_path, FakeMarket(), FakeMarket(**(usual | runpod)))


async def test_the_bounds_are_those_of_the_spec(stage: Stage):
    _, wish = await found(stage, region="NO", ttl_s=7200.0, min_reliability=0.9)
    assert wish.region == "NO"
    assert wish.min_seconds_left == 7200.0
    assert wish.min_download_mbps == 500.0
    assert wish.min_reliability == 0.9


async def test_a_family_of_cards_is_asked_for_exactly(stage: Stage):
    _, wish = await found(stage, gpu="h100")
    assert wish.gpus == ("h100-sxm", "h100-pcie", "h100-nvl")


async def test_both_markets_in_one_order(tmp_path):
    stage = two_markets(tmp_path)
    stage.markets[1].catalogue = [
        an_offer(provider=ProviderName.RUNPOD, id="x", usd_per_hour=micro_usd("0.30"))
    ]
    report, _ = await found(stage, BOTH)
    assert [each.provider for each in report.offers] == [ProviderName.RUNPOD, ProviderName.VAST]


async def test_a_market_that_fails_does_not_hide_the_other(tmp_path):
    stage = two_markets(tmp_path, fails={"offers": ProviderError("RunPod answered 503")})
    report, _ = await found(stage, BOTH)
    assert [each.provider for each in report.offers] == [ProviderName.VAST]
    assert [each.message for each in report.problems] == ["RunPod answered 503"]


async def test_when_all_fail_the_first_failure_is_told(tmp_path):
    stage = two_markets(tmp_path, fails={"offers": ProviderError("503")})
    stage.market.fails["offers"] = AuthError("key refused")
    with pytest.raises(AuthError, match="key refused"):
        await found(stage, BOTH)


async def test_dear_offers_are_kept_apart_cheapest_first(stage: Stage):
    stage.market.catalogue = [
        an_offer(id="1", usd_per_hour=micro_usd("0.50")),
        an_offer(id="2", usd_per_hour=micro_usd("0.46"), reliability=0.9),
    ]
    report, wish = await found(stage, max_usd_per_hour=micro_usd("0.40"))
    assert report.offers == []
    assert [each.id for each in report.too_dear] == ["2", "1"]
    assert "cheapest now: $0.46/h" in nothing_fits(report, wish, (ProviderName.VAST,)).message


async def test_machines_that_failed_are_kept_apart_for_a_day(stage: Stage):
    stage.store.avoid(ProviderName.VAST, "m1", "no banner")
    report, wish = await found(stage)
    assert (report.offers, len(report.avoided)) == ([], 1)
    assert "failed within" in nothing_fits(report, wish, (ProviderName.VAST,)).message
    stage.clock.advance(25 * 3600)
    assert len((await found(stage))[0].offers) == 1


async def test_half_a_card_under_the_same_name_is_not_it(stage: Stage):
    stage.market.catalogue = [
        an_offer(id="40", gpu="a100-sxm", gpu_memory_mib=40_960),
        an_offer(id="80", gpu="a100-sxm", gpu_memory_mib=81_920),
    ]
    report, _ = await found(stage, gpu="a100-sxm")
    assert [each.id for each in report.offers] == ["80"]


async def test_when_nothing_is_found_it_asks_again_without_bounds(stage: Stage):
    stage.market.catalogue = [an_offer(reliability=0.9)]
    stage.market.filters = lambda offer, wish: offer.reliability >= wish.min_reliability
    report, wish = await found(stage)
    error = nothing_fits(report, wish, (ProviderName.VAST,))
    assert isinstance(error, NoCapacity)
    assert "1 under 98.0% reliable" in error.message
    assert stage.market.wishes[1].min_reliability == 0


async def test_nothing_at_all(stage: Stage):
    stage.market.catalogue = []
    report, wish = await found(stage)
    message = nothing_fits(report, wish, (ProviderName.VAST,)).message
    assert message == "no RTX 4090 is on offer on vast.ai now"


def test_one_offer_of_each_machine():
    offers = [
        an_offer(id="1"),
        an_offer(id="2"),
        an_offer(id="3", machine="m2"),
        an_offer(id="4", machine=""),
        an_offer(id="5", machine=""),
    ]
    assert [each.id for each in distinct(offers)] == ["1", "3", "4", "5"]
