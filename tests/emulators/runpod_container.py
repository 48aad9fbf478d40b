"""Really runs what pods are started with, as processes of this machine: for the installed command.

A pod's ``args`` run once it is RUNNING, with the variables RunPod injects and its pod-scoped key,
in a directory of its own as home. When the pod stops or ends, every process that carries its
``RUNPOD_POD_ID`` and has that home is killed, whatever session it moved to.
"""

import asyncio
import contextlib
import os
import shlex
import signal
import tempfile
from pathlib import Path
from typing import Any

from tests.emulators.market import Machine

POLL_S = 0.1


class Containers:
    """The containers of an emulator that runs them; one loop starts and ends them."""

    def __init__(self, runpod: Any) -> None:
        self._runpod = runpod
        self._up: dict[str, tuple[int, asyncio.subprocess.Process]] = {}
        """By pod: the start it belongs to, and its first process."""
        self._home = tempfile.TemporaryDirectory(prefix="runpod-pods-")
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def end(self) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for pod_id in list(self._up):
            await self._stop(pod_id)
        self._home.cleanup()

    async def _keep(self) -> None:
        while True:
            wanted = {
                machine.id: machine
                for machine in self._runpod.market.live()
                if "starts" in machine.spec and self._runpod.pods.status(machine) == "RUNNING"
            }
            for pod_id, (start, _) in list(self._up.items()):
                if pod_id not in wanted or wanted[pod_id].spec["starts"] != start:
                    await self._stop(pod_id)
            for pod_id, machine in wanted.items():
                if pod_id not in self._up:
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
            "RUNPOD_POD_ID": machine.id,
            "RUNPOD_API_KEY": machine.spec["key"],
        }
        # the image's own start command is none of this machine's
        args = machine.spec["args"].replace("/start.sh", "/nonexistent/start.sh")
        argv = shlex.split(args) or ["sleep", "86400"]
        with (home / "container.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=home, env=env, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._up[machine.id] = (start, process)

    async def _stop(self, pod_id: str) -> None:
        _, process = self._up.pop(pod_id)
        for pid in self.processes_of(pod_id):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()

    def processes_of(self, pod_id: str) -> list[int]:
        """Processes that were started in the pod; other tests have one of the same name."""
        marks = (
            f"RUNPOD_POD_ID={pod_id}\0".encode(),
            f"\0HOME={self._home.name}/{pod_id}-".encode(),
        )
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    environ = b"\0" + (entry / "environ").read_bytes()
                    if all(mark in environ for mark in marks):
                        found.append(int(entry.name))
        return found
