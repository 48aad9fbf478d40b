"""The life of an instance over the real adapters and packages, against both emulated markets.

Time is virtual; what is behind SSH is a stand-in, as no emulator runs machines.
"""

import importlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmctl.config.schema import Config
from llmctl.core.errors import (
    AuthError,
    LeftoverInstance,
    LlmctlError,
    NoCapacity,
    ProviderError,
    RemoteFailed,
)
from llmctl.core.money import micro_usd
from llmctl.core.rental import InstanceState, Phase, Rental, UpSpec
from llmctl.ops.rent.down import down, plan_down
from llmctl.ops.rent.instances import destroy, find, list_instances
from llmctl.ops.rent.offers import find_offers, wish_for
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import start, stop
from llmctl.ops.rent.status import collect
from llmctl.ops.rent.up import up
from llmctl.ops.rent.world import World
from llmctl.ssh.watchdog import Guard
from llmctl.state.store import RentalStore
from tests.contract.bed import Bed
from tests.contract.conftest import BEDS
from tests.unit.ops.rent.stage import FakeMachine

READS = {"GET"}


class Rented:
    """A market, a machine behind it, and the record."""

    def __init__(self, bed: Bed, home: Path) -> None:
        self.bed = bed
        self.store = RentalStore(home / "rentals.db", clock=bed.clock)
        self.machine = FakeMachine()
        self.guards: list[Guard] = []
        self.world = World(
            providers={bed.name: bed.provider},
            store=self.store,
            reach=self.machine.reach,
            public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0IGtleSBvZiB0aGlz llmctl-test",
            config=Config(),
            clock=bed.clock,
            sleep=bed.clock.sleep,
            report=lambda _step: None,
            start_script=lambda _rental, _offer, _deadline: "true",
            guard_for=self._guard,
        )

    def _guard(self, rental: Rental, key: str | None) -> Guard:
        self.guards.append(
            Guard(
                provider=rental.provider,
                instance_id=rental.instance_id or "",
                api_url="http://127.0.0.1:1",
                instance_key=key,
                deadline=rental.deadline or 0.0,
                idle_s=rental.spec.idle_s,
            )
        )
        return self.guards[-1]

    def spec(self, **changes) -> UpSpec:
        usual = {
            "name": "main",
            "providers": (self.bed.name,),
            "max_usd_per_hour": micro_usd("2.00"),
        }
        return UpSpec(**(usual | changes))

    async def up(self, **changes) -> Rental:
        plan = await plan_up(self.world, self.spec(**changes))
        return (await up(self.world, plan, self._release)).rental

    async def down(self) -> None:
        await down(self.world, plan_down(self.store, []), self._release)

    async def _release(self, _rental: Rental) -> None:
        raise AssertionError("rented machines are destroyed, not released")


@pytest.fixture(params=BEDS)
async def rented(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rented]:
    module = importlib.import_module(f"tests.contract.{request.param}_bed")
    async with module.open_bed() as bed:
        made = Rented(bed, tmp_path)
        yield made
        made.store.close()


async def test_up_status_stop_start_down(rented: Rented):
    made = await rented.up()
    assert made.phase is Phase.READY
    assert len(rented.bed.market.ours()) == 1
    rented.bed.clock.advance(1800)
    (row,) = (await collect(rented.world)).instances
    assert row.state is InstanceState.RUNNING
    assert row.spent_usd == pytest.approx(made.usd_per_hour / 2, rel=0.2)
    stopped = await stop(rented.world, made)
    assert stopped.phase is Phase.STOPPED
    again = (await start(rented.world, stopped)).rental
    assert again.phase is Phase.READY
    assert rented.machine.logins[-1].addresses == again.addresses
    await rented.down()
    assert rented.bed.market.ours() == []
    assert (await collect(rented.world)).instances == []


async def test_a_plan_is_read_only(rented: Rented):
    plan = await plan_up(rented.world, rented.spec())
    assert plan.offer.gpu == "rtx4090"
    assert plan.account.credit == 25_000_000
    assert rented.bed.market.machines == {}
    assert rented.bed.calls("create") == 0


