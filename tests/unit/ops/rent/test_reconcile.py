import pytest

from llmctl.core.errors import LeftoverInstance, ProviderError
from llmctl.core.rental import Phase, ProviderName
from llmctl.ops.rent.reconcile import find_by_label, reconcile, warn_of_strays
from llmctl.state.store import RentalStore
from tests.emulators.market import Machine, Market
from tests.emulators.provider import InProcessProvider
from tests.unit.ops.rent.stage import an_offer
from tests.unit.ops.rent.street import VAST, Street


@pytest.fixture
def street(tmp_path):
    made = Street(tmp_path)
    yield made
    made.store.close()


def compare(street: Street, **how):
    return reconcile(street.world, [VAST], **how)


def sent(street: Street, name: str = "main"):
    """A rental whose process died while its create was under way."""
    rental = street.begin(name)
    return street.store.advance(rental.uuid, Phase.CREATING, offer=an_offer())


def made(street: Street, label: str, machine_id: str = "found-1") -> Machine:
    return street.account.add(
        Machine(
            id=machine_id,
            label=label,
            created_at=street.clock.now(),
            running_price=360_000,
            stopped_price=12_000,
        )
    )


async def test_agreement_changes_nothing(street):
    rental = await street.rent()
    before = street.store.journal(rental.uuid)
    found = await compare(street)
    assert (found.adopted, found.ended, found.strays, found.problems) == ([], [], [], [])
    assert street.store.journal(rental.uuid) == before


async def test_what_a_lost_create_has_made_is_adopted(street):
    rental = sent(street)
    machine = made(street, rental.label)
    street.clock.advance(300)
    (adopted,) = (await compare(street)).adopted
    assert adopted.instance_id == machine.id
    assert adopted.phase is Phase.CREATED
    assert adopted.usd_per_hour == 360_000
    (interval,) = street.store.intervals(rental.uuid)
    assert interval.begins == machine.created_at


async def test_what_was_never_made_is_closed_once_lists_cannot_lag_any_more(street):
    rental = sent(street)
    began = street.clock.now()
    (ended,) = (await compare(street)).ended
    assert ended.uuid == rental.uuid
    assert ended.phase is Phase.GONE
    assert street.clock.now() - began >= 2 * street.world.config.wait.list_lag_s


async def test_a_create_whose_machine_is_late_in_the_list_is_waited_for(street):
    rental = sent(street)
    machine = made(street, rental.label)
    street.account.list_lag_s = 60.0
    (adopted,) = (await compare(street)).adopted
    assert adopted.instance_id == machine.id


async def test_an_intent_that_was_never_sent_is_closed_at_once(street):
    rental = street.begin()
    began = street.clock.now()
    (ended,) = (await compare(street)).ended
    assert ended.uuid == rental.uuid
    assert street.clock.now() - began < 1


async def test_what_was_being_destroyed_is_destroyed_again(street):
    rental, machine = await street.rented()
    street.store.advance(rental.uuid, Phase.DESTROYING)
    (ended,) = (await compare(street)).ended
    assert ended.phase is Phase.GONE
    assert machine.ended_at is not None


async def test_what_comes_back_from_the_dead_is_destroyed(street):
    rental, machine = await street.rented()
    street.store.advance(rental.uuid, Phase.GONE)
    await compare(street)
    assert machine.ended_at is not None
    assert street.store.get(rental.uuid).phase is Phase.GONE


async def test_what_comes_back_and_will_not_go_is_on_record_again(street):
    rental, machine = await street.rented()
    street.store.advance(rental.uuid, Phase.GONE)
    street.fault("destroy", "lies", times=-1)
    (problem,) = (await compare(street)).problems
    assert isinstance(problem, LeftoverInstance)
    assert machine.id in problem.message
    assert street.store.by_name("main").phase is Phase.DESTROYING


async def test_a_second_machine_under_one_label_is_one_too_many(street):
    rental, machine = await street.rented()
    second = made(street, rental.label)
    await compare(street)
    assert second.ended_at is not None
    assert machine.ended_at is None
    assert street.store.get(rental.uuid) == rental


async def test_our_label_without_a_record_is_only_reported(street):
    stray = made(street, f"llmctl/{street.store.install_id}/{'5' * 32}")
    found = await compare(street)
    assert [each.id for each in found.strays] == [stray.id]
    assert street.calls("destroy") == 0
    warn_of_strays(street.world, found)
    assert street.warnings[-1] == (
        f"vast instance {stray.id} has our label and no record; "
        f"llmctl instance adopt vast:{stray.id}, or llmctl instance destroy vast:{stray.id}"
    )


async def test_a_hundred_machines_of_others_are_not_touched(street):
    foreign = street.provider.foreign(100)
    rental, _ = await street.rented()
    street.store.advance(rental.uuid, Phase.DESTROYING)
    found = await compare(street)
    assert found.strays == []  # another installation's are not ours either
    assert [each for each in street.provider.written if each[1].startswith("foreign")] == []
    assert all(each.ended_at is None for each in foreign)


