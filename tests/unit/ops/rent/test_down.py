import asyncio

import pytest

from llmctl.core.errors import LeftoverInstance, NotFound, SshError
from llmctl.core.rental import Phase, ProviderName
from llmctl.ops.rent.down import down, end, plan_down
from llmctl.state.store import RentalStore, StateError
from tests.unit.ops.rent.stage import a_spec, an_offer
from tests.unit.ops.rent.street import Street


@pytest.fixture
def street(tmp_path):
    made = Street(tmp_path)
    yield made
    made.store.close()


async def run(street: Street, *names: str, everything: bool = False):
    plan = plan_down(street.store, names, everything=everything)
    return await down(street.world, plan, street.release)


class Full(RentalStore):
    """A record that can be read, on a disk without room."""

    def begin(self, spec, provider):
        raise StateError("no space is left")

    def advance(self, uuid, phase, **changes):
        raise StateError("no space is left")


def fill_the_disk(street: Street) -> None:
    street.store.close()
    street.world.store = street.store = Full(street.store.path, clock=street.clock)


# -- which ---------------------------------------------------------------------------------------


async def test_the_only_one_needs_no_name(street):
    rental = await street.rent()
    assert [each.uuid for each in plan_down(street.store, []).rentals] == [rental.uuid]


async def test_several_are_named(street):
    for name in ("one", "two"):
        street.begin(name)
    with pytest.raises(NotFound, match="there are several instances: one, two"):
        plan_down(street.store, [])
    assert len(plan_down(street.store, [], everything=True).rentals) == 2


async def test_nothing_to_end(street):
    with pytest.raises(NotFound, match="there is no instance"):
        plan_down(street.store, [])
    assert plan_down(street.store, [], everything=True).rentals == []


async def test_unknown_names_and_near_misses(street):
    street.begin("main")
    with pytest.raises(NotFound, match="no instance called 'mian'") as missing:
        plan_down(street.store, ["mian"])
    assert missing.value.hint == "did you mean main?"


async def test_what_is_down_already_is_said_and_not_asked_for(street):
    await street.rent()
    await run(street, "main")
    calls = len(street.account.calls)
    plan = plan_down(street.store, ["main"])
    assert (plan.rentals, plan.already) == ([], ["main"])
    assert await down(street.world, plan, street.release) == []
    assert len(street.account.calls) == calls


# -- the end -------------------------------------------------------------------------------------


async def test_it_is_on_record_before_it_is_asked_for_and_gone_only_when_proved(street):
    rental, machine = await street.rented()
    phases = []
    ask = street.provider.destroy

    async def watched(instance_id):
        phases.append(street.store.get(rental.uuid).phase)
        await ask(instance_id)

    street.provider.destroy = watched
    street.store.pin(rental.uuid, rental.generation, "ssh-ed25519 AAAA")
    street.clock.advance(3000)
    (ended,) = await run(street, "main")
    assert phases == [Phase.DESTROYING]
    assert ended.rental.phase is Phase.GONE
    assert ended.spent == pytest.approx(machine.bill / 3600, rel=0.02)
    assert street.store.pinned(rental.uuid, rental.generation) is None


async def test_a_market_that_keeps_it(street):
    rental, machine = await street.rented()
    street.fault("destroy", "lies", times=-1)
    with pytest.raises(LeftoverInstance, match=machine.id) as left:
        await run(street, "main")
    assert "llmctl down main" in left.value.hint
    assert street.store.get(rental.uuid).phase is Phase.DESTROYING
    street.account.faults.clear()
    await run(street, "main")
    assert machine.ended_at is not None


async def test_one_that_will_not_go_keeps_nobody_else(street):
    first, second = (await street.rented("one"))[1], (await street.rented("two"))[1]
    ask = street.provider.destroy

    async def stubborn(instance_id):
        if instance_id != first.id:
            await ask(instance_id)

    street.provider.destroy = stubborn
    with pytest.raises(LeftoverInstance, match=first.id):
        await run(street, everything=True)
    assert second.ended_at is not None
    assert [each.name for each in street.store.live()] == ["one"]


