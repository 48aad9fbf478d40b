"""Really runs what rented machines are started with, as processes of this machine.

It runs while the market says that the machine does, in a directory of its own as home. When the
machine stops or ends, every process that carries its id and has that home is killed, whatever
session it moved to.
"""

import asyncio
import contextlib
import os
import signal
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path

from tests.emulators.market import Machine, Market

POLL_S = 0.05


class Containers(ABC):
    """The containers of an emulator that runs them; one loop starts and ends them."""

    id_variable: str
    """In which its processes find the machine's id."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._up: dict[str, tuple[int, asyncio.subprocess.Process]] = {}
        """By machine: the start it belongs to, and its first process."""
        self._home = tempfile.TemporaryDirectory(prefix="containers-")
        self._task: asyncio.Task[None] | None = None

    @abstractmethod
    def runs(self, machine: Machine) -> bool:
        """Whether the provider says so; False for those that were started without a command."""

    @abstractmethod
    def command(self, machine: Machine) -> list[str]:
        """What it is started with."""

    @abstractmethod
    def injected(self, machine: Machine) -> dict[str, str]:
        """Variables that the provider adds."""

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for machine_id in list(self._up):
            await self._stop(machine_id)
        self._home.cleanup()

    async def _keep(self) -> None:
        while True:
            wanted = {each.id: each for each in self._market.live() if self.runs(each)}
            for machine_id, (start, _) in list(self._up.items()):
                if machine_id not in wanted or wanted[machine_id].spec["starts"] != start:
                    await self._stop(machine_id)
            for machine_id, machine in wanted.items():
                if machine_id not in self._up:
                    await self._start(machine)
            await asyncio.sleep(POLL_S)

    async def _start(self, machine: Machine) -> None:
        start = machine.spec["starts"]
        home = Path(self._home.name) / f"{machine.id}-{start}"
        home.mkdir()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TMPDIR": str(home),
            **machine.spec["env"],
            self.id_variable: machine.id,
            **self.injected(machine),
        }
        with (home / "container.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *self.command(machine), cwd=home, env=env,
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self._up[machine.id] = (start, process)

    async def _stop(self, machine_id: str) -> None:
        _, process = self._up.pop(machine_id)
        # again, for one may have started another while they were listed
        while pids := self.processes_of(machine_id):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0)
        await process.wait()

    def processes_of(self, machine_id: str) -> list[int]:
        """Processes that were started in it; other tests have one of the same name."""
        marks = (
            f"\0{self.id_variable}={machine_id}\0".encode(),
            f"\0HOME={self._home.name}/{machine_id}-".encode(),
        )
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environ = b"\0" + (entry / "environ").read_bytes()
                    if all(mark in environ for mark in marks):
                        found.append(int(entry.name))
        return found
