"""The budget of a process that runs for long, put together as ``serve`` and ``tunnel`` do."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from llmctl.config.load import load
from llmctl.core.clock import SystemClock
from llmctl.core.money import micro_usd
from llmctl.core.rental import Phase, ProviderName, Rental, UpSpec
from llmctl.renting import Renting
from llmctl.state.store import RentalStore
from tests.emulators.market import Machine, Market, RealClock
from tests.emulators.vast import VastEmulator


class Rented:
    """A machine that costs a thousand dollars an hour, for a second so far."""

    def __init__(self, home: Path, vast: VastEmulator) -> None:
        self.vast = vast
        self.environ = {
            **os.environ,
            "LLMCTL_HOME": str(home),
            "VAST_URL": vast.url,
            "VAST_API_KEY": vast.key,
        }
        self.store = RentalStore(home / "state" / "rentals.db", clock=SystemClock())

    def rent(self) -> Rental:
        spec = UpSpec(name="main", providers=(ProviderName.VAST,))
        rental = self.store.begin(spec, ProviderName.VAST)
        now = SystemClock().now()
        machine = Machine(
            id="30000001",
            label=rental.label,
            created_at=now - 10,
            running_price=0,
            stopped_price=0,
            spec={
                "body": {"disk": 60}, "env": {}, "onstart": "", "fate": "", "starts": 1,
                "keys": [], "bid": None, "key": "k", "lines": [],
                "ask": self.vast.contracts.asks[9_000_002],
            },
        )  # fmt: skip
        self.vast.market.add(machine)
        price = {"instance_id": machine.id, "usd_per_hour": micro_usd(1000)}
        self.store.advance(rental.uuid, Phase.CREATED, billed_from=now - 10, **price)
        return rental

    def renting(self, **budget: str) -> Renting:
        settings = {f"LLMCTL_BUDGET_{key.upper()}": value for key, value in budget.items()}
        environ = self.environ | settings
        return Renting(load(flags={}, environ=environ), environ)


@pytest.fixture
async def rented(tmp_path: Path) -> AsyncIterator[Rented]:
    async with VastEmulator(Market(RealClock())) as vast:
        made = Rented(tmp_path / "llmctl", vast)
        yield made
        made.store.close()


async def once(renting: Renting) -> list[str]:
    """Let the watch look once."""
    said: list[str] = []
    watch = renting.budget_watch()
    assert watch is not None

    async def enough(_seconds: float) -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await replace(watch, say=pytest.fail, alarm=said.append, sleep=enough).run()
    return said


def test_without_a_budget_there_is_nothing_to_watch(rented: Rented):
    assert rented.renting().budget_watch() is None


async def test_it_ends_what_is_over_and_proves_it_gone(rented: Rented):
    rental = rented.rent()
    said = await once(rented.renting(usd_per_month="1", at_limit="stop"))
    assert "budget.at_limit is stop: ending main" in said[1]
    assert said[2] == "main is gone"
    assert rented.vast.market.ours() == []
    assert rented.store.get(rental.uuid).phase is Phase.GONE


async def test_it_only_says_so_where_nothing_is_to_be_ended(rented: Rented):
    rented.rent()
    (said,) = await once(rented.renting(usd_per_month="1"))
    assert said.startswith("the month's budget is used up")
    assert len(rented.vast.market.ours()) == 1
    assert rented.vast.market.calls == []


async def test_without_the_key_it_says_that_the_budget_is_not_kept(rented: Rented):
    rented.rent()
    del rented.environ["VAST_API_KEY"]
    said = await once(rented.renting(usd_per_month="1", at_limit="stop"))
    assert said[-1].startswith("the budget is not kept:")
    assert "main" in said[-1] or "30000001" in said[-1]
    assert len(rented.vast.market.ours()) == 1
