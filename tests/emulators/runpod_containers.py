"""Runs a pod's ``args`` once it is RUNNING, with the variables RunPod injects and its own key."""

import shlex
from typing import Any

from tests.emulators.containers import Containers
from tests.emulators.market import Machine


class PodContainers(Containers):
    """The containers of RunPod's emulator."""

    id_variable = "RUNPOD_POD_ID"

    def __init__(self, runpod: Any) -> None:
        super().__init__(runpod.market)
        self._pods = runpod.pods

    def runs(self, machine: Machine) -> bool:
        return "starts" in machine.spec and self._pods.status(machine) == "RUNNING"

    def command(self, machine: Machine) -> list[str]:
        # the image's own start command is none of this machine's
        args = machine.spec["args"].replace("/start.sh", "/nonexistent/start.sh")
        return shlex.split(args) or ["sleep", "86400"]

    def injected(self, machine: Machine) -> dict[str, str]:
        return {"RUNPOD_API_KEY": machine.spec["key"]}
