import pytest
from msgspec.structs import replace

from llmctl.core.errors import AuthError, ConfigError, LlmctlError, NoCapacity, ProviderError
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Phase, ProviderName, Rental
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, FACTS, FakeMarket, Stage, a_spec, an_offer

BOTH = (ProviderName.VAST, ProviderName.RUNPOD)
READS = {"offers", "account", "instances", "get"}


def runpod(**changes) -> FakeMarket:
    usual = {
        "name": ProviderName.RUNPOD,
        "catalogue": [
            an_offer(
                provider=ProviderName.RUNPOD,
                id="SECURE/EU",
                machine="EU",
                usd_per_hour=micro_usd("0.69"),
                reliability=None,
                download_mbps=None,
            )
        ],
    }
    return FakeMarket(**(usual | changes))


async def ready(stage: Stage, **changes) -> Rental:
    plan = await plan_up(stage.world, a_spec(**changes))
    return (await up(stage.world, plan, stage.release)).rental


async def test_a_plan_reads_and_nothing_else(stage: Stage):
    await plan_up(stage.world, a_spec())
    assert set(stage.market.calls) <= READS
    assert stage.store.all() == []
    assert stage.machine.calls == []


async def test_it_says_what_it_will_cost_and_take(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    assert plan.offer.id == "1001"
    assert plan.fit.model == "qwen3-coder"
    assert plan.ready_s == pytest.approx(321, abs=5)
    assert plan.ready_cost == pytest.approx(32_000, rel=0.1)
    assert plan.account.credit == 25_000_000
    assert plan.warnings == ()
    assert "only offer" in plan.why


async def test_the_best_of_both_markets_comes_first(tmp_path):
    stage = Stage(tmp_path, FakeMarket(), runpod())
    plan = await plan_up(stage.world, a_spec(providers=BOTH))
    assert plan.offer.provider is ProviderName.VAST
    assert [each.provider for each in plan.alternatives] == [ProviderName.RUNPOD]


@pytest.mark.parametrize("call", ["instances", "offers"])
async def test_a_market_that_cannot_be_read_is_not_rented_from(tmp_path, call):
    stage = Stage(tmp_path, FakeMarket(fails={call: ProviderError("410 Gone")}), runpod())
    plan = await plan_up(stage.world, a_spec(providers=BOTH))
    assert plan.offer.provider is ProviderName.RUNPOD
    assert plan.alternatives == ()
    assert plan.warnings == ("not asked: 410 Gone",)


async def test_the_only_market_must_be_readable(stage: Stage):
    stage.market.fails["instances"] = ProviderError("410 Gone")
    with pytest.raises(ProviderError, match="410"):
        await plan_up(stage.world, a_spec())


async def test_the_nearest_miss_is_said(stage: Stage):
    with pytest.raises(NoCapacity, match=r"under \$0.30/h on vast.ai \(cheapest now: \$0.36/h"):
        await plan_up(stage.world, a_spec(max_usd_per_hour=micro_usd("0.30")))


async def test_credit_for_less_than_two_hours_is_said(stage: Stage):
    stage.market.credit = MicroUsd(1_000_000)
    stage.market.burn = MicroUsd(240_000)
    (warning,) = (await plan_up(stage.world, a_spec())).warnings
    assert "credit of $1.00 at vast.ai lasts 100 minutes at $0.60/h" in warning


async def test_credit_that_cannot_be_had_is_no_obstacle(stage: Stage):
    stage.market.fails["account"] = ProviderError("503")
    plan = await plan_up(stage.world, a_spec())
    assert plan.account is None
    assert "credit at vast.ai is unknown" in plan.warnings[0]


async def test_spot_is_warned_of(stage: Stage):
    stage.market.catalogue = [an_offer(spot=True)]
    (warning,) = (await plan_up(stage.world, a_spec(spot=True))).warnings
    assert "taken away" in warning


async def test_a_volume_means_its_market(tmp_path):
    stage = Stage(tmp_path, FakeMarket(), runpod())
    plan = await plan_up(stage.world, a_spec(providers=BOTH, volume="v1"))
    assert plan.offer.provider is ProviderName.RUNPOD
    assert stage.market.calls == []
    with pytest.raises(ConfigError, match="RunPod only"):
        await plan_up(stage.world, a_spec(volume="v1"))


async def test_a_machine_of_ones_own_costs_nothing(stage: Stage):
    plan = await plan_up(stage.world, a_spec(providers=(ProviderName.HOST,), host=ADDRESS))
    assert (plan.offer, plan.fit, plan.ready_cost) == (None, None, 0)
    assert stage.market.calls == []


async def test_what_exists_is_taken_up_as_it_was_ordered(stage: Stage):
    made = await ready(stage, ttl_s=7200.0)
    plan = await plan_up(stage.world, a_spec(gpu="h100", model="qwen2.5-coder:7b"))
    assert plan.resumes == made
    assert plan.offer == made.offer
    assert (plan.spec.gpu, plan.spec.ttl_s) == ("rtx4090", 7200.0)
    assert plan.fit.model == "qwen2.5-coder:7b"
    assert plan.alternatives == ()


async def test_two_cards_are_sized_as_two(stage: Stage):
    stage.market.catalogue = [an_offer(gpu_count=2)]
    stage.machine.facts = replace(FACTS, gpus=FACTS.gpus * 2)
    await ready(stage, gpu_count=2, parallel=1, keep=True)
    plan = await plan_up(stage.world, a_spec())
    assert plan.fit.num_ctx == 262144


async def test_what_is_stopped_is_not_taken_up(stage: Stage):
    made = await ready(stage)
    stage.store.advance(made.uuid, Phase.STOPPED)
    with pytest.raises(LlmctlError) as no:
        await plan_up(stage.world, a_spec())
    assert no.value.hint == "llmctl start main"


async def test_what_is_being_destroyed_is_not_taken_up_but_replaced(stage: Stage):
    made = await ready(stage)
    stage.store.advance(made.uuid, Phase.DESTROYING)
    plan = await plan_up(stage.world, a_spec())
    assert plan.resumes is None
    assert plan.offer is not None


async def test_what_exists_needs_its_key(stage: Stage, tmp_path):
    await ready(stage)
    stage.world.providers = {}
    with pytest.raises(AuthError, match="vast.ai"):
        await plan_up(stage.world, a_spec())


async def test_alternatives_are_on_other_machines(stage: Stage):
    stage.market.catalogue = [an_offer(), an_offer(id="1002"), an_offer(id="1003", machine="m2")]
    plan = await plan_up(stage.world, a_spec())
    assert [each.id for each in (plan.offer, *plan.alternatives)] == ["1001", "1003"]
