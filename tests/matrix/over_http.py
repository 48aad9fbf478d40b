"""The matrix's bed with a wire: emulated markets over HTTP, real adapters, a new one a process."""

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from llmctl.core.rental import ProviderName, UpSpec
from llmctl.providers.runpod.adapter import RunPodProvider
from llmctl.providers.runpod.api import Patience
from llmctl.providers.vast.adapter import VastProvider
from llmctl.ssh.watchdog import start_script
from llmctl.state.store import RentalStore
from tests.emulators.market import Faults, Machine, ManualClock, Market
from tests.emulators.runpod import RunPod
from tests.emulators.vast import VastEmulator
from tests.matrix.bed import SPEC, Bed
from tests.matrix.laptop import Laptop

TIMEOUT_S = 0.5
"""In real time: how long an answer that never comes is waited for."""


class WireFaults(Faults):
    """Takes the matrix's words for faults, and says them as an emulator does."""

    words: dict[str, str]

    def __init__(self) -> None:
        super().__init__()
        self.words = {}

    def add(self, operation: str, kind: str, *, times: int = 1, after: int = 0) -> None:
        if operation == "page":
            # a list has two pages here, the second request is for the second; the package asks
            # again after 429, not after 500
            operation, kind, after = "list", "429", 1
        super().add(operation, self.words.get(kind, kind), times=times, after=after)


class Stocked(Market):
    """Its machines remember models, for the stand-in of what runs on them."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(clock)
        self.faults = WireFaults()

    def add(self, machine: Machine) -> Machine:
        machine.spec.setdefault("models", {})
        return super().add(machine)


class Wired:
    """An adapter, with what the laptop asks an in-process market for."""

    def __init__(self, adapter: Any, market: Market) -> None:
        self._adapter = adapter
        self.market = market
        self.clock = market.clock
        self.outbid: frozenset[str] = frozenset()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)


class WiredLaptop(Laptop):
    """Closes its adapter at the end, as a process does by ending; its start script is the real."""

    def __init__(self, *words, **how) -> None:
        super().__init__(*words, **how)
        self.world.start_script = lambda rental, _offer, _deadline: start_script(
            self._guard(rental, None)
        )

    def run(self, work):
        async def to_its_end():
            try:
                return await work
            finally:
                await self.market.close()

        return super().run(to_its_end())


class WiredBed(Bed):
    """One market behind HTTP."""

    def __init__(
        self, home: Path, name: ProviderName, market: Market, adapter: Callable[[], Any]
    ) -> None:
        self.path = home / "rentals.db"
        self.market = market
        self.clock = market.clock
        self.reader = RentalStore(self.path, clock=self.clock)
        self.foreign = [each for each in market.machines.values() if each.foreign]
        self.provider = SimpleNamespace(surcharge=0)  # these markets keep to their offers
        self.spec = replace(SPEC, providers=(name,))
        self._adapter = adapter

    def laptop(self, **how) -> Laptop:
        return WiredLaptop(self.path, Wired(self._adapter(), self.market), **how)

    def up(self, spec: UpSpec | None = None, **how):
        return super().up(spec or self.spec, **how)

    def check_foreign(self) -> None:
        theirs = tuple(each.id for each in self.foreign)
        touched = [call for call in self.market.writes() if call.path.endswith(theirs)]
        assert touched == []
        assert all(each.ended_at is None and each.running for each in self.foreign)


@contextmanager
def served(emulator: Any) -> Iterator[None]:
    """Run an emulator in a loop of its own: every command of a laptop begins and ends one."""
    up, down = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with emulator:
            up.set()
            await down.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert up.wait(20)
    try:
        yield
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join(20)
        loop.close()


@contextmanager
def vast_bed(home: Path, *, foreign: int) -> Iterator[WiredBed]:
    market = Stocked(ManualClock())
    emulator = VastEmulator(market)
    emulator.contracts.foreign(foreign)
    emulator.contracts.address_of = lambda machine: (machine.id, 22)

    def adapter() -> VastProvider:
        clock = market.clock
        settings = {"base_url": emulator.url, "timeout_s": TIMEOUT_S}
        return VastProvider(emulator.key, clock=clock, sleep=clock.sleep, **settings)

    with served(emulator):
        yield WiredBed(home, ProviderName.VAST, market, adapter)


@contextmanager
def runpod_bed(home: Path, *, foreign: int) -> Iterator[WiredBed]:
    market = Stocked(ManualClock())
    market.faults.words = {"offer_gone": "no_capacity"}
    emulator = RunPod(market)
    for _ in range(foreign):
        emulator.add_foreign()
    emulator.pods.address_of = lambda machine: (machine.id, 22)
    patience = Patience(request_s=TIMEOUT_S, create_s=TIMEOUT_S, package_s=3)

    def adapter() -> RunPodProvider:
        # the package reads it on every call
        os.environ["RUNPOD_API_BASE_URL"] = emulator.url
        sleep = market.clock.sleep
        return RunPodProvider(emulator.key, key_hint="test", sleep=sleep, patience=patience)

    before = os.environ.get("RUNPOD_API_BASE_URL")
    try:
        with served(emulator):
            yield WiredBed(home, ProviderName.RUNPOD, market, adapter)
    finally:
        os.environ.pop("RUNPOD_API_BASE_URL", None)
        if before is not None:
            os.environ["RUNPOD_API_BASE_URL"] = before


BEDS = {"vast": vast_bed, "runpod": runpod_bed}
