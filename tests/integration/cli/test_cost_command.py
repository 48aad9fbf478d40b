"""``llmctl cost`` and the budget as the installed command, against an emulated market."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.errors import ExitCode
from llmctl.core.money import micro_usd
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.writer import LedgerWriter
from llmctl.state.store import RentalStore
from tests.emulators.market import Machine, Market, RealClock
from tests.emulators.vast import VastEmulator

HOUR_S = 3600.0


def afternoon() -> str:
    """A zone in which it is between noon and midnight: ten hours ago were the same day and month."""
    ahead = 14 - time.gmtime().tm_hour
    return f"Etc/GMT{-ahead:+d}"  # the sign is the other way round there


class Earlier:
    """A clock that is some hours behind."""

    def __init__(self, hours: float) -> None:
        self._behind = hours * HOUR_S

    def now(self) -> float:
        return time.time() - self._behind

    monotonic = now


@dataclass
class Ran:
    code: int
    out: str
    err: str


class Desk:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {
            "LLMCTL_HOME": str(home),
            "COLUMNS": "100",
            "LLMCTL_BUDGET_TIMEZONE": afternoon(),
        }

    async def llmctl(self, *arguments: str, **more: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "llmctl",
            *arguments,
            env={**os.environ, **self.environment, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Ran(process.returncode, out.decode(), err.decode())

    async def asked(self, count: int) -> None:
        """Put misses and hits into the ledger, an hour ago."""
        writer = LedgerWriter(self.home / "state" / "ledger.db", clock=SystemClock())
        await writer.start()
        for number in range(count):
            hit = number % 4 != 0
            writer.append(
                Usage(
                    at=time.time() - HOUR_S,
                    request_id=f"r{number}",
                    tenant="me",
                    model_asked="claude-sonnet-5",
                    model_used="qwen3-coder",
                    backend="" if hit else "ollama:http://main.localhost:11434",
                    prompt_tokens=20_000,
                    completion_tokens=500,
                    cache=CacheOutcome.HIT if hit else CacheOutcome.MISS,
                    first_token_ms=1.0,
                    total_ms=2.0 if hit else 10_000.0,
                )
            )
        await writer.flush()
        await writer.close()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "llmctl")


@pytest.fixture
async def rented(desk: Desk) -> AsyncIterator[VastEmulator]:
    """One machine that has run for ten hours at 60 cents an hour, on record and on the account."""
    async with VastEmulator(Market(RealClock())) as vast:
        store = RentalStore(desk.home / "state" / "rentals.db", clock=Earlier(10))
        spec = UpSpec(name="main", providers=(ProviderName.VAST,))
        rental = store.begin(spec, ProviderName.VAST)
        prices = {"usd_per_hour": micro_usd("0.60"), "stopped_usd_per_hour": micro_usd("0.02")}
        store.advance(rental.uuid, Phase.CREATED, instance_id="30000001", **prices)
        store.advance(rental.uuid, Phase.READY)
        store.close()
        machine = Machine(
            id="30000001",
            label=rental.label,
            created_at=Earlier(10).now(),
            running_price=600_000,
            stopped_price=20_000,
            spec={
                "body": {"disk": 60}, "env": {}, "onstart": "", "fate": "", "starts": 1,
                "keys": [], "bid": None, "key": "k", "lines": [],
                "ask": vast.contracts.asks[9_000_002],
            },
        )  # fmt: skip
        vast.market.add(machine)
        desk.environment |= {"VAST_URL": vast.url, "VAST_API_KEY": vast.key}
        yield vast


async def test_with_nothing_at_all_it_says_what_is_unknown(desk: Desk):
    ran = await desk.llmctl("cost", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    assert (report["money"], report["use"]["requests"], report["rows"]) == (None, 0, [])
    assert not (desk.home / "state").exists()
    assert "metered  unknown" in (await desk.llmctl("cost")).out


async def test_ones_own_machine_needs_a_price(desk: Desk):
    await desk.asked(40)
    ran = await desk.llmctl("cost", "--usd-per-hour", "0.12", "--group-by", "instance", "--json")
    report = json.loads(ran.out)
    assert float(report["money"]["metered_usd"]) == pytest.approx(0.12, abs=0.002)
    assert report["money"]["billed_usd"] is None
    assert report["rows"][0]["name"] == "this machine"
    assert report["use"]["hits"] == 30


async def test_metered_and_billed_side_by_side(desk: Desk, rented: VastEmulator):
    await desk.asked(40)
    ran = await desk.llmctl("cost", "--json")
    assert ran.code == 0, ran.err
    report = json.loads(ran.out)
    money = {name: float(value) for name, value in report["money"].items() if value is not None}
    assert money["metered_usd"] == pytest.approx(6.0, abs=0.01)
    assert money["billed_usd"] == pytest.approx(6.0, abs=0.01)
    assert abs(money["difference_usd"]) <= money["rounding_usd"] + 0.001
    assert report["spend"]["usd_per_hour"] == "0.600000"
    assert {call.operation for call in rented.market.calls} == {"charges"}
    assert report["notes"] == []


async def test_offline_asks_nobody(desk: Desk, rented: VastEmulator):
    ran = await desk.llmctl("cost", "--offline", "--csv", "--since", "2d")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("day,begins,ends,metered_usd")
    assert len(lines) in (2, 3)
    assert rented.market.calls == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--since", "yesterday"], "--since cannot be 'yesterday'"),
        (["--until", "soon"], "--until cannot be 'soon'"),
        (["--since", "1h", "--until", "2h"], "--since 1h is after --until 2h"),
        (["--group-by", "moon"], "--group-by cannot be 'moon'"),
        (["--timezone", "Mars"], "the time zone cannot be 'Mars'"),
        (["--usd-per-hour", "much"], "--usd-per-hour cannot be 'much'"),
        (["--csv", "--json"], "cannot be combined"),
    ],
)
def test_what_it_does_not_understand_it_says(arguments, said, capsys):
    from llmctl.cli.main import run

    assert run(["cost", *arguments]) == ExitCode.USAGE
    assert said in capsys.readouterr().err


async def test_a_used_up_budget_is_said_by_cost_and_refuses_up(desk: Desk, rented: VastEmulator):
    budget = {"LLMCTL_BUDGET_USD_PER_MONTH": "5"}
    said = await desk.llmctl("cost", "--offline", **budget)
    assert "warning: the month's budget is used up: $6.00 of $5.00" in said.err
    assert "month's budget" in said.out
    refused = await desk.llmctl("up", "second", "--yes", **budget)
    assert refused.code == ExitCode.FAILED
    assert "the month's budget is used up" in refused.err
    assert "hint: wait until then, or raise it: llmctl config set" in refused.err
    assert len(rented.market.ours()) == 1
    assert rented.market.writes() == []


async def test_at_the_limit_any_command_ends_what_is_rented(desk: Desk, rented: VastEmulator):
    budget = {"LLMCTL_BUDGET_USD_PER_MONTH": "5", "LLMCTL_BUDGET_AT_LIMIT": "stop"}
    plan = await desk.llmctl("up", "second", "--dry-run", **budget)
    assert plan.code == ExitCode.FAILED
    assert len(rented.market.ours()) == 1  # what only looks ends nothing
    ran = await desk.llmctl("status", "--json", "--quiet", **budget)
    assert ran.code == 0, ran.err
    assert "budget.at_limit is stop: ending main" in ran.err
    assert "warning: main is gone" in ran.err
    assert json.loads(ran.out) == []
    assert rented.market.ours() == []
