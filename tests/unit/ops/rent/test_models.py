import pytest

from llmctl.core.errors import LlmctlError, NotFound, SshError
from llmctl.core.rental import Phase, Rental
from llmctl.ops.rent.models import check_model, list_models, pull_model, remove_model
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import Stage, a_spec


@pytest.fixture
async def made(stage: Stage) -> Rental:
    plan = await plan_up(stage.world, a_spec())
    return (await up(stage.world, plan, stage.release)).rental


async def test_pulled_listed_and_removed(stage: Stage, made: Rental):
    await pull_model(stage.world, made, "all-minilm")
    assert [each.name for each in await list_models(stage.world, made)] == [
        "all-minilm",
        "qwen3-coder",
    ]
    await remove_model(stage.world, made, "all-minilm")
    assert stage.machine.models == ["qwen3-coder"]
    assert stage.store.get(made.uuid).model == "qwen3-coder"


async def test_a_pull_survives_a_broken_link(stage: Stage, made: Rental):
    stage.machine.fails["pull"] = [SshError("lost"), SshError("lost")]
    assert (await pull_model(stage.world, made, "all-minilm")).name == "all-minilm"


@pytest.mark.parametrize("name", ["qwen3-coder", "qwen3-coder:latest"])
@pytest.mark.parametrize("recorded", ["qwen3-coder", "qwen3-coder:latest"])
async def test_what_it_answers_with_is_not_removed(stage: Stage, made: Rental, name, recorded):
    made = stage.store.advance(made.uuid, made.phase, model=recorded)
    with pytest.raises(LlmctlError, match="answers with"):
        await remove_model(stage.world, made, name)
    assert stage.machine.models == ["qwen3-coder"]


@pytest.mark.parametrize(
    ("call", "work", "hint"),
    [
        ("warm", check_model, "llmctl model pull nope --instance main"),
        ("remove", remove_model, "llmctl model list --instance main"),
    ],
)
async def test_a_model_that_is_not_there_is_told(stage: Stage, made: Rental, call, work, hint):
    stage.machine.fails[call] = [NotFound("model 'nope' not found")]
    with pytest.raises(NotFound, match="main has no model nope") as no:
        await work(stage.world, made, "nope")
    assert no.value.hint == hint


async def test_a_model_is_asked_once(stage: Stage, made: Rental):
    tested = await check_model(stage.world, made, None)
    assert (tested.model, tested.warmed.tokens_per_s) == ("qwen3-coder", 104.0)
    assert (await check_model(stage.world, made, "other")).model == "other"


@pytest.mark.parametrize(
    ("phase", "hint"), [(Phase.CREATED, "llmctl up main"), (Phase.STOPPED, "llmctl start main")]
)
async def test_without_an_engine_nothing_is_asked(stage: Stage, made: Rental, phase, hint):
    early = stage.store.advance(made.uuid, phase)
    before = list(stage.machine.calls)
    with pytest.raises(LlmctlError) as no:
        await list_models(stage.world, early)
    assert no.value.hint == hint
    assert stage.machine.calls == before
