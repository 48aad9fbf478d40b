import pytest
from msgspec.structs import replace

from llmctl.core.errors import ConfigError, LeftoverInstance, LlmctlError, NotFound, ProviderError
from llmctl.core.rental import Instance, InstanceState, Phase, ProviderName
from llmctl.ops.rent.instances import adopt, destroy, find, list_instances
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, FakeMarket, Stage, a_spec


def put(stage: Stage, instance_id: str, label: str, **changes) -> Instance:
    usual = {
        "provider": ProviderName.VAST,
        "id": instance_id,
        "label": label,
        "state": InstanceState.RUNNING,
        "addresses": (ADDRESS,),
        "generation": f"{instance_id}@1",
        "usd_per_hour": 400_000,
        "gpu_name": "RTX 4090",
    }
    made = Instance(**(usual | changes))
    stage.market.machines[instance_id] = made
    return made


@pytest.fixture
async def populated(stage: Stage) -> Stage:
    """One of ours on record, one of another installation, one of nobody we know."""
    plan = await plan_up(stage.world, a_spec())
    await up(stage.world, plan, stage.release)
    put(stage, "8001", "llmctl/ffffffff/0123")
    put(stage, "9001", "somebody's training run")
    return stage


async def test_only_what_llmctl_made_is_listed(populated: Stage):
    found = (await list_instances(populated.world)).found
    assert [(each.instance.id, each.here) for each in found] == [("7001", True), ("8001", False)]
    assert [each.rental.name if each.rental else None for each in found] == ["main", None]


async def test_foreign_ones_only_when_asked_for(populated: Stage):
    found = (await list_instances(populated.world, everything=True)).found
    assert [each.instance.id for each in found if not each.ours] == ["9001"]


async def test_foreign_ones_are_never_destroyed(populated: Stage):
    foreign = await find(populated.world, "9001")
    with pytest.raises(LlmctlError, match="not made by llmctl") as no:
        await destroy(populated.world, foreign)
    assert "https://example.com/9001" in no.value.hint
    assert "9001" in populated.market.machines
    assert "destroy" not in populated.market.calls


async def test_destroying_ends_the_record_too(populated: Stage):
    await destroy(populated.world, await find(populated.world, "vast:7001"))
    assert "7001" not in populated.market.machines
    assert populated.store.by_name("main") is None


async def test_destroying_what_another_installation_made(populated: Stage):
    await destroy(populated.world, await find(populated.world, "8001"))
    assert "8001" not in populated.market.machines
    assert populated.store.by_name("main").phase is Phase.READY


async def test_what_would_not_go_stays_on_record(populated: Stage):
    populated.market.fails["destroy"] = ProviderError("refused")
    with pytest.raises(LeftoverInstance, match="7001"):
        await destroy(populated.world, await find(populated.world, "7001"))
    assert populated.store.by_name("main").phase is Phase.DESTROYING


async def test_the_port_that_is_configured_after_an_adoption_counts(populated: Stage):
    adopt(populated.world, await find(populated.world, "8001"), "big")
    ollama = replace(populated.world.config.ollama, port=11500)
    populated.world.config = replace(populated.world.config, ollama=ollama)
    plan = await plan_up(populated.world, a_spec(name="big"))
    result = await up(populated.world, plan, populated.release)
    assert result.rental.engine_port == 11500
    assert populated.machine.settings[-1].port == 11500


async def test_adopted_under_a_name_and_made_ready(populated: Stage):
    made = adopt(populated.world, await find(populated.world, "8001"), "second")
    assert made.phase is Phase.CREATED
    plan = await plan_up(populated.world, a_spec(name="second"))
    result = await up(populated.world, plan, populated.release)
    assert result.rental.phase is Phase.READY
    assert result.rental.instance_id == "8001"
    assert result.rental.usd_per_hour == 400_000
    assert len(populated.market.orders) == 1


async def test_who_gives_a_name_is_told_its_id(populated: Stage):
    with pytest.raises(NotFound, match="no instance main") as unknown:
        await find(populated.world, "main")
    assert unknown.value.hint == "main is vast:7001"


async def test_adopted_while_stopped(populated: Stage):
    put(populated, "8002", "llmctl/ffffffff/0456", state=InstanceState.STOPPED)
    assert adopt(populated.world, await find(populated.world, "8002"), "two").phase is Phase.STOPPED


@pytest.mark.parametrize("instance_id", ["7001", "9001"])
async def test_what_is_known_or_foreign_is_not_adopted(populated: Stage, instance_id):
    with pytest.raises(LlmctlError):
        adopt(populated.world, await find(populated.world, instance_id), "again")


async def test_a_name_in_use_is_not_given_again(populated: Stage):
    with pytest.raises(ConfigError, match="already"):
        adopt(populated.world, await find(populated.world, "8001"), "main")


async def test_an_unknown_id(populated: Stage):
    with pytest.raises(NotFound, match="4711"):
        await find(populated.world, "4711")


async def test_an_id_that_two_markets_have(populated: Stage):
    other = FakeMarket(name=ProviderName.RUNPOD)
    other.machines["8001"] = replace(
        populated.market.machines["8001"], provider=ProviderName.RUNPOD
    )
    populated.world.providers = {**populated.world.providers, ProviderName.RUNPOD: other}
    with pytest.raises(NotFound, match="several markets"):
        await find(populated.world, "8001")
    assert (await find(populated.world, "runpod:8001")).instance.provider is ProviderName.RUNPOD


async def test_an_unreadable_market_is_a_problem_not_an_empty_list(populated: Stage):
    populated.market.fails["instances"] = ProviderError("410 Gone")
    with pytest.raises(ProviderError, match="410"):
        await list_instances(populated.world)
    other = FakeMarket(name=ProviderName.RUNPOD)
    populated.world.providers = {**populated.world.providers, ProviderName.RUNPOD: other}
    assert [each.message for each in (await list_instances(populated.world)).problems] == [
        "410 Gone"
    ]
