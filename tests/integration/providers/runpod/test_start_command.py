"""The start command as a shell runs it: what the script sees, and that sshd's turn comes after it."""

import asyncio
import os
import shlex
import time
from pathlib import Path

import pytest

from llmctl.core.rental import OfferWish, Order, ProviderName
from llmctl.providers.runpod.adapter import RunPodProvider
from llmctl.providers.runpod.order import start_command
from llmctl.ssh.watchdog import Guard, start_script
from tests.emulators.market import Market, RealClock
from tests.emulators.runpod import RunPod
from tests.integration.eventually import eventually


async def run(script: str, deadline: float, tmp_path: Path) -> tuple[str, int]:
    """Run it until the image's own command has ended; return what was said, and its process."""
    start = tmp_path / "start.sh"
    start.write_text('#!/bin/sh\necho "sshd starts as $$"\n')
    start.chmod(0o755)
    command = start_command(script).replace("/start.sh", str(start))
    process = await asyncio.create_subprocess_exec(
        *shlex.split(command),
        env={"PATH": os.environ["PATH"], "LLMCTL_DEADLINE": f"{deadline:.0f}"},
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return said.decode(), process.pid


async def test_the_script_knows_its_deadline(tmp_path):
    deadline = time.time() + 7200
    said, _ = await run("echo \"until '$LLMCTL_DEADLINE'\"\n", deadline, tmp_path)
    assert said.startswith(f"until '{deadline:.0f}'\n")


@pytest.mark.parametrize("script", ["exit 3\n", "this is no command\n", "cat\n", ""])
async def test_sshd_starts_whatever_the_script_does(script, tmp_path):
    said, pid = await run(script, time.time() + 60, tmp_path)
    # it became that command, as the first process of a container has to
    assert said.endswith(f"sshd starts as {pid}\n")


async def test_a_deadline_is_kept_with_nobody_there(monkeypatch):
    """The real start script, in a pod that nobody logs in to, ends it through the API."""
    market = Market(RealClock())
    async with RunPod(market, run_args=True) as runpod:
        monkeypatch.setenv("RUNPOD_API_BASE_URL", runpod.url)
        runpod.pods.provisioning_s = runpod.pods.starting_s = 0.0
        deadline = float(int(time.time()) + 4)
        guard = Guard(
            provider=ProviderName.RUNPOD, instance_id="", api_url=runpod.url, deadline=deadline,
            idle_s=0, retry_s=1,
        )  # fmt: skip
        provider = RunPodProvider(runpod.key, key_hint="test")
        offers = await provider.offers(OfferWish(gpus=("rtx4090",), disk_gb=20))
        order = Order(
            offer=offers[0], label="llmctl/0a1b2c3d/1", image="runpod/base", disk_gb=20,
            public_key="ssh-ed25519 AAAA test", start_script=start_script(guard), deadline=deadline,
        )  # fmt: skip
        pod_id = (await provider.create(order)).id
        await provider.close()
        await eventually(lambda: runpod.containers.processes_of(pod_id))
        await eventually(lambda: market.machine(pod_id) is None, within_s=40)
        assert deadline <= (market.machines[pod_id].ended_at or 0) < deadline + 30
        await eventually(lambda: not runpod.containers.processes_of(pod_id))
