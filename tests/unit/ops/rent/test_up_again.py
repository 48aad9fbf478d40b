"""``up`` on what is ready already: it is looked at, mended, or the reason is told."""

import pytest

from llmctl.core.errors import HostKeyChanged, LlmctlError, RemoteFailed, SshError
from llmctl.core.rental import Phase, ProviderName
from llmctl.ops.rent.plan import plan_up, without_effect
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import Stage, a_spec


async def ready(stage: Stage, **changes):
    plan = await plan_up(stage.world, a_spec(**changes))
    return await up(stage.world, plan, stage.release)


def _disarmed(stage: Stage) -> None:
    stage.machine.armed = None


def _mute(stage: Stage) -> None:
    stage.machine.fails["models"] = [RemoteFailed("connection refused")]


def _emptied(stage: Stage) -> None:
    stage.machine.models.clear()


@pytest.mark.parametrize(
    ("happen", "said"),
    [
        (_disarmed, "main was ready, but its watchdog does not answer"),
        (_mute, "main was ready, but its engine does not answer: connection refused"),
        (_emptied, "main was ready, but qwen3-coder is not on it any more"),
    ],
)
async def test_ready_and_unwell_is_said_and_mended(stage: Stage, happen, said: str):
    first = await ready(stage)
    happen(stage)
    again = await ready(stage)
    assert again.rental.phase is Phase.READY
    assert again.rental.uuid == first.rental.uuid
    assert again.tokens_per_s == 104.0
    assert stage.machine.armed is not None
    assert stage.machine.models == ["qwen3-coder"]
    assert any(text.startswith(said) for text in stage.warnings)
    assert len(stage.market.orders) == 1


async def test_ready_and_out_of_reach_is_told_and_stays_ready(stage: Stage):
    await ready(stage)
    stage.machine.fails["reach"] = [SshError("connection refused")] * 99
    with pytest.raises(SshError, match="connection refused"):
        await ready(stage)
    assert stage.store.by_name("main").phase is Phase.READY
    stage.machine.fails["reach"] = [HostKeyChanged("another key")]
    with pytest.raises(HostKeyChanged):
        await ready(stage)


async def test_an_earlier_end_is_on_record_only_when_the_watchdog_has_it(stage: Stage):
    first = await ready(stage)
    stage.machine.fails["arm"] = [RemoteFailed("no such process")]
    with pytest.raises(LlmctlError):
        await ready(stage, ttl_s=7200.0, timed=True)
    assert stage.store.by_name("main").deadline == first.rental.deadline


async def test_options_that_need_a_new_machine_are_named(stage: Stage):
    await ready(stage, gpu="rtx4090")
    asked = a_spec(gpu="h100", providers=(ProviderName.RUNPOD,), region="SE")
    plan = await plan_up(stage.world, asked)
    assert without_effect(asked, plan, ["rent.gpu", "rent.provider"]) == ["--provider", "--gpu"]
    assert without_effect(asked, plan, []) == []
    same = a_spec(gpu="rtx4090")
    plan = await plan_up(stage.world, same)
    assert without_effect(same, plan, ["rent.gpu", "rent.provider"]) == []
