"""Destroy, stop, start: what they promise, and what they must not hide."""

import pytest

from llmctl.core.errors import AuthError, NoCapacity, NotFound, ProviderError
from llmctl.core.rental import InstanceState
from llmctl.providers.base import SupportsStop
from tests.contract.bed import Bed

FAULTS = ("429", "http_500", "http_503", "html_after", "reset_before")


async def test_destroyed_is_gone_and_bills_no_more(bed: Bed):
    instance = await bed.up()
    await bed.provider.destroy(instance.id)
    bill = bed.market.bill()
    assert bill > 0
    bed.clock.advance(3600)
    assert bed.market.bill() == bill
    assert await bed.provider.get(instance.id) is None
    assert await bed.provider.instances() == []


async def test_destroying_again_is_success(bed: Bed):
    instance = await bed.up()
    await bed.provider.destroy(instance.id)
    await bed.provider.destroy(instance.id)
    assert await bed.provider.get(instance.id) is None


async def test_not_there_any_more_is_success(bed: Bed):
    instance_id = await bed.rent()
    bed.poison("destroy", "gone", times=-1)
    await bed.provider.destroy(instance_id)
    assert bed.calls("destroy") == 1
    assert len(bed.market.ours()) == 1, "the market said so, and was not asked again"


async def test_a_lie_is_seen_by_looking(bed: Bed):
    instance_id = await bed.rent()
    bed.poison("destroy", "lies")
    await bed.provider.destroy(instance_id)
    assert await bed.provider.get(instance_id) is not None
    await bed.provider.destroy(instance_id)
    assert await bed.provider.get(instance_id) is None


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failure_to_destroy_is_never_taken_for_success(bed: Bed, fault: str):
    instance_id = await bed.rent()
    bed.poison("destroy", fault, times=-1)
    with pytest.raises(ProviderError):
        await bed.provider.destroy(instance_id)


async def test_a_key_that_is_refused_is_not_taken_for_gone(bed: Bed):
    instance_id = await bed.rent()
    provider = bed.with_key("wrong-key-nobody-may-see-1234")
    with pytest.raises(AuthError):
        await provider.destroy(instance_id)
    assert len(bed.market.ours()) == 1


async def test_destroying_touches_nothing_else(bed: Bed):
    foreign = bed.foreign(30)
    await bed.provider.destroy(await bed.rent())
    assert len(bed.market.live()) == len(foreign)


def stoppable(bed: Bed) -> SupportsStop:
    if "stop" not in bed.features:
        pytest.skip("this market cannot stop instances")
    assert isinstance(bed.provider, SupportsStop)
    return bed.provider


async def test_stopped_costs_less_and_starts_again(bed: Bed):
    provider = stoppable(bed)
    before = await bed.up()
    await provider.stop(before.id)
    stopped = await bed.provider.get(before.id)
    assert stopped is not None
    assert stopped.state is InstanceState.STOPPED
    assert stopped.addresses == ()
    bill = bed.market.bill()
    bed.clock.advance(3600)
    assert bed.market.bill() - bill < (before.usd_per_hour or 0) / 2
    await provider.start(before.id)
    bed.clock.advance(600)
    after = await bed.provider.get(before.id)
    assert after is not None
    assert after.state is InstanceState.RUNNING
    assert after.generation != before.generation
    assert after.addresses != before.addresses


async def test_a_start_without_a_gpu_leaves_nothing_queued(bed: Bed):
    provider = stoppable(bed)
    instance = await bed.up()
    await provider.stop(instance.id)
    bed.poison("start", "gpu_taken")
    with pytest.raises(NoCapacity):
        await provider.start(instance.id)
    bed.clock.advance(3600)
    stopped = await bed.provider.get(instance.id)
    assert stopped is not None
    assert stopped.state is InstanceState.STOPPED


@pytest.mark.parametrize("operation", ["stop", "start"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_failure_to_switch_is_said(bed: Bed, operation: str, fault: str):
    provider = stoppable(bed)
    instance = await bed.up()
    if operation == "start":
        await provider.stop(instance.id)
    bed.poison(operation, fault, times=-1)
    with pytest.raises(ProviderError):
        await (provider.stop if operation == "stop" else provider.start)(instance.id)


async def test_what_does_not_exist_cannot_be_switched(bed: Bed):
    provider = stoppable(bed)
    instance = await bed.up()
    await bed.provider.destroy(instance.id)
    with pytest.raises(NotFound):
        await provider.stop(instance.id)
    with pytest.raises(NotFound):
        await provider.start(instance.id)
