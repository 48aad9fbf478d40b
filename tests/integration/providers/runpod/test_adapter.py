"""What is RunPod's own, through the adapter; what all markets share is in ``tests/contract``."""

from collections.abc import AsyncIterator

import pytest

from llmctl.core.errors import NoCapacity
from llmctl.core.rental import Instance, InstanceState, Offer, OfferWish, Order
from llmctl.providers.runpod.adapter import RunPodProvider
from tests.emulators.runpod import RunPod

WISH = OfferWish(gpus=("rtx4090",), disk_gb=72)
ARMS = 'echo "until $LLMCTL_DEADLINE"\n'


@pytest.fixture
async def provider(runpod: RunPod) -> AsyncIterator[RunPodProvider]:
    opened = RunPodProvider(runpod.key, key_hint="test", sleep=runpod.market.clock.sleep)
    yield opened
    await opened.close()


def order(offer: Offer, **changes) -> Order:
    usual = {
        "offer": offer,
        "label": "llmctl/0a1b2c3d/" + "1" * 32,
        "image": "runpod/base:1.0.2-ubuntu2204",
        "disk_gb": 72,
        "public_key": "ssh-ed25519 AAAA test",
        "start_script": ARMS,
        "deadline": 1_800_003_600.0,
    }
    return Order(**(usual | changes))


async def up(runpod: RunPod, provider: RunPodProvider, **changes) -> Instance:
    offers = await provider.offers(WISH)
    secure = next(each for each in offers if each.region == "EU-RO-1")
    made = await provider.create(order(secure, **changes))
    runpod.market.clock.advance(60)
    found = await provider.get(made.id)
    assert found is not None
    return found


async def test_the_offer_is_what_is_rented_and_billed(runpod, provider):
    found = await up(runpod, provider)
    assert (found.region, found.machine) == ("EU-RO-1", "EU-RO-1")
    assert found.usd_per_hour == 700_000
    assert runpod.market.bill() == 700_000 // 60
    (machine,) = runpod.market.live()
    assert machine.spec["env"]["PUBLIC_KEY"] == "ssh-ed25519 AAAA test"
    assert runpod.ssh_keys == []


async def test_the_community_cloud_chooses_the_place_itself(runpod, provider):
    community = [each for each in await provider.offers(WISH) if not each.secure]
    assert [each.machine for each in community] == ["COMMUNITY"]
    await provider.create(order(community[0]))
    assert runpod.market.live()[0].spec["body"]["cloud"] == "COMMUNITY"


async def test_stock_may_be_gone_between_offer_and_order(runpod, provider):
    offer = next(each for each in await provider.offers(WISH) if each.secure)
    runpod.pods.gpu("NVIDIA GeForce RTX 4090").stock[offer.region] = "NONE"
    with pytest.raises(NoCapacity, match="no longer any instances"):
        await provider.create(order(offer))


async def test_the_driver_that_was_asked_for_is_the_one_that_is_rented(runpod, provider):
    wish = OfferWish(gpus=("rtx4090",), disk_gb=72, min_cuda=12.8)
    offer = (await provider.offers(wish))[0]
    runpod.pods.gpu("NVIDIA GeForce RTX 4090").cuda = ("12.4",)
    with pytest.raises(NoCapacity):
        await provider.create(order(offer))
    assert await provider.offers(wish) == []


async def test_a_volume_is_found_mounted_and_kept(runpod, provider):
    runpod.add_volume("vol1", place="US-KS-2")
    (offer,) = await provider.offers(OfferWish(gpus=("rtx4090",), disk_gb=20, volume="vol1"))
    assert offer.region == "US-KS-2"
    made = await provider.create(order(offer, volume="vol1", disk_gb=20))
    (machine,) = runpod.market.live()
    assert machine.spec["body"]["mounts"]["network"][0]["volumeId"] == "vol1"
    await provider.destroy(made.id)
    assert "vol1" in runpod.pods.volumes


async def test_the_port_list_is_enough_to_reach_it(runpod, provider):
    runpod.pods.fate = "ssh_null"
    found = await up(runpod, provider)
    assert [each.host for each in found.addresses] == ["203.0.113.7"]


async def test_a_host_nobody_can_reach_is_given_up(runpod, provider):
    runpod.pods.fate = "no_public_ip"
    found = await up(runpod, provider)
    assert (found.state, found.fatal, found.addresses) == (InstanceState.RUNNING, True, ())


async def test_a_start_makes_another_generation_at_another_port(runpod, provider):
    first = await up(runpod, provider)
    await provider.stop(first.id)
    runpod.market.clock.advance(60)
    await provider.start(first.id)
    runpod.market.clock.advance(60)
    second = await provider.get(first.id)
    assert second is not None
    assert second.generation != first.generation
    assert second.addresses != first.addresses


async def test_a_list_that_lags_still_has_what_is_older(runpod, provider):
    runpod.market.list_lag_s = 30
    old = await up(runpod, provider)
    await provider.create(order((await provider.offers(WISH))[0], label="llmctl/0a1b2c3d/new"))
    assert [each.id for each in await provider.instances()] == [old.id]
    runpod.market.clock.advance(31)
    assert len(await provider.instances()) == 2
