"""Orders: the key on the account, bids, refusals that leave a contract behind, and the wire."""

import pytest

from llmctl.core.errors import (
    InsufficientCredit,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
)
from llmctl.core.money import micro_usd
from tests.contract.bed import PUBLIC_KEY, Bed
from tests.emulators.vast import VastEmulator


async def test_the_order_as_it_is_sent(bed: Bed, vast: VastEmulator):
    instance_id = await bed.rent()
    body = vast.market.machines[instance_id].spec["body"]
    assert body["runtype"] == "ssh_direc ssh_proxy"
    assert body["disk"] == 60
    assert body["price"] is None
    assert body["cancel_unavail"] is True
    assert body["env"] == {"LLMCTL_DEADLINE": f"{bed.clock.now() + 3600:.0f}"}


async def test_the_key_is_registered_once(bed: Bed, vast: VastEmulator):
    await bed.rent()
    await bed.rent()
    assert [key["public_key"] for key in vast.ssh_keys] == [PUBLIC_KEY]
    assert bed.calls("keys") == bed.calls("add_key") == 1
    assert bed.calls("attach") == 2


async def test_a_known_key_with_another_comment_is_not_added(bed: Bed, vast: VastEmulator):
    vast.ssh_keys = [
        {"id": 1, "key": " ".join(PUBLIC_KEY.split()[:2]) + " laptop"},
        {"id": 2, "public_key": "/home/someone/.ssh/id_ed25519.pub"},
        {"id": 3, "public_key": None},
    ]
    await bed.rent()
    assert bed.calls("add_key") == 0


async def test_a_404_is_an_account_without_keys(bed: Bed, vast: VastEmulator):
    bed.poison("keys", "gone")
    await bed.rent()
    assert len(vast.ssh_keys) == 1


async def test_a_team_has_only_the_key_of_the_instance(bed: Bed, vast: VastEmulator):
    vast.team = True
    instance_id = await bed.rent()
    assert vast.market.machines[instance_id].spec["keys"] == [PUBLIC_KEY]


async def test_attaching_may_fail(bed: Bed):
    bed.poison("attach", "http_500", times=-1)
    assert await bed.rent() in bed.market.machines


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        *(("keys", fault) for fault in ("http_500", "html", "null", "old_schema", "bad_request")),
        *(("add_key", fault) for fault in ("http_500", "html", "bad_request")),
    ],
)
async def test_without_its_key_nothing_is_rented(bed: Bed, operation: str, fault: str):
    bed.poison(operation, fault, times=-1)
    with pytest.raises(ProviderError) as refused:
        await bed.rent()
    assert not isinstance(refused.value, OutcomeUnknown)
    assert bed.calls("create") == 0


@pytest.mark.parametrize("fault", ["offer_gone", "offer_gone_404", "offer_gone_410"])
async def test_gone_is_known_by_its_words_whatever_the_status(bed: Bed, fault: str):
    bed.poison("create", fault)
    with pytest.raises(NoCapacity):
        await bed.rent()


async def test_the_same_offer_cannot_be_rented_twice(bed: Bed):
    offer = await bed.offer()
    await bed.provider.create(bed.order(offer))
    with pytest.raises(NoCapacity):
        await bed.provider.create(bed.order(offer))


async def test_the_spend_limit_of_new_accounts(bed: Bed):
    bed.poison("create", "spend_limit")
    with pytest.raises(InsufficientCredit, match="spend limit"):
        await bed.rent()


@pytest.mark.parametrize("fault", ["html_403", "http_504", "old_schema", "empty_after"])
async def test_who_did_not_say_no_may_have_said_yes(bed: Bed, fault: str):
    bed.poison("create", fault)
    with pytest.raises(OutcomeUnknown):
        await bed.rent()


async def test_a_no_with_status_200(bed: Bed):
    bed.poison("create", "silent_no")
    with pytest.raises(ProviderError, match="try another") as refused:
        await bed.rent()
    assert not isinstance(refused.value, OutcomeUnknown)


async def test_an_offer_is_to_be_had_again_when_its_machine_is_gone(bed: Bed):
    offer = await bed.offer()
    first = await bed.provider.create(bed.order(offer))
    await bed.provider.destroy(first.id)
    assert await bed.offer() == offer


async def test_a_bid_is_for_the_whole_machine(bed: Bed, vast: VastEmulator):
    offer = await bed.offer(spot=True)
    order = bed.order(offer, bid_usd_per_hour=micro_usd("0.2"))
    created = await bed.provider.create(order)
    assert vast.market.machines[created.id].spec["bid"] == 0.2
    assert (await bed.provider.get(created.id)).spot


async def test_without_a_bid_the_offers_price_is_bid(bed: Bed, vast: VastEmulator):
    offer = await bed.offer(spot=True)
    created = await bed.provider.create(bed.order(offer))
    assert vast.market.machines[created.id].spec["bid"] == offer.usd_per_hour / 1_000_000


async def test_a_bid_that_is_too_low_leaves_no_stopped_contract(bed: Bed):
    offer = await bed.offer(spot=True)
    with pytest.raises(NoCapacity, match="30000001 was ended"):
        await bed.provider.create(bed.order(offer, bid_usd_per_hour=micro_usd("0.01")))
    assert bed.market.machines and not bed.market.live()


async def test_ending_it_is_insisted_on(bed: Bed):
    bed.poison("create", "bid_low")
    bed.poison("destroy", "http_500", times=2)
    with pytest.raises(NoCapacity):
        await bed.rent()
    assert not bed.market.live()


async def test_one_that_cannot_be_ended_is_not_forgotten(bed: Bed):
    bed.poison("create", "bid_low")
    bed.poison("destroy", "http_500", times=-1)
    with pytest.raises(OutcomeUnknown, match="30000001"):
        await bed.rent()
    assert len(bed.market.live()) == 1


async def test_a_script_that_does_not_fit_is_not_sent(bed: Bed):
    with pytest.raises(ProviderError, match="4097 characters"):
        await bed.rent(start_script="#" * 4097)
    assert bed.calls("create") == 0
