import asyncio

import pytest
from msgspec.structs import replace

from llmctl.core.errors import (
    Cancelled,
    HostKeyChanged,
    LeftoverInstance,
    LlmctlError,
    NoCapacity,
    NotFound,
    ProviderError,
    RemoteFailed,
    SshError,
)
from llmctl.core.rental import InstanceState, Order, Phase, ProviderName, SshAddress, UpPlan
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.down import end
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, NO_GPU, FakeMarket, Stage, a_spec, an_offer


async def ready(stage: Stage, **changes):
    plan = await plan_up(stage.world, a_spec(**changes))
    return await up(stage.world, plan, stage.release)


async def test_from_nothing_to_a_model_that_answers(stage: Stage):
    result = await ready(stage)
    assert result.rental.phase is Phase.READY
    assert result.rental.model == "qwen3-coder"
    assert result.rental.num_ctx == 65536
    assert result.tokens_per_s == 104.0
    assert stage.machine.settings[-1].kv_cache_type == "q8_0"
    order = stage.market.orders[0]
    assert order.label == result.rental.label
    assert order.deadline == result.rental.deadline


async def test_the_watchdog_is_armed_and_read_back_before_anything_else(stage: Stage):
    await ready(stage, idle_s=600.0)
    assert stage.machine.calls[:4] == ["reach", "arm", "armed", "facts"]
    assert stage.machine.armed.idle_s == 600.0


async def test_ready_again_is_idempotent(stage: Stage):
    await ready(stage)
    before = len(stage.machine.calls)
    again = await ready(stage)
    assert again.tokens_per_s is None
    assert stage.machine.calls[before:] == ["reach", "armed", "models", "close"]
    assert len(stage.market.orders) == 1


async def test_its_end_can_be_moved(stage: Stage):
    first = await ready(stage)
    stage.clock.advance(3600)
    plan = await plan_up(stage.world, a_spec(ttl_s=7200.0, idle_s=900.0, timed=True))
    assert plan.ends_in_s == 7200.0
    moved = await up(stage.world, plan, stage.release)
    assert moved.rental.uuid == first.rental.uuid
    assert moved.rental.phase is Phase.READY
    assert moved.rental.deadline == stage.machine.armed.deadline == stage.clock.now() + 7200
    assert stage.machine.armed.idle_s == 900.0
    assert moved.rental.spec.idle_s == 900.0
    assert (stage.machine.installed, stage.machine.pulls) == (1, 1)


async def test_an_end_that_was_not_asked_for_stays(stage: Stage):
    first = await ready(stage, ttl_s=7200.0)
    stage.clock.advance(3600)
    plan = await plan_up(stage.world, a_spec(ttl_s=9000.0))
    assert (plan.deadline, plan.ends_in_s) == (None, 3600.0)
    again = await up(stage.world, plan, stage.release)
    assert again.rental.deadline == first.rental.deadline


async def test_a_watchdog_that_lies_about_its_new_end_is_told(stage: Stage):
    await ready(stage)
    stage.machine.lies = True
    with pytest.raises(LlmctlError, match="watchdog has a deadline"):
        await ready(stage, ttl_s=7200.0, timed=True)


async def test_another_model_is_pulled_on_the_same_machine(stage: Stage):
    await ready(stage)
    result = await ready(stage, model="qwen2.5-coder:7b")
    assert result.rental.model == "qwen2.5-coder:7b"
    assert result.rental.num_ctx == 32768
    assert len(stage.market.orders) == 1


async def test_a_machine_that_was_restarted_is_prepared_again(stage: Stage):
    first = await ready(stage)
    stage.machine.models.clear()
    moved = SshAddress(host="203.0.113.7", port=50022)
    stage.market.change(first.rental.instance_id, generation="7001@2", addresses=(moved,))
    again = await ready(stage)
    assert again.rental.generation == "7001@2"
    assert stage.machine.pulls == 2
    assert stage.machine.logins[-1].addresses == (moved,)


