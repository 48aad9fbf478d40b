"""Memory and use of graphics cards, asked again and again of machines that can say."""

import asyncio
import contextlib
import csv
import logging
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Self

from llmctl.core.errors import LlmctlError
from llmctl.core.rental import Phase, Rental
from llmctl.core.reports_live import GpuUse
from llmctl.core.tasks import Tasks
from llmctl.ops.rent.login import target_of
from llmctl.ops.rent.world import Reach, Sleep
from llmctl.ssh.local import LocalRemote
from llmctl.ssh.remote import Remote

log = logging.getLogger(__name__)

HERE = "here"
EVERY_S = 5.0
AGAIN_S = 30.0
"""Pause before a machine that could not be asked is asked again."""
ANSWER_S = 10.0
QUERY = (
    "nvidia-smi --query-gpu=name,memory.used,memory.total,utilization.gpu "
    "--format=csv,noheader,nounits"
)

Open = Callable[[], AbstractAsyncContextManager[Remote]]
"""Logs in to a machine, for as long as the block lasts."""


class Cards:
    """The latest readings of some machines, for as long as the block lasts."""

    def __init__(self, machines: Mapping[str, Open], *, sleep: Sleep = asyncio.sleep) -> None:
        self._machines = machines
        self._sleep = sleep
        self._tasks = Tasks()
        self._read: dict[str, list[GpuUse]] = {}

    async def __aenter__(self) -> Self:
        for name, machine in self._machines.items():
            self._tasks.start(self._follow(name, machine), name=f"GPUs of {name}")
        return self

    async def __aexit__(self, *_failure: object) -> None:
        await self._tasks.close()

    def all(self) -> list[GpuUse]:
        """Return every card as it was last read, machine by machine."""
        return [card for name in self._machines for card in self._read.get(name, [])]

    async def _follow(self, name: str, machine: Open) -> None:
        """Read until cancelled; what cannot be read is left out, and tried again."""
        while True:
            try:
                async with machine() as remote:
                    while True:
                        ran = await remote.run(QUERY, timeout_s=ANSWER_S)
                        self._read[name] = read_cards(name, ran.stdout)
                        await self._sleep(EVERY_S)
            except LlmctlError as failure:
                log.info("the GPUs of %s cannot be read: %s", name, failure)
            self._read.pop(name, None)
            await self._sleep(AGAIN_S)


def machines_of(rentals: Iterable[Rental], reach: Reach) -> dict[str, Open]:
    """Return how to get to each machine that is ready."""

    def open_(rental: Rental) -> Open:
        @contextlib.asynccontextmanager
        async def opened() -> AsyncIterator[Remote]:
            host = await reach(target_of(rental))
            try:
                yield host.remote
            finally:
                with contextlib.suppress(LlmctlError):
                    await host.close()

        return opened

    ready = (rental for rental in rentals if rental.phase is Phase.READY)
    return {rental.name: open_(rental) for rental in ready}


def this_machine() -> dict[str, Open]:
    """Return how to ask this machine, if it has a driver to ask."""

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Remote]:
        remote = LocalRemote()
        try:
            yield remote
        finally:
            await remote.close()

    return {HERE: opened} if shutil.which("nvidia-smi") else {}


def read_cards(machine: str, text: str) -> list[GpuUse]:
    """Read the driver's table; lines that say something else are left out."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        with contextlib.suppress(ValueError):
            name, used, total, busy = row
            share = int(busy) / 100 if busy.isdigit() else None
            found.append(
                GpuUse(
                    machine=machine,
                    name=name,
                    used_mib=int(used),
                    memory_mib=int(total),
                    busy=share,
                )
            )
    return found
