"""Account, offers, instances: what is read, and that what cannot be read is never empty."""

import pytest

from llmctl.core.errors import AuthError, LlmctlError, ProviderError
from llmctl.core.money import micro_usd
from llmctl.core.rental import InstanceState
from llmctl.providers.base import Provider
from tests.contract.bed import LABEL, Bed

UNREADABLE = ("429", "http_500", "http_503", "html", "empty", "null", "old_schema", "reset_before")
READS = ("account", "offers", "list", "get")


async def read(provider: Provider, operation: str, bed: Bed, instance_id: str = "1"):
    if operation == "account":
        return await provider.account()
    if operation == "offers":
        return await provider.offers(bed.wish())
    return await (provider.instances() if operation == "list" else provider.get(instance_id))


async def test_account_says_what_may_be_spent(bed: Bed):
    bed.market.credit = 12_340_000
    account = await bed.provider.account()
    if "credit" in bed.features:
        assert account.credit == micro_usd("12.34")
    else:
        assert account.credit is None


async def test_offers_are_of_the_card_that_is_wanted(bed: Bed):
    offers = await bed.provider.offers(bed.wish())
    assert offers
    assert {offer.gpu for offer in offers} == {bed.gpu}
    assert {offer.provider for offer in offers} == {bed.name}
    assert all(offer.usd_per_hour > 0 and offer.gpu_count == 1 for offer in offers)
    assert all(offer.gpu_memory_mib >= 24_000 for offer in offers)
    assert len({offer.id for offer in offers}) == len(offers)


async def test_prices_hold_the_disk(bed: Bed):
    small, large = await bed.offer(disk_gb=40), await bed.offer(disk_gb=400)
    assert large.usd_per_hour > small.usd_per_hour
    assert large.stopped_usd_per_hour >= small.stopped_usd_per_hour


async def test_dear_offers_are_returned_too(bed: Bed):
    everything = await bed.provider.offers(bed.wish())
    assert await bed.provider.offers(bed.wish(max_usd_per_hour=micro_usd("0.01"))) == everything


async def test_no_offer_is_no_error(bed: Bed):
    assert await bed.provider.offers(bed.wish(region="ZZ")) == []


async def test_reading_rents_nothing(bed: Bed):
    for operation in READS:
        await read(bed.provider, operation, bed)
    assert not bed.market.machines


async def test_a_refused_key_is_said_without_being_shown(bed: Bed):
    provider = bed.with_key("wrong-key-nobody-may-see-1234")
    for operation in READS:
        with pytest.raises(AuthError) as refused:
            await read(provider, operation, bed)
        assert "wrong-key" not in f"{refused.value}{refused.value.hint}{provider.key_hint}"
        assert "1234" in refused.value.message


@pytest.mark.parametrize("operation", READS)
@pytest.mark.parametrize("fault", UNREADABLE)
async def test_what_cannot_be_read_is_never_empty(bed: Bed, operation: str, fault: str):
    bed.foreign(1)
    instance_id = await bed.rent()
    bed.poison(operation, fault, times=-1)
    with pytest.raises(ProviderError):
        await read(bed.provider, operation, bed, instance_id)


@pytest.mark.parametrize("operation", READS)
async def test_silence_ends(bed: Bed, operation: str):
    bed.poison(operation, "hang_before", times=-1)
    with pytest.raises(ProviderError) as silent:
        await read(bed.impatient, operation, bed)
    assert silent.value.retryable


@pytest.mark.parametrize("operation", READS)
async def test_a_passing_failure_may_be_tried_again(bed: Bed, operation: str):
    bed.poison(operation, "http_503", times=-1)
    with pytest.raises(ProviderError) as passing:
        await read(bed.provider, operation, bed)
    assert passing.value.retryable


async def test_instances_shows_everything_also_what_is_not_ours(bed: Bed):
    foreign = bed.foreign(60)
    ours = await bed.rent()
    listed = {instance.id: instance for instance in await bed.provider.instances()}
    assert set(listed) == {machine.id for machine in foreign} | {ours}
    assert listed[ours].label == LABEL.format(1)
    assert listed[ours] == await bed.provider.get(ours)


async def test_a_list_that_lags_does_not_hide_an_instance_from_get(bed: Bed):
    bed.market.list_lag_s = 60.0
    instance_id = await bed.rent()
    assert await bed.provider.instances() == []
    assert await bed.provider.get(instance_id) is not None
    bed.clock.advance(61)
    assert [each.id for each in await bed.provider.instances()] == [instance_id]


async def test_an_instance_comes_up(bed: Bed):
    instance_id = await bed.rent()
    seen, spent = [], 0
    while not seen or seen[-1] is not InstanceState.RUNNING:
        instance = await bed.provider.get(instance_id)
        assert instance is not None and spent < 600
        seen.append(instance.state)
        bed.clock.advance(1)
        spent += 1
    assert set(seen) == {InstanceState.PENDING, InstanceState.LOADING, InstanceState.RUNNING}
    instance = await bed.provider.get(instance_id)
    assert instance is not None
    assert not instance.addresses[0].relay
    assert instance.addresses[0].host == "203.0.113.7"
    assert instance.usd_per_hour
    assert instance.generation
    assert not instance.fatal


@pytest.mark.parametrize(
    ("fate", "states"),
    [
        ("never_scheduled", {InstanceState.PENDING}),
        ("stuck", {InstanceState.LOADING}),
        ("dead", {InstanceState.FAILED}),
    ],
)
async def test_what_does_not_come_up(bed: Bed, fate: str, states: set[InstanceState]):
    bed.set_fate(fate)
    instance = await bed.up()
    assert {instance.state} == states
    assert instance.addresses == ()


async def test_a_machine_without_sshd_has_no_direct_address(bed: Bed):
    bed.set_fate("no_address")
    instance = await bed.up()
    assert instance.state is InstanceState.RUNNING
    assert all(address.relay for address in instance.addresses)


async def test_logs_are_the_last_lines(bed: Bed):
    if "logs" not in bed.features:
        pytest.skip("this market shows no logs")
    instance = await bed.up()
    bed.market.machines[instance.id].spec["lines"] = [f"line {n}" for n in range(50)]
    assert await bed.provider.logs(instance.id, lines=3) == ["line 47", "line 48", "line 49"]


@pytest.mark.parametrize("fault", ["http_500", "html", "null"])
async def test_logs_that_cannot_be_had(bed: Bed, fault: str):
    if "logs" not in bed.features:
        pytest.skip("this market shows no logs")
    instance = await bed.up()
    bed.poison("logs", fault, times=-1)
    with pytest.raises(LlmctlError):
        await bed.provider.logs(instance.id, lines=3)


async def test_a_person_finds_the_instance(bed: Bed):
    assert bed.provider.console_url("1").startswith("https://")