@pytest.mark.parametrize(
    ("method", "installed", "pulls"),
    [("install", 1, 1), ("serve", 2, 1), ("pull", 2, 1), ("warm", 2, 1)],
)
async def test_what_was_interrupted_is_taken_up(stage: Stage, method, installed, pulls):
    stage.machine.fails[method] = [RemoteFailed("broken")]
    with pytest.raises(RemoteFailed, match="broken"):
        await ready(stage, keep=True)
    result = await ready(stage)
    assert result.rental.phase is Phase.READY
    assert len(stage.market.orders) == 1
    assert (stage.machine.installed, stage.machine.pulls) == (installed, pulls)


async def test_failure_destroys_what_was_rented(stage: Stage):
    stage.machine.fails["pull"] = [RemoteFailed("no such model")]
    with pytest.raises(RemoteFailed, match="no such model"):
        await ready(stage)
    assert stage.market.machines == {}
    assert stage.store.live() == []


async def test_keep_leaves_it(stage: Stage):
    stage.machine.fails["pull"] = [RemoteFailed("no such model")]
    with pytest.raises(RemoteFailed):
        await ready(stage, keep=True)
    assert len(stage.market.machines) == 1
    assert stage.store.by_name("main").phase is Phase.INSTALLED


async def test_failure_of_a_resumed_rental_destroys_nothing(stage: Stage):
    await ready(stage)
    stage.machine.fails["reach"] = [SshError("nobody there")] * 1000
    with pytest.raises(HostFailed, match="nobody there") as caught:
        await ready(stage, model="qwen2.5-coder:7b")
    assert "llmctl down main" in caught.value.hint
    assert len(stage.market.machines) == 1