async def test_the_label_and_deadline_are_there_from_the_start(rented: Rented):
    made = await rented.up(ttl_s=7200.0)
    (machine,) = rented.bed.market.ours()
    assert machine.label == made.label
    assert rented.guards[0].deadline == made.deadline


async def test_credit_that_soon_ends_is_said(rented: Rented):
    rented.bed.market.credit = 500_000
    plan = await plan_up(rented.world, rented.spec())
    assert "credit of $0.50" in plan.warnings[0]


async def test_the_nearest_miss(rented: Rented):
    with pytest.raises(NoCapacity, match=r"under \$0.05/h on .* \(cheapest now: \$0\.") as no:
        await plan_up(rented.world, rented.spec(max_usd_per_hour=micro_usd("0.05")))
    assert "--max-price" in no.value.hint


async def test_out_of_every_bound(rented: Rented):
    spec = rented.spec(region="XX-NOWHERE-9")
    with pytest.raises(NoCapacity) as no:
        await plan_up(rented.world, spec)
    assert "outside XX-NOWHERE-9" in no.value.message


async def test_failing_destroys_and_the_bill_ends(rented: Rented):
    rented.machine.fails["pull"] = [RemoteFailed("no such model")]
    with pytest.raises(RemoteFailed):
        await rented.up()
    assert rented.bed.market.ours() == []
    bill = rented.bed.market.bill()
    rented.bed.clock.advance(3600)
    assert rented.bed.market.bill() == bill


async def test_a_destroy_that_lies_is_repeated(rented: Rented):
    await rented.up()
    rented.bed.poison("destroy", "lies")
    await rented.down()
    assert rented.bed.market.ours() == []


async def test_what_cannot_be_destroyed_is_said(rented: Rented):
    rented.machine.fails["pull"] = [RemoteFailed("broken")]
    rented.bed.poison("destroy", "http_500", times=-1)
    with pytest.raises(LeftoverInstance):
        await rented.up()
    assert len(rented.bed.market.ours()) == 1


async def test_a_taken_gpu_leaves_it_stopped_and_nothing_queued(rented: Rented):
    stopped = await stop(rented.world, await rented.up())
    rented.bed.poison("start", "gpu_taken", times=-1)
    with pytest.raises(NoCapacity) as no:
        await start(rented.world, stopped)
    assert "llmctl down main && llmctl up main" in no.value.hint
    rented.bed.clock.advance(600)
    seen = await rented.bed.provider.get(stopped.instance_id)
    assert seen.state is InstanceState.STOPPED


@pytest.mark.parametrize("fault", ["null", "html", "old_schema", "http_500"])
async def test_an_unreadable_list_keeps_from_renting(rented: Rented, fault: str):
    rented.bed.poison("list", fault, times=-1)
    with pytest.raises(ProviderError):
        await plan_up(rented.world, rented.spec())
    assert rented.bed.market.machines == {}


async def test_a_refused_key_names_itself(rented: Rented):
    rented.world.providers = {rented.bed.name: rented.bed.with_key("wrong-key-9999")}
    with pytest.raises(AuthError, match="9999"):
        await plan_up(rented.world, rented.spec())


async def test_a_hundred_foreign_instances_stay_untouched(rented: Rented):
    foreign = rented.bed.foreign(100)
    await rented.up()
    await rented.down()
    assert len(rented.bed.market.live()) == 100
    with pytest.raises(LlmctlError, match="not made by llmctl"):
        await destroy(rented.world, await find(rented.world, foreign[0].id))
    assert (await list_instances(rented.world)).found == []
    assert len((await list_instances(rented.world, everything=True)).found) == 100


async def test_every_offer_holds_the_bounds_and_they_are_in_order(rented: Rented):
    spec = rented.spec()
    wish = wish_for(rented.world, spec, disk_gb=48)
    report = await find_offers(rented.world, wish, spec.providers, model_bytes=18_600_000_000)
    assert report.offers
    for offer in report.offers:
        assert offer.usd_per_hour <= 2_000_000
        assert offer.reliability is None or offer.reliability >= 0.98
        assert offer.gpu_memory_mib >= 24_000