async def test_what_is_still_billed_is_told_before_other_troubles(street):
    """A machine of one's own that cannot be reached costs nothing."""
    spec = a_spec(name="box", providers=(ProviderName.HOST,))
    box = street.store.begin(spec, ProviderName.HOST)
    street.store.advance(box.uuid, Phase.READY)
    await street.rent()
    street.fault("destroy", "lies", times=-1)

    async def unreachable(_rental):
        raise SshError("nobody there")

    with pytest.raises(LeftoverInstance):
        await down(street.world, plan_down(street.store, [], everything=True), unreachable)


async def test_a_machine_of_ones_own_is_left(street):
    spec = a_spec(name="box", providers=(ProviderName.HOST,))
    box = street.store.begin(spec, ProviderName.HOST)
    street.store.advance(box.uuid, Phase.READY)
    (ended,) = await run(street, "box")
    assert ended.rental.phase is Phase.GONE
    assert street.released == ["box"]
    assert street.account.calls == []


async def test_an_intent_alone_costs_no_request_but_the_list(street):
    street.begin()
    (ended,) = await run(street, "main")
    assert ended.rental.phase is Phase.GONE
    assert street.calls("destroy") == 0


@pytest.mark.parametrize("lag_s", [0.0, 60.0])
async def test_a_create_without_an_answer_is_looked_for_and_ended(street, lag_s):
    street.account.list_lag_s = lag_s
    street.fault("create", "http_500_after")
    street.fault("list", "html", times=-1)
    with pytest.raises(Exception, match="html"):
        await street.rent()
    street.account.faults.clear()
    await run(street, "main")
    assert len(street.account.machines) == 1
    assert street.account.ours() == []


async def test_a_create_that_cannot_be_looked_for_is_told(street):
    rental = street.begin()
    street.store.advance(rental.uuid, Phase.CREATING, offer=an_offer())
    street.fault("list", "html", times=-1)
    with pytest.raises(LeftoverInstance, match="may have made main and cannot be asked") as left:
        await run(street, "main")
    assert rental.label in left.value.hint
    assert street.store.by_name("main").phase is Phase.CREATING


async def test_a_create_at_a_market_without_a_key_is_not_taken_for_nothing(street):
    rental = street.begin()
    street.store.advance(rental.uuid, Phase.CREATING, offer=an_offer())
    street.world.providers = {}
    with pytest.raises(LeftoverInstance, match="no key for vast here") as left:
        await run(street, "main")
    assert left.value.hint == "llmctl auth login vast, then llmctl down main"


async def test_a_list_that_cannot_be_read_is_no_reason_to_let_it_run(street):
    _, machine = await street.rented()
    street.fault("list", "html", times=-1)
    with pytest.raises(LeftoverInstance):
        await run(street, "main")
    assert machine.ended_at is not None
    street.account.faults.clear()
    (ended,) = await run(street, "main")
    assert ended.rental.phase is Phase.GONE


async def test_a_full_disk_is_no_reason_to_let_it_run(street):
    _, machine = await street.rented()
    fill_the_disk(street)
    with pytest.raises(StateError, match="no space is left"):
        await run(street, "main")
    assert machine.ended_at is not None
    assert "no space is left" in street.warnings


async def test_what_is_gone_is_left_as_it_is(street):
    rental = await street.rent()
    await run(street, "main")
    gone = street.store.get(rental.uuid)
    assert await end(street.world, gone, street.release) == gone


async def test_strays_are_told_and_left(street):
    await street.rent()
    street.account.machines["vast-1"].label = f"llmctl/{street.store.install_id}/{'5' * 32}"
    street.store.advance(street.store.by_name("main").uuid, Phase.CREATED, instance_id="vast-9")
    street.clock.advance(1000)
    await run(street, "main")
    assert "has our label and no record" in street.warnings[0]
    assert [each.id for each in street.account.ours()] == ["vast-1"]


async def test_interrupted_it_names_what_may_still_be_billed(street):
    _, machine = await street.rented()
    street.fault("destroy", "lies", times=-1)
    task = asyncio.get_running_loop().create_task(run(street, "main"))
    while not street.calls("destroy"):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(LeftoverInstance, match=machine.id) as caught:
        await task
    assert caught.value.hint.startswith("llmctl down main")
    assert street.store.by_name("main").phase is Phase.DESTROYING