async def test_cancelled_destroys_and_says_so(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    pulling = asyncio.Event()

    async def endless(_model, _report, *, insecure=False):
        pulling.set()
        await asyncio.Event().wait()

    reach = stage.machine.reach

    async def slow(target):
        host = await reach(target)
        host.pull = endless
        return host

    stage.world.reach = slow
    task = asyncio.get_running_loop().create_task(up(stage.world, plan, stage.release))
    await pulling.wait()
    task.cancel()
    with pytest.raises(Cancelled, match="destroyed"):
        await task
    assert stage.market.machines == {}
    assert stage.store.live() == []


async def test_cancelling_the_undoing_does_not_stop_it(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    stage.machine.fails["pull"] = [RemoteFailed("broken")]
    destroy = stage.market.destroy

    async def cancelled_meanwhile(instance_id):
        task.cancel()
        await asyncio.sleep(0)
        await destroy(instance_id)

    stage.market.destroy = cancelled_meanwhile
    task = asyncio.get_running_loop().create_task(up(stage.world, plan, stage.release))
    with pytest.raises(RemoteFailed, match="broken"):
        await task
    assert stage.market.machines == {}
    assert stage.store.live() == []


async def test_what_cannot_be_proved_gone_is_said(stage: Stage):
    stage.machine.fails["pull"] = [RemoteFailed("broken")]
    stage.market.fails["destroy"] = ProviderError("refused")
    with pytest.raises(LeftoverInstance, match="7001") as caught:
        await ready(stage)
    assert "llmctl down main" in caught.value.hint
    assert isinstance(caught.value.__cause__, RemoteFailed)


async def test_a_machine_without_ssh_is_replaced(stage: Stage):
    stage.market.catalogue = [an_offer(), an_offer(id="1002", machine="m2")]
    dead = stage.machine.reach

    async def only_the_second(target):
        if len(stage.market.orders) == 1:
            raise SshError("no banner")
        return await dead(target)

    stage.world.reach = only_the_second
    result = await ready(stage)
    assert result.rental.offer.machine == "m2"
    assert list(stage.market.machines) == [result.rental.instance_id]
    assert stage.store.avoided(ProviderName.VAST) == {"m1": "no banner"}


async def test_a_lying_watchdog_ends_the_machine(stage: Stage):
    stage.machine.lies = True
    with pytest.raises(HostFailed, match="has a deadline of"):
        await ready(stage)
    assert stage.market.machines == {}
    assert "install" not in stage.machine.calls


async def test_a_machine_without_its_gpu_is_not_kept(stage: Stage):
    stage.machine.facts = NO_GPU
    with pytest.raises(HostFailed, match="no GPU answers"):
        await ready(stage)
    assert stage.market.machines == {}
    assert "no GPU answers on the machine" in stage.store.avoided(ProviderName.VAST).values()


async def test_at_most_three_machines(stage: Stage):
    stage.market.catalogue = [an_offer(id=str(n), machine=f"m{n}") for n in range(9)]
    stage.machine.fails["reach"] = [SshError("no banner")] * 10_000
    with pytest.raises(HostFailed, match="no banner"):
        await ready(stage)
    assert len(stage.market.orders) == 3
    assert stage.market.machines == {}


async def test_a_changed_host_key_ends_it_at_once(stage: Stage):
    stage.machine.fails["reach"] = [HostKeyChanged("another key")]
    with pytest.raises(HostKeyChanged):
        await ready(stage)
    assert stage.market.machines == {}
    assert stage.machine.calls == ["reach"]


async def test_gone_since_it_was_planned(stage: Stage):
    await ready(stage)
    plan = await plan_up(stage.world, a_spec())
    stage.market.machines.clear()
    with pytest.raises(NotFound, match="ended by itself"):
        await up(stage.world, plan, stage.release)
    assert len(stage.market.orders) == 1


async def test_an_unreadable_list_keeps_from_renting(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    stage.market.fails["instances"] = ProviderError("not JSON")
    with pytest.raises(ProviderError, match="not JSON"):
        await up(stage.world, plan, stage.release)
    assert stage.market.orders == []


async def test_a_create_that_was_lost_is_found_and_taken_up(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    rental = stage.store.begin(plan.spec, ProviderName.VAST)
    stage.store.advance(rental.uuid, Phase.CREATING, offer=plan.offer, deadline=stage.clock.now())
    order = await stage.market.create(an_order(stage, plan, label=rental.label))
    result = await ready(stage)
    assert result.rental.uuid == rental.uuid
    assert result.rental.instance_id == order.id
    assert len(stage.market.orders) == 1


def an_order(stage: Stage, plan: UpPlan, *, label: str):
    return Order(
        offer=plan.offer,
        label=label,
        image="",
        disk_gb=50,
        public_key="",
        start_script="",
        deadline=stage.clock.now(),
    )


async def test_a_create_that_never_arrived_is_sent_anew(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    rental = stage.store.begin(plan.spec, ProviderName.VAST)
    stage.store.advance(rental.uuid, Phase.CREATING, offer=plan.offer)
    result = await ready(stage)
    assert result.rental.phase is Phase.READY
    assert len(stage.market.machines) == 1


async def test_a_machine_of_ones_own(stage: Stage):
    stage.machine.facts = NO_GPU
    result = await ready(stage, providers=(ProviderName.HOST,), host=ADDRESS)
    assert result.rental.model == "qwen2.5-coder:7b"
    assert stage.machine.logins[0].addresses == (ADDRESS,)
    assert stage.machine.armed is None
    assert stage.market.calls == []


async def test_this_machine(stage: Stage):
    result = await ready(stage, providers=(ProviderName.LOCAL,))
    assert result.rental.phase is Phase.READY
    assert stage.machine.logins[0].addresses == ()


async def test_a_host_that_was_never_reached_leaves_no_record(stage: Stage):
    stage.machine.fails["reach"] = [SshError("refused our key", terminal=True)]
    with pytest.raises(SshError, match="refused our key"):
        await ready(stage, providers=(ProviderName.HOST,), host=ADDRESS)
    assert stage.store.by_name("main") is None
    assert stage.released == []


async def test_a_host_that_failed_later_is_left_as_it_was(stage: Stage):
    stage.machine.fails["pull"] = [RemoteFailed("no such model")]
    with pytest.raises(RemoteFailed):
        await ready(stage, providers=(ProviderName.HOST,), host=ADDRESS)
    assert stage.released == ["main"]


async def test_own_time_is_counted(stage: Stage):
    result = await ready(stage)
    assert 0 < result.own_seconds < 3


async def test_a_stopped_rental_is_not_taken_for_a_bad_machine(stage: Stage):
    first = await ready(stage)
    stage.store.advance(first.rental.uuid, Phase.STOPPED)
    with pytest.raises(LlmctlError) as caught:
        await ready(stage)
    assert caught.value.hint == "llmctl start main"


async def test_outbid_while_ready_is_said_and_nothing_is_destroyed(stage: Stage):
    first = await ready(stage)
    stage.market.change(first.rental.instance_id, state=InstanceState.STOPPED, spot=True)
    with pytest.raises(HostFailed, match="outbid"):
        await ready(stage)
    assert len(stage.market.machines) == 1


async def test_a_second_market_stands_in(stage: Stage, tmp_path):
    other = FakeMarket(
        name=ProviderName.RUNPOD,
        catalogue=[an_offer(provider=ProviderName.RUNPOD, id="SECURE/EU/x", machine="EU")],
    )
    both = Stage(tmp_path, FakeMarket(fails={"create": NoCapacity("gone")}), other)
    both.world.reach = stage.machine.reach
    spec = replace(a_spec(), providers=(ProviderName.VAST, ProviderName.RUNPOD))
    plan = await plan_up(both.world, spec)
    result = await up(both.world, plan, both.release)
    assert result.rental.provider is ProviderName.RUNPOD
    both.store.close()


@pytest.mark.parametrize("phase", [Phase.CREATING, Phase.DESTROYING])
async def test_what_may_be_billed_where_there_is_no_key_is_not_rented_again(tmp_path, phase):
    spec = replace(a_spec(), providers=(ProviderName.RUNPOD,))
    other = FakeMarket(
        name=ProviderName.RUNPOD,
        catalogue=[an_offer(provider=ProviderName.RUNPOD, id="SECURE/EU/x", machine="EU")],
    )
    one = Stage(tmp_path, other)
    rental = one.store.begin(spec, ProviderName.VAST)
    one.store.advance(rental.uuid, phase)
    with pytest.raises(LeftoverInstance, match="no key to ask") as caught:
        await up(one.world, await plan_up(one.world, spec), one.release)
    assert caught.value.hint.startswith("llmctl auth login vast")
    assert other.orders == []
    one.store.close()


async def test_a_bug_of_ours_does_not_leave_a_machine_running(stage: Stage):
    stage.machine.fails["facts"] = [KeyError("a bug")]
    with pytest.raises(KeyError):
        await ready(stage)
    assert stage.market.machines == {}
    assert stage.store.live() == []


async def test_a_machine_without_a_gpu_of_ones_own_is_only_slow(stage: Stage):
    stage.machine.facts = NO_GPU
    stage.machine.gpu_used = False
    result = await ready(stage, providers=(ProviderName.LOCAL,))
    assert result.rental.phase is Phase.READY
    assert any("slow" in text for text in stage.warnings)


async def test_a_second_machine_on_the_same_volume_pulls_nothing(tmp_path):
    offer = an_offer(provider=ProviderName.RUNPOD, id="SECURE/EU", machine="EU")
    stage = Stage(tmp_path, FakeMarket(name=ProviderName.RUNPOD, catalogue=[offer]))
    asked = {"providers": (ProviderName.RUNPOD,), "volume": "v1"}
    first = await ready(stage, **asked)
    assert stage.market.orders[0].volume == "v1"
    assert stage.market.orders[0].disk_gb == 25
    await end(stage.world, first.rental, stage.release)
    second = await ready(stage, **asked)
    assert second.rental.instance_id != first.rental.instance_id
    assert stage.machine.pulls == 1
    stage.store.close()


async def test_a_bad_machine_is_kept_too_when_asked(stage: Stage):
    stage.market.catalogue = [an_offer(), an_offer(id="1002", machine="m2")]
    stage.machine.lies = True
    with pytest.raises(HostFailed, match="watchdog"):
        await ready(stage, keep=True)
    assert list(stage.market.machines) == ["7001"]
