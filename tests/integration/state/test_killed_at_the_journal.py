"""Real processes, really killed between two lines of the journal, and within one."""

import asyncio
import os
import signal
import sqlite3
import sys

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.errors import LlmctlError
from llmctl.core.rental import Phase
from llmctl.state.store import RentalStore
from tests.emulators.market import Market, RealClock
from tests.emulators.vast import VastEmulator
from tests.integration.eventually import eventually
from tests.integration.state.victim import bring_up, make_world, take_down

FOREIGN = 30


class Account:
    """One market, and the record of one laptop."""

    def __init__(self, vast: VastEmulator, path) -> None:
        self.vast, self.path = vast, path
        self.market = vast.market
        self.store = RentalStore(path, clock=SystemClock())
        self.world = make_world(self.store, vast.url, vast.key)

    async def victim(self, when: str, phase: str) -> asyncio.subprocess.Process:
        where = (str(self.path), self.vast.url, self.vast.key)
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.integration.state.victim", *where, when, phase,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip

    def live(self) -> set[str]:
        return {each.id for each in self.market.ours()}

    def recorded(self) -> set[str | None]:
        return {each.instance_id for each in self.store.live()}

    def creates(self) -> int:
        return sum(call.operation == "create" for call in self.market.calls)

    def check_file(self) -> None:
        """What a dead process left is a whole database."""
        with sqlite3.connect(self.path) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        database.close()

    async def later(self) -> None:
        """One later command agrees with the market, a second rents nothing, a third ends it."""
        if not any(each.phase is Phase.DESTROYING for each in self.store.all()):
            result = await bring_up(self.world)
            assert self.live() == self.recorded() == {result.rental.instance_id}
            creates = self.creates()
            await bring_up(self.world)
            assert self.creates() == creates
        await take_down(self.world)
        assert self.live() == self.recorded() == set()
        assert sum(each.foreign for each in self.market.live()) == FOREIGN


@pytest.fixture
async def account(tmp_path):
    async with VastEmulator(Market(RealClock())) as vast:
        contracts = vast.contracts
        contracts.schedule_s = contracts.pull_s = contracts.create_s = 0.05
        contracts.foreign(FOREIGN)
        made = Account(vast, tmp_path / "rentals.db")
        yield made
        made.store.close()
        for provider in made.world.providers.values():
            await provider.close()


@pytest.mark.parametrize(
    ("when", "phase"),
    [
        ("after", "intent"),
        ("amid", "creating"),
        ("after", "creating"),
        ("before", "created"),
        ("amid", "created"),
        ("after", "created"),
        ("amid", "ready"),
        ("amid", "destroying"),
        ("after", "destroying"),
        ("before", "gone"),
    ],
)
async def test_killed_at_the_journal(account, when, phase):
    process = await account.victim(when, phase)
    assert await asyncio.wait_for(process.wait(), 60) == -signal.SIGKILL
    account.check_file()
    assert len(account.live()) <= 1
    await account.later()


async def test_killed_while_the_create_is_under_way(account):
    account.market.faults.add("create", "hang_after")
    process = await account.victim("never", "")
    await eventually(lambda: account.live(), within_s=60)
    process.kill()
    await process.wait()
    (rental,) = account.store.live()
    assert (rental.phase, rental.instance_id) == (Phase.CREATING, None)
    await account.later()
    assert account.creates() == 1


async def test_a_living_process_keeps_others_out_and_a_dead_one_does_not(account):
    account.vast.contracts.pull_s = 600.0
    process = await account.victim("never", "")
    await eventually(lambda: account.recorded() - {None}, within_s=60)
    with pytest.raises(LlmctlError, match=rf"process {process.pid} on .* works on 'main'"):
        await take_down(account.world)
    assert len(account.live()) == 1
    process.kill()
    await process.wait()
    await take_down(account.world)
    assert account.live() == set()
