import pytest

from llmctl.core.errors import LlmctlError, NoCapacity, ProviderError, RemoteFailed
from llmctl.core.rental import InstanceState, Phase, ProviderName, Rental
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import plan_power, start, stop
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, Stage, a_spec, taken


async def ready(stage: Stage, **changes) -> Rental:
    plan = await plan_up(stage.world, a_spec(**changes))
    return (await up(stage.world, plan, stage.release)).rental


async def test_stopping_is_not_free_and_says_so(stage: Stage):
    plan = plan_power(await ready(stage))
    assert (plan.usd_per_hour, plan.stopped_usd_per_hour) == (360_000, 12_000)
    assert "GPU can be rented by others" in plan.note


async def test_stop_and_start_again(stage: Stage):
    made = await ready(stage)
    stopped = await stop(stage.world, made)
    assert stopped.phase is Phase.STOPPED
    stage.clock.advance(3600)
    prepared = await start(stage.world, stopped)
    again = prepared.rental
    assert again.phase is Phase.READY
    assert again.addresses[0].port == 50022
    assert again.generation != made.generation
    assert stage.machine.logins[-1].generation == again.generation
    assert again.deadline == pytest.approx(stage.clock.now() + made.spec.ttl_s, abs=60)
    assert stage.machine.armed.deadline == again.deadline
    assert stage.machine.pulls == 1


async def test_each_state_is_billed_at_its_price(stage: Stage):
    made = await ready(stage)
    await start(stage.world, await stop(stage.world, made))
    kinds = [(each.kind, each.usd_per_hour) for each in stage.store.intervals(made.uuid)]
    assert kinds == [("running", 360_000), ("stopped", 12_000), ("running", 360_000)]


async def test_stopping_twice_changes_nothing(stage: Stage):
    made = await ready(stage)
    await stop(stage.world, made)
    await stop(stage.world, made)
    assert stage.market.calls.count("stop") == 1


async def test_starting_what_is_ready_changes_nothing(stage: Stage):
    assert await start(stage.world, await ready(stage)) is None
    assert "start" not in stage.market.calls


async def test_a_taken_gpu_is_explained_with_the_cure(stage: Stage):
    stopped = await stop(stage.world, await ready(stage))
    stage.market.fails["start"] = taken()
    with pytest.raises(NoCapacity, match="GPU is taken") as caught:
        await start(stage.world, stopped)
    assert "llmctl down main && llmctl up main" in caught.value.hint
    assert stage.store.by_name("main").phase is Phase.STOPPED


async def test_a_market_that_is_slow_to_show_the_start(stage: Stage):
    made = await ready(stage)
    stopped = await stop(stage.world, made)
    begin = stage.market.start

    async def accepted_only(_instance_id):
        waited = stage.clock.now()

        async def later():
            if stage.clock.now() - waited > 20:
                await begin(made.instance_id)

        get = stage.market.get

        async def get_and_move(instance_id):
            if stage.market.machines[instance_id].state is InstanceState.STOPPED:
                await later()
            return await get(instance_id)

        stage.market.get = get_and_move

    stage.market.start = accepted_only
    assert (await start(stage.world, stopped)).rental.phase is Phase.READY


async def test_what_its_market_stopped_can_be_started(stage: Stage):
    made = await ready(stage)
    await stage.market.stop(made.instance_id)
    assert (await start(stage.world, made)).rental.phase is Phase.READY


async def test_a_start_that_failed_halfway_is_taken_up(stage: Stage):
    stopped = await stop(stage.world, await ready(stage))
    stage.machine.fails["install"] = [RemoteFailed("disk full")]
    with pytest.raises(RemoteFailed):
        await start(stage.world, stopped)
    prepared = await start(stage.world, stage.store.by_name("main"))
    assert prepared.rental.phase is Phase.READY
    assert stage.market.calls.count("start") == 1


async def test_machines_of_ones_own_are_not_stopped(stage: Stage):
    made = await ready(stage, providers=(ProviderName.HOST,), host=ADDRESS)
    with pytest.raises(LlmctlError, match="your own"):
        plan_power(made)


async def test_what_is_gone_cannot_be_started(stage: Stage):
    made = await ready(stage)
    stage.market.machines.clear()
    with pytest.raises(LlmctlError, match="gone"):
        await start(stage.world, made)


@pytest.mark.parametrize("use", [start, stop])
async def test_what_is_being_destroyed_is_not_taken_up_again(stage: Stage, use):
    made = await ready(stage)
    doomed = stage.store.advance(made.uuid, Phase.DESTROYING)
    stage.market.fails["destroy"] = ProviderError("not now")
    with pytest.raises(LlmctlError, match="main is destroying and may be billed") as refused:
        await use(stage.world, doomed)
    assert refused.value.hint == "llmctl down main"
    assert stage.store.get(made.uuid).phase is Phase.DESTROYING
    assert {"start", "stop"}.isdisjoint(stage.market.calls)
