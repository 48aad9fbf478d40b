"""What a market says it charged: late, with gaps, refunds and rounding, and never silently empty."""

import pytest

from llmctl.core.billing import Charge
from llmctl.core.errors import AuthError, ProviderError
from llmctl.providers.base import SupportsBilling
from tests.contract.bed import Bed

FAULTS = ("429", "http_500", "http_503", "html", "empty", "null", "old_schema", "reset_before")
OPERATION = {"vast": "charges", "runpod": "billing"}
HOUR_S = 3600.0
LONG = 400 * 86400.0


async def charges(bed: Bed, since: float | None = None) -> list[Charge]:
    assert isinstance(bed.provider, SupportsBilling)
    begins = bed.clock.now() - LONG if since is None else since
    bill = await bed.provider.bill(begins, bed.clock.now())
    assert bill.provider is bed.name
    return bill.charges


def total(found: list[Charge], instance_id: str) -> int:
    return sum(each.amount for each in found if each.instance_id == instance_id)


def rounding(found: list[Charge]) -> int:
    return sum(each.rounding for each in found) + 1


async def long_lived(bed: Bed) -> str:
    """Rent for three days and a half, with a day in which it was stopped."""
    instance_id = (await bed.up(deadline=bed.clock.now() + LONG)).id
    bed.clock.advance(30 * HOUR_S)
    await bed.provider.stop(instance_id)
    bed.clock.advance(24 * HOUR_S)
    await bed.provider.start(instance_id)
    bed.market.machines[instance_id].deadline = None
    bed.clock.advance(30 * HOUR_S)
    return instance_id


async def test_the_bill_is_what_the_market_counted(bed: Bed):
    instance_id = await long_lived(bed)
    found = await charges(bed)
    assert total(found, instance_id) == pytest.approx(bed.market.bill(), abs=rounding(found))
    assert all(each.begins <= each.ends for each in found)


async def test_what_was_destroyed_stays_on_the_bill(bed: Bed):
    instance_id = await long_lived(bed)
    before = total(await charges(bed), instance_id)
    await bed.provider.destroy(instance_id)
    bed.clock.advance(48 * HOUR_S)
    assert total(await charges(bed), instance_id) == before > 0


async def test_everybodys_instances_are_on_it_by_their_id(bed: Bed):
    (foreign,) = bed.foreign(1)
    mine = await long_lived(bed)
    assert {each.instance_id for each in await charges(bed)} == {foreign.id, mine}


async def test_a_long_bill_is_read_to_its_end(bed: Bed):
    bed.foreign(300)
    mine = await bed.rent(deadline=bed.clock.now() + LONG)
    bed.clock.advance(72 * HOUR_S)
    found = await charges(bed)
    assert len(found) > 900
    assert len({each.instance_id for each in found}) == 301
    assert total(found, mine) > 0


async def test_only_the_range_is_asked_for(bed: Bed):
    instance_id = await long_lived(bed)
    all_of_it = await charges(bed)
    some = await charges(bed, since=bed.clock.now() - 3 * HOUR_S)
    assert 0 < total(some, instance_id) < total(all_of_it, instance_id)
    assert min(each.ends for each in some) > bed.clock.now() - 25 * HOUR_S


async def test_a_bill_that_lags_says_nothing_of_what_is_new(bed: Bed):
    bed.market.billing.lag_s = 12 * HOUR_S
    instance_id = (await bed.up(deadline=bed.clock.now() + LONG)).id
    bed.clock.advance(6 * HOUR_S)
    assert await charges(bed) == []
    bed.clock.advance(12 * HOUR_S)
    assert 0 < total(await charges(bed), instance_id) < bed.market.bill()


async def test_a_refund_is_below_zero(bed: Bed):
    instance_id = await long_lived(bed)
    before = await charges(bed)
    bed.market.billing.refund(bed.market.machines[instance_id], 250_000)
    bed.clock.advance(1.0)  # which costs something too
    after = await charges(bed)
    given_back = total(before, instance_id) - total(after, instance_id)
    assert given_back == pytest.approx(250_000, abs=rounding(after) + 500)
    assert min(each.amount for each in after) < 0


async def test_an_account_without_instances_has_no_charges(bed: Bed):
    assert await charges(bed) == []


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_bill_that_cannot_be_read_is_never_taken_for_empty(bed: Bed, fault: str):
    await long_lived(bed)
    bed.market.faults.add(OPERATION[bed.name.value], fault, times=-1)
    with pytest.raises(ProviderError):
        await charges(bed)


async def test_a_refused_key_is_said(bed: Bed):
    provider = bed.with_key("wrong-key-nobody-may-see-1234")
    with pytest.raises(AuthError):
        await provider.bill(bed.clock.now() - LONG, bed.clock.now())


async def test_reading_the_bill_changes_nothing(bed: Bed):
    await long_lived(bed)
    writes = len(bed.market.writes())
    await charges(bed)
    assert len(bed.market.writes()) == writes
