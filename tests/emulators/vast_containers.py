"""Runs a contract's ``onstart`` with ``sh`` once it is ``running``, with what vast.ai injects."""

from typing import Any

from tests.emulators.containers import Containers
from tests.emulators.market import Machine


class ContractContainers(Containers):
    """The containers of vast.ai's emulator."""

    id_variable = "CONTAINER_ID"

    def __init__(self, vast: Any) -> None:
        super().__init__(vast.market)
        self._contracts = vast.contracts

    def runs(self, machine: Machine) -> bool:
        return not machine.foreign and self._contracts.status(machine) == "running"

    def command(self, machine: Machine) -> list[str]:
        return ["sh", "-c", machine.spec["onstart"]]

    def injected(self, machine: Machine) -> dict[str, str]:
        host, port = self._contracts.address_of(machine)
        return {
            "CONTAINER_API_KEY": machine.spec["key"],
            "VAST_CONTAINERLABEL": f"C.{machine.id}",
            "PUBLIC_IPADDR": host,
            "VAST_TCP_PORT_22": str(port),
            "SSH_PUBLIC_KEY": "\n".join(machine.spec["keys"]),
        }