async def test_what_ended_without_us_is_proved_and_closed(street):
    rental, machine = await street.rented()
    street.clock.advance(1000)
    street.account.end(machine)
    (ended,) = (await compare(street)).ended
    assert ended.uuid == rental.uuid
    assert ended.detail == "it ended without us"
    assert street.store.intervals(rental.uuid)[-1].ends is not None


async def test_missing_from_the_list_alone_is_not_gone(street):
    rental, _ = await street.rented()
    street.clock.advance(1000)
    street.account.list_lag_s = 10_000.0
    assert (await compare(street)).ended == []
    assert street.store.get(rental.uuid).phase.live


@pytest.mark.parametrize("kind", ["empty", "null", "html", "old_schema"])
async def test_a_list_that_cannot_be_read_is_a_problem_and_proves_nothing(street, kind):
    rental, machine = await street.rented()
    sent(street, "other")
    street.account.end(machine)
    street.clock.advance(1000)
    street.fault("list", kind, times=-1)
    found = await compare(street)
    assert found.ended == []
    assert kind in found.problems[0].message
    assert street.store.get(rental.uuid).phase.live


async def test_the_markets_that_can_be_read_are_compared_all_the_same(street):
    other = InProcessProvider(Market(street.clock), name=ProviderName.RUNPOD)
    other.market.faults.add("list", "html", times=-1)
    street.world.providers = {ProviderName.RUNPOD: other, VAST: street.provider}
    rental = sent(street)
    machine = made(street, rental.label)
    found = await reconcile(street.world, [ProviderName.RUNPOD, VAST])
    assert [each.instance_id for each in found.adopted] == [machine.id]
    assert len(found.problems) == 1


async def test_a_rental_of_one_market_found_at_another_is_recorded_there(street):
    """Its first create was lost there, its next was about to be sent here."""
    other = InProcessProvider(Market(street.clock), name=ProviderName.RUNPOD)
    street.world.providers = {ProviderName.RUNPOD: other, VAST: street.provider}
    rental = sent(street)
    street.account = other.market
    machine = made(street, rental.label)
    (adopted,) = (await reconcile(street.world, [ProviderName.RUNPOD])).adopted
    assert (adopted.provider, adopted.instance_id) == (ProviderName.RUNPOD, machine.id)


class Shared(RentalStore):
    """A record in which other processes work on some names."""

    theirs = frozenset({"main"})

    def worked_on(self, name):
        return name in self.theirs


@pytest.mark.parametrize("phase", [Phase.CREATING, Phase.DESTROYING])
async def test_what_another_process_works_on_is_left_to_it(street, phase):
    rental = sent(street)
    street.store.advance(rental.uuid, phase)
    machine = made(street, rental.label)
    street.store.close()
    street.world.store = street.store = Shared(street.store.path, clock=street.clock)
    found = await compare(street)
    assert (found.adopted, found.ended) == ([], [])
    assert machine.ended_at is None
    street.store.theirs = frozenset()
    found = await compare(street)
    assert len(found.adopted + found.ended) == 1


async def test_lists_are_read_until_they_can_be(street):
    rental = sent(street)
    machine = made(street, rental.label)
    street.fault("list", "html", times=3)
    instance = await find_by_label(street.world, street.provider, rental)
    assert instance.id == machine.id


async def test_lists_that_stay_unreadable_leave_it_open(street):
    rental = sent(street)
    street.fault("list", "html", times=-1)
    with pytest.raises(ProviderError, match="html"):
        await find_by_label(street.world, street.provider, rental)


async def test_what_comes_back_after_its_name_was_given_to_another_is_destroyed_too(street):
    first, machine = await street.rented()
    street.store.advance(first.uuid, Phase.GONE)
    second, other = await street.rented()
    found = await compare(street)
    assert found.problems == []
    assert machine.ended_at is not None
    assert other.ended_at is None
    assert street.store.by_name("main") == second


async def test_a_new_machine_that_nothing_shows_is_given_the_time_that_lists_may_lag(street):
    rental, machine = await street.rented()
    street.account.end(machine)
    sent_at = next(e.at for e in street.store.journal(rental.uuid) if e.phase == "creating")
    (ended,) = (await compare(street)).ended
    assert ended.phase is Phase.GONE
    assert ended.ended_at >= sent_at + street.world.config.wait.list_lag_s


async def test_what_the_caller_ends_is_left_to_it_but_not_its_second(street):
    rental, machine = await street.rented()
    street.store.advance(rental.uuid, Phase.DESTROYING)
    second = made(street, rental.label)
    found = await compare(street, leave={rental.uuid})
    assert found.ended == []
    assert machine.ended_at is None
    assert second.ended_at is not None


async def test_one_rental_that_cannot_be_settled_keeps_no_other_from_it(street):
    stuck, open_ = sent(street, "stuck"), sent(street, "open")
    street.clock.advance(300)
    street.fault("list", "html", after=1)
    found = await compare(street)
    assert [each.uuid for each in found.ended] == [open_.uuid]
    assert len(found.problems) == 1
    assert street.store.get(stuck.uuid).phase is Phase.CREATING
