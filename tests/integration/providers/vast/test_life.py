"""The life of contracts, as vast.ai tells it."""

import pytest

from llmctl.core.errors import NoCapacity, ProviderError
from llmctl.core.rental import InstanceState, SshAddress
from tests.contract.bed import Bed
from tests.emulators.vast import VastEmulator


async def look(bed: Bed, instance_id: str):
    instance = await bed.provider.get(instance_id)
    assert instance is not None
    return instance


async def test_the_direct_port_comes_first_then_the_relay(bed: Bed, vast: VastEmulator):
    vast.place(ssh_port=40022, relay=("ssh9.vast.ai", 12345))
    instance = await bed.up()
    assert instance.addresses == (
        SshAddress(host="127.0.0.1", port=40022),
        SshAddress(host="ssh9.vast.ai", port=12345, relay=True),
    )


async def test_a_host_without_ports_is_reached_through_the_relay(bed: Bed):
    bed.set_fate("relay_only")
    instance = await bed.up()
    assert [address.relay for address in instance.addresses] == [True]


@pytest.mark.parametrize(
    ("fate", "words"), [("oci_error", "OCI runtime"), ("no_manifest", "manifest unknown")]
)
async def test_docker_errors_are_fatal(bed: Bed, fate: str, words: str):
    bed.set_fate(fate)
    instance = await bed.up()
    assert instance.fatal
    assert words in instance.detail


async def test_a_container_that_dies_gets_a_minute(bed: Bed):
    bed.set_fate("exits")
    instance = await bed.up()
    assert instance.state is InstanceState.LOADING
    bed.clock.advance(61)
    assert (await look(bed, instance.id)).state is InstanceState.FAILED
    assert (await bed.provider.instances())[0].state is InstanceState.FAILED


async def test_a_minute_counts_anew_after_it_was_seen_alive(bed: Bed):
    instance = await bed.up()
    await bed.provider.stop(instance.id)
    await bed.provider.start(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.LOADING
    bed.clock.advance(30)
    assert (await look(bed, instance.id)).state is InstanceState.RUNNING
    bed.clock.advance(300)
    await bed.provider.stop(instance.id)
    await bed.provider.start(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.LOADING


async def test_a_lost_host(bed: Bed):
    bed.set_fate("offline")
    assert (await bed.up()).state is InstanceState.LOST


async def test_outbid_is_stopped_without_asking(bed: Bed, vast: VastEmulator):
    instance = await bed.up()
    vast.contracts.outbid(vast.market.machines[instance.id])
    assert (await look(bed, instance.id)).state is InstanceState.STOPPED


async def test_a_start_that_was_accepted_may_be_queued_all_the_same(bed: Bed):
    instance = await bed.up()
    await bed.provider.stop(instance.id)
    bed.poison("start", "queued_silently")
    await bed.provider.start(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.QUEUED
    await bed.provider.stop(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.STOPPED


async def test_taking_back_a_start_is_insisted_on(bed: Bed):
    instance = await bed.up()
    await bed.provider.stop(instance.id)
    bed.poison("start", "gpu_taken")
    bed.poison("stop", "429", times=6)
    with pytest.raises(NoCapacity):
        await bed.provider.start(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.STOPPED


async def test_a_start_that_stays_queued_is_said(bed: Bed):
    instance = await bed.up()
    await bed.provider.stop(instance.id)
    bed.poison("start", "gpu_taken")
    bed.poison("stop", "http_500", times=-1)
    with pytest.raises(ProviderError, match="may start and bill at any time"):
        await bed.provider.start(instance.id)
    assert (await look(bed, instance.id)).state is InstanceState.QUEUED


async def test_a_refusal_with_status_200_is_a_refusal(bed: Bed):
    instance = await bed.up()
    bed.poison("destroy", "refused")
    with pytest.raises(ProviderError, match="try again later"):
        await bed.provider.destroy(instance.id)
    assert bed.market.ours()


async def test_recycling_makes_a_new_generation(bed: Bed, vast: VastEmulator):
    before = await bed.up()
    vast.contracts.recycle(vast.market.machines[before.id])
    bed.clock.advance(600)
    assert (await look(bed, before.id)).generation != before.generation


async def test_an_id_of_another_market_is_refused(bed: Bed):
    with pytest.raises(ProviderError, match="'pod0001x7k2' is no id"):
        await bed.provider.destroy("pod0001x7k2")


@pytest.mark.parametrize("fault", ["null_page", "html", "old_schema"])
async def test_a_second_page_that_cannot_be_read_spoils_the_list(
    bed: Bed, vast: VastEmulator, fault
):
    bed.foreign(30)
    vast.market.faults.add("list", fault, times=-1, after=1)
    with pytest.raises(ProviderError):
        await bed.provider.instances()


async def test_pages_keep_the_interval_that_is_asked_for(bed: Bed, vast: VastEmulator):
    vast.paced = True
    bed.foreign(110)
    begin = bed.clock.now()
    assert len(await bed.provider.instances()) == 110
    assert bed.calls("list") == 5
    assert bed.clock.now() - begin < 10


async def test_logs_are_awaited_and_fetched_without_the_key(bed: Bed, vast: VastEmulator):
    instance = await bed.up()
    assert await bed.provider.logs(instance.id, lines=1) == ["sshd listening on 22"]
    assert bed.calls("result") == 2


async def test_logs_that_never_come(bed: Bed):
    instance = await bed.up()
    bed.poison("result", "never", times=-1)
    with pytest.raises(ProviderError, match="not uploaded in 10 s"):
        await bed.provider.logs(instance.id, lines=1)
