import pytest

from llmctl.core.errors import HostKeyChanged, ProviderError
from llmctl.core.rental import InstanceState, Phase, ProviderName, Rental
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import stop
from llmctl.ops.rent.status import collect
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, Stage, a_spec


async def ready(stage: Stage, **changes) -> Rental:
    plan = await plan_up(stage.world, a_spec(**changes))
    return (await up(stage.world, plan, stage.release)).rental


async def test_what_runs(stage: Stage):
    made = await ready(stage, ttl_s=7200.0)
    stage.clock.advance(3600)
    (row,) = (await collect(stage.world)).instances
    assert (row.name, row.state, row.phase) == ("main", InstanceState.RUNNING, Phase.READY)
    assert (row.gpu, row.model, row.num_ctx) == ("RTX 4090", "qwen3-coder", 65536)
    assert row.usd_per_hour == 360_000
    assert row.spent_usd == pytest.approx(360_000, rel=0.01)
    assert row.seconds_left == pytest.approx(3600, abs=60)
    assert row.idle_s == made.spec.idle_s
    assert row.address == str(ADDRESS)


async def test_stopped_costs_its_own_price_and_has_no_deadline(stage: Stage):
    await stop(stage.world, await ready(stage))
    (row,) = (await collect(stage.world)).instances
    assert row.usd_per_hour == 12_000
    assert row.seconds_left is None


async def test_what_ended_without_us_is_taken_off(stage: Stage):
    await ready(stage)
    stage.market.machines.clear()
    report = await collect(stage.world)
    assert report.instances == []
    assert [each.name for each in report.reconciled.ended] == ["main"]


async def test_a_market_that_cannot_be_read_hides_nothing(stage: Stage):
    await ready(stage)
    stage.market.fails["instances"] = ProviderError("410 Gone")
    stage.market.fails["get"] = ProviderError("410 Gone")
    report = await collect(stage.world)
    (row,) = report.instances
    assert row.state is None
    assert row.detail == "410 Gone"
    assert [each.message for each in report.reconciled.problems] == ["410 Gone"]


async def test_a_market_that_says_nothing_is_not_waited_for(stage: Stage):
    await ready(stage)
    stage.market.silent = True
    report = await collect(stage.world, list_s=0.01)
    assert [row.name for row in report.instances] == ["main"]
    (problem,) = report.reconciled.problems
    assert "did not list its instances in 0.01 s" in problem.message


async def test_what_the_market_stopped_says_why(stage: Stage):
    made = await ready(stage)
    stage.market.change(made.instance_id, state=InstanceState.STOPPED, detail="no credit left")
    (row,) = (await collect(stage.world)).instances
    assert (row.state, row.detail) == (InstanceState.STOPPED, "no credit left")


async def test_what_is_stopped_needs_no_word_for_it(stage: Stage):
    made = await ready(stage)
    await stop(stage.world, made)
    stage.market.change(made.instance_id, detail="EXITED")
    (row,) = (await collect(stage.world)).instances
    assert row.detail == ""


async def test_why_a_machine_is_not_asked_is_said(stage: Stage):
    await ready(stage)
    stage.machine.fails["reach"] = [HostKeyChanged("another key", hint="llmctl instance trust")]
    (row,) = (await collect(stage.world)).instances
    assert row.detail == "another key; llmctl instance trust"
    stage.machine.armed = None
    (row,) = (await collect(stage.world)).instances
    assert row.detail == "its watchdog does not answer; llmctl up main arms it again"


async def test_a_machine_of_ones_own_costs_nothing(stage: Stage):
    await ready(stage, providers=(ProviderName.HOST,), host=ADDRESS)
    (row,) = (await collect(stage.world)).instances
    assert (row.usd_per_hour, row.seconds_left, row.idle_s) == (None, None, None)


async def test_every_market_is_looked_at_even_while_nothing_is_on_record(stage: Stage):
    report = await collect(stage.world)
    assert report.instances == []
    assert stage.market.calls == ["instances"]
