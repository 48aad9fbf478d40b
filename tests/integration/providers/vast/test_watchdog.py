"""The real start script on an emulated machine: nobody logs in, and it ends itself all the same."""

import shutil
import time

import pytest

from llmctl.core.rental import ProviderName
from llmctl.providers.vast.adapter import VastProvider
from llmctl.ssh.watchdog import Guard, start_script
from tests.contract.bed import Bed
from tests.emulators.market import Market, RealClock
from tests.emulators.vast import VastEmulator
from tests.integration.eventually import eventually


@pytest.mark.skipif(shutil.which("curl") is None, reason="the watchdog calls curl here")
async def test_a_machine_nobody_reached_ends_itself_at_its_deadline(bed: Bed):
    clock = RealClock()
    async with VastEmulator(Market(clock), run_onstart=True) as vast:
        contracts = vast.contracts
        contracts.schedule_s = contracts.pull_s = contracts.create_s = 0.0
        provider = VastProvider(vast.key, base_url=vast.url, clock=clock)
        deadline = time.time() + 4
        guard = Guard(
            provider=ProviderName.VAST,
            instance_id="",
            api_url=vast.url,
            deadline=deadline,
            idle_s=0,
            retry_s=1,
        )
        (offer, *_) = await provider.offers(bed.wish())
        order = bed.order(offer, start_script=start_script(guard), deadline=deadline)
        created = await provider.create(order)
        await eventually(lambda: vast.containers.processes_of(created.id))
        assert await provider.get(created.id) is not None
        await eventually(lambda: not vast.market.live(), within_s=40)
        assert vast.market.machines[created.id].ended_at >= int(deadline)
        assert await provider.get(created.id) is None
        await eventually(lambda: not vast.containers.processes_of(created.id))
