"""The installed command, really killed, against vast.ai's emulated API: the next one settles it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase, Rental
from llmctl.state.store import RentalStore
from tests.emulators.market import Market
from tests.emulators.vast import VastEmulator

pytestmark = pytest.mark.timeout(300)

WITHIN_S = 100.0
LOOK_S = 0.05


class Account:
    """The market, the record, and commands as processes."""

    def __init__(self, vast: VastEmulator) -> None:
        self.vast = vast
        self.market = vast.market
        self.environ = {**os.environ, "VAST_URL": vast.url, "VAST_API_KEY": vast.key}
        state = find_paths(self.environ).state
        self.store = RentalStore(state / "rentals.db", clock=SystemClock())

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmctl",
            *words,
            env=self.environ,
            cwd=Path(__file__).parents[3],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *words: str) -> tuple[int, str]:
        process = await self.start(*words)
        out, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)
        return process.returncode or 0, out.decode()

    async def strike(
        self, number: signal.Signals, when: Callable[[], bool], *words: str
    ) -> tuple[int, str]:
        """Start a command, and send it a signal as soon as ``when`` holds."""
        process = await self.start(*words)
        async with asyncio.timeout(WITHIN_S):
            while not when():
                assert process.returncode is None, (await process.communicate())[0].decode()
                await asyncio.sleep(LOOK_S)
            process.send_signal(number)
            out, _ = await process.communicate()
        return process.returncode or 0, out.decode()

    def rentals(self) -> list[Rental]:
        return [each for each in self.store.all() if each.phase is not Phase.GONE]

    def created(self) -> bool:
        return any(each.instance_id is not None for each in self.rentals())

    def seen(self, operation: str) -> bool:
        return any(call.operation == operation for call in self.market.calls)

    def live(self) -> set[str]:
        return {each.id for each in self.market.ours()}

    def check_agreement(self) -> None:
        assert self.live() == {each.instance_id for each in self.rentals()}
        assert all(each.running for each in self.market.live() if each.foreign)


@asynccontextmanager
async def opened() -> AsyncIterator[Account]:
    async with VastEmulator(Market()) as vast:
        vast.contracts.schedule_s = vast.contracts.pull_s = vast.contracts.create_s = 0.1
        vast.contracts.foreign(30)
        with socket.socket() as nobody:  # bound and not listening: every login is refused
            nobody.bind(("127.0.0.1", 0))
            vast.place(ssh_port=nobody.getsockname()[1])
            account = Account(vast)
            try:
                yield account
            finally:
                account.store.close()


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    async with opened() as made:
        yield made


UP = ("up", "main", "--provider", "vast", "--yes")


async def test_killed_before_the_answer_to_create(account):
    """The machine exists, its id was never heard: the label leads to it."""
    account.market.faults.add("create", "hang_after")
    code, _ = await account.strike(signal.SIGKILL, lambda: bool(account.live()), *UP)
    assert code == -signal.SIGKILL
    assert [each.phase for each in account.rentals()] == [Phase.CREATING]
    code, out = await account.run("status", "--json")
    assert code == 0, out
    account.check_agreement()
    assert len(account.live()) == 1
    code, out = await account.run("down", "main", "--yes")
    assert code == 0, out
    assert account.live() == set()
    account.check_agreement()


async def test_killed_once_the_id_is_on_record(account):
    code, _ = await account.strike(signal.SIGKILL, account.created, *UP)
    assert code == -signal.SIGKILL
    account.check_agreement()
    code, out = await account.run("down", "--all", "--yes")
    assert code == 0, out
    assert account.live() == set()
    account.check_agreement()


async def test_killed_before_the_answer_to_destroy(account):
    """The next command, whichever it is, proves the end and writes it down."""
    await account.strike(signal.SIGKILL, account.created, *UP)
    account.market.faults.add("destroy", "hang_after")
    await account.strike(signal.SIGKILL, lambda: account.seen("destroy"), "down", "--yes")
    assert [each.phase for each in account.rentals()] == [Phase.DESTROYING]
    code, out = await account.run("status", "--json")
    assert code == 0, out
    assert account.live() == set()
    account.check_agreement()


async def test_two_at_once_rent_one(account):
    """The second is told who works on that name; the first, asked to end, leaves nothing."""

    async def second() -> None:
        code, out = await account.run(*UP)
        assert code == 1, out
        assert "works on 'main'" in out
        assert len(account.live()) == 1

    first = await account.start(*UP)
    async with asyncio.timeout(WITHIN_S):
        while not account.created():
            await asyncio.sleep(LOOK_S)
    await second()
    first.send_signal(signal.SIGTERM)
    out, _ = await asyncio.wait_for(first.communicate(), WITHIN_S)
    assert first.returncode == 130, out
    assert account.live() == set()
    account.check_agreement()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
async def test_asked_to_end_it_destroys_what_it_made(account, number):
    code, out = await account.strike(number, account.created, *UP)
    assert code == 130, out
    assert "destroyed" in out
    assert account.live() == set()
    account.check_agreement()
