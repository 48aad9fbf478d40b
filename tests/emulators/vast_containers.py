"""Really runs the start scripts of contracts, as processes of this machine: for the installed command.

A contract's ``onstart`` runs with ``sh`` once it is ``running``, with the variables vast.ai
injects, in a directory of its own as home. When the contract stops or ends, every process that
carries its ``CONTAINER_ID`` and has that home is killed, whatever session it moved to.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

from tests.emulators.market import Machine

POLL_S = 0.05


class Containers:
    """The containers of an emulator that runs them; one loop starts and ends them."""

    def __init__(self, vast: Any) -> None:
        self._vast = vast
        self._up: dict[str, tuple[int, asyncio.subprocess.Process]] = {}
        """By contract: the start it belongs to, and its first process."""
        self._home = tempfile.TemporaryDirectory(prefix="vast-contracts-")
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for contract in list(self._up):
            await self._stop(contract)
        self._home.cleanup()

    def home(self, machine: Machine) -> Path:
        """The directory in which the contract's present start lives."""
        return Path(self._home.name) / f"{machine.id}-{machine.spec['starts']}"

    async def _keep(self) -> None:
        while True:
            wanted = {
                machine.id: machine
                for machine in self._vast.market.live()
                if not machine.foreign and self._vast.contracts.status(machine) == "running"
            }
            for contract, (start, _) in list(self._up.items()):
                if contract not in wanted or wanted[contract].spec["starts"] != start:
                    await self._stop(contract)
            for contract, machine in wanted.items():
                if contract not in self._up:
                    await self._start(machine)
            await asyncio.sleep(POLL_S)

    async def _start(self, machine: Machine) -> None:
        home = self.home(machine)
        home.mkdir()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            **machine.spec["env"],
            **injected(self._vast, machine),
        }
        with (home / "onstart.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                "sh", "-c", machine.spec["onstart"], cwd=home, env=env,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._up[machine.id] = (machine.spec["starts"], process)

    async def _stop(self, contract: str) -> None:
        _, process = self._up.pop(contract)
        for pid in self.processes_of(contract):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()

    def processes_of(self, contract: str) -> list[int]:
        """Processes that were started in the container; other tests have one of the same name."""
        marks = (
            f"CONTAINER_ID={contract}\0".encode(),
            f"\0HOME={self._home.name}/{contract}-".encode(),
        )
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environ = b"\0" + (entry / "environ").read_bytes()
                    if all(mark in environ for mark in marks):
                        found.append(int(entry.name))
        return found


def injected(vast: Any, machine: Machine) -> dict[str, str]:
    host, port = vast.contracts.address_of(machine)
    return {
        "CONTAINER_ID": machine.id,
        "CONTAINER_API_KEY": machine.spec["key"],
        "VAST_CONTAINERLABEL": f"C.{machine.id}",
        "PUBLIC_IPADDR": host,
        "VAST_TCP_PORT_22": str(port),
        "SSH_PUBLIC_KEY": "\n".join(machine.spec["keys"]),
    }
