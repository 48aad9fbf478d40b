"""A street of machines: both markets, a real sshd behind every instance, an archive to install."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmctl.ssh.keys import load_or_make_key
from tests.emulators.market import Market, RealClock
from tests.emulators.ollama_server.archive import ArchiveServer, pack
from tests.emulators.runpod import RunPod
from tests.emulators.vast import VastEmulator
from tests.integration.ssh.sshd import Sshd, _free_port

NVIDIA_SMI = """#!/bin/sh
case "$*" in
*utilization*) echo 0 ;;
*memory.total*) echo "NVIDIA GeForce RTX 4090, 24564" ;;
esac
"""
QUICK_S = 0.3
"""How long each phase of an emulated machine takes here, in real time."""


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Street:
    """``await street.llmctl("up", "--yes")`` runs the installed command against all of it."""

    def __init__(self, home: Path, vast: VastEmulator, runpod: RunPod, sshd: Sshd) -> None:
        self.home, self.vast, self.runpod, self.sshd = home, vast, runpod, sshd
        self.environment: dict[str, str] = {}

    async def start(self, *arguments: str, **more: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmctl",
            *arguments,
            env={**os.environ, **self.environment, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def llmctl(self, *arguments: str, **more: str) -> Ran:
        process = await self.start(*arguments, **more)
        out, err = await process.communicate()
        return Ran(process.returncode, out.decode(), err.decode())

    async def ok(self, *arguments: str, **more: str) -> Ran:
        ran = await self.llmctl(*arguments, **more)
        assert ran.code == 0, ran.err
        return ran


@pytest.fixture
async def street(tmp_path: Path) -> AsyncIterator[Street]:
    async with a_street(tmp_path) as made:
        yield made


@asynccontextmanager
async def a_street(tmp_path: Path) -> AsyncIterator[Street]:
    """Give all of it, and end what runs there."""
    home, machine = tmp_path / "llmctl", tmp_path / "machine"
    tools = machine / "bin"
    tools.mkdir(parents=True)
    (tools / "nvidia-smi").write_text(NVIDIA_SMI)
    (tools / "nvidia-smi").chmod(0o755)
    key = load_or_make_key(home / "data" / "ssh")
    environment = {
        "HOME": str(machine),
        "LLMCTL_PREFIX": str(machine / ".local"),
        "LLMCTL_STATE_DIR": str(machine / ".llmctl"),
        "PATH": f"{tools}:{os.environ['PATH']}",
    }
    sshd = Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment)
    # where sshd looks is where keys are added
    (machine / ".ssh").mkdir(mode=0o700)
    (machine / ".ssh" / "authorized_keys").symlink_to(tmp_path / "sshd" / "authorized_keys")
    with sshd, ArchiveServer(pack("tgz")) as archive:
        async with (
            VastEmulator(Market(RealClock())) as vast,
            RunPod(Market(RealClock())) as runpod,
        ):
            vast.place(ssh_port=sshd.port)
            runpod.pods.address_of = lambda _machine: ("127.0.0.1", sshd.port)
            contracts, pods = vast.contracts, runpod.pods
            contracts.schedule_s = contracts.pull_s = contracts.create_s = QUICK_S
            pods.provisioning_s = pods.starting_s = QUICK_S
            made = Street(home, vast, runpod, sshd)
            made.environment = {
                "LLMCTL_HOME": str(home),
                "VAST_URL": vast.url,
                "VAST_API_KEY": vast.key,
                "RUNPOD_API_BASE_URL": runpod.url,
                "RUNPOD_API_KEY": runpod.key,
                "LLMCTL_OLLAMA_ARCHIVE_URL": archive.url,
                "LLMCTL_OLLAMA_ARCHIVE_SHA256": archive.packed.sha256,
                "LLMCTL_OLLAMA_PORT": str(_free_port()),
                "LLMCTL_WAIT_POLL_S": "0.2",
                "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            }
            yield made
    end_what_runs(machine / ".llmctl")


def end_what_runs(state: Path) -> None:
    """End the engine and the watchdog that a test left on its machine."""
    for name in ("ollama.pid", "pid"):
        try:
            os.kill(int((state / name).read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            continue
