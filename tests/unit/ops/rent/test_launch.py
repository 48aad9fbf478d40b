import asyncio

import pytest

from llmctl.core.errors import (
    AuthError,
    InsufficientCredit,
    LeftoverInstance,
    NoCapacity,
    ProviderError,
)
from llmctl.core.rental import Phase
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.launch import rent
from llmctl.state.store import RentalStore, StateError
from tests.unit.ops.rent.street import VAST, Street


@pytest.fixture
def street(tmp_path):
    made = Street(tmp_path)
    yield made
    made.store.close()


class FullFrom(RentalStore):
    """A record whose disk is full from the first entry of a phase on."""

    phase = Phase.CREATED
    full = False

    def advance(self, uuid, phase, **changes):
        self.full = self.full or phase is self.phase
        if self.full:
            raise StateError("no space is left")
        return super().advance(uuid, phase, **changes)


def fill_the_disk(street: Street) -> None:
    street.store.close()
    street.world.store = street.store = FullFrom(street.store.path, clock=street.clock)


async def test_intent_and_request_are_on_record_before_it_is_sent(street):
    seen = []
    create = street.provider.create

    async def watched(order):
        seen.append((street.store.by_name("main").phase, order.label, order.environment))
        return await create(order)

    street.provider.create = watched
    rental, machine = await street.rented()
    ((phase, label, environment),) = seen
    assert phase is Phase.CREATING
    assert label == rental.label == machine.label
    assert float(environment["LLMCTL_DEADLINE"]) == machine.deadline == rental.deadline
    assert street.phases(rental) == ["intent", "creating", "created", "created"]
    assert rental.addresses
    assert street.launched.instance_key == f"key-of-{machine.id}"


async def test_the_key_of_the_instance_is_never_written(street):
    await street.rent()
    street.store.close()
    files = list(street.store.path.parent.glob("rentals.db*"))
    assert files
    assert not any(b"key-of-" in file.read_bytes() for file in files)


async def test_the_time_to_live_counts_from_the_create(street):
    street.clock.advance(500)
    rental = await street.rent()
    created = next(e.at for e in street.store.journal(rental.uuid) if e.phase is Phase.CREATING)
    assert rental.deadline == created + 3600


async def test_what_others_have_taken_is_passed_over(street):
    street.fault("create", "offer_gone", times=2)
    rental = await street.rent()
    assert rental.offer.id == "offer-3"
    assert street.calls("create") == 3
    assert street.clock.now() - rental.created_at < 60  # nobody looks for what was refused


async def test_nothing_to_be_had_says_why_and_leaves_nothing_in_doubt(street):
    street.fault("create", "offer_gone", times=-1)
    with pytest.raises(NoCapacity, match="none of the offers could be had: the offer is gone"):
        await street.rent()
    assert street.calls("create") == 5
    assert street.store.live() == []


async def test_one_request_too_many_is_sent_again(street):
    street.fault("create", "429", times=2)
    rental = await street.rent()
    assert rental.offer.id == "offer-1"
    assert street.calls("create") == 3
    assert len(street.account.machines) == 1


async def test_a_market_that_never_has_time_is_given_up(street):
    street.fault("create", "429", times=-1)
    with pytest.raises(ProviderError, match="too many requests"):
        await street.rent()
    assert street.calls("create") == 4
    assert street.store.by_name("main").phase is Phase.INTENT


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("no_funds", InsufficientCredit), ("unauthorized", AuthError), ("bad_request", ProviderError)],
)
async def test_a_refusal_is_final(street, fault, kind):
    street.fault("create", fault)
    with pytest.raises(kind):
        await street.rent()
    assert street.calls("create") == 1
    assert street.store.by_name("main").phase is Phase.INTENT


@pytest.mark.parametrize("fault", ["http_500_after", "hang_after"])
@pytest.mark.parametrize("lag_s", [0.0, 60.0, 110.0])
async def test_a_lost_answer_is_found_by_the_label(street, fault, lag_s):
    street.account.list_lag_s = lag_s
    street.fault("create", fault)
    rental = await street.rent()
    assert street.calls("create") == 1
    assert {rental.instance_id} == {each.id for each in street.account.ours()}


@pytest.mark.parametrize("fault", ["http_500", "hang_before"])
async def test_only_what_is_certainly_not_there_is_rented_again(street, fault):
    street.fault("create", fault)
    rental = await street.rent()
    first, second = (call.at for call in street.account.calls if call.operation == "create")
    assert second - first >= 2 * street.world.config.wait.list_lag_s
    assert rental.offer.id == "offer-2"
    assert len(street.account.machines) == 1


async def test_a_list_that_cannot_be_read_is_no_reason_to_rent_again(street):
    street.fault("create", "http_500_after")
    street.fault("list", "null", times=-1)
    with pytest.raises(ProviderError, match="cannot be read: null"):
        await street.rent()
    assert street.calls("create") == 1
    assert street.store.by_name("main").phase is Phase.CREATING


async def test_orders_that_get_lost_end_somewhere(street):
    street.fault("create", "hang_before", times=-1)
    with pytest.raises(HostFailed, match="3 machines were tried"):
        await street.rent()
    assert street.calls("create") == 3


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("never", "no machine has taken it within 180 s"),
        ("stuck", "made no progress for 600 s"),
        ("dead", "cannot start: OCI runtime error"),
        ("no_address", "no address to reach it at within 300 s"),
    ],
)
async def test_a_machine_that_will_not_come_up_is_replaced_and_avoided(street, fate, words):
    make = street.provider._make

    def second_is_well(order):
        street.provider.fate = None if street.account.machines else fate
        return make(order)

    street.provider._make = second_is_well
    rental = await street.rent()
    assert rental.offer.machine == "m2"
    assert words in street.store.avoided(VAST)["m1"]
    assert {rental.instance_id} == {each.id for each in street.account.ours()}
    assert "destroying" in street.phases(rental)


async def test_three_machines_are_tried_and_each_is_gone_before_the_next(street):
    street.provider.fate = "dead"
    most = []
    make = street.provider._make

    def counted(order):
        most.append(len(street.account.ours()))
        return make(order)

    street.provider._make = counted
    with pytest.raises(HostFailed, match="cannot start"):
        await street.rent()
    assert most == [0, 0, 0]
    assert street.account.ours() == []
    with pytest.raises(HostFailed, match="cannot start"):
        await rent(street.world, street.store.by_name("main"), street.plan(), street.launched)
    assert street.calls("create") == 3


async def test_machines_that_failed_lately_are_not_taken(street):
    street.store.avoid(VAST, "m1", "it burned")
    assert (await street.rent()).offer.machine == "m2"
    with pytest.raises(NoCapacity, match="failed within the last day"):
        await street.rent(street.plan(offers=1), name="other")


async def test_outbid_is_a_failure(street):
    street.on_sleep = lambda: street.provider.outbid.update(
        each.id for each in street.account.ours() if each.spec["machine"] == "m1"
    )
    rental = await street.rent()
    assert rental.offer.machine == "m2"
    assert "outbid" in street.store.avoided(VAST)["m1"]


async def test_a_machine_that_will_not_go_stops_everything(street):
    street.provider.fate = "dead"
    street.fault("destroy", "lies", times=-1)
    with pytest.raises(LeftoverInstance, match="vast instance vast-1 may still be running") as left:
        await street.rent()
    assert left.value.hint == "llmctl down main, or end it at https://market.test/instances/vast-1"
    assert street.calls("create") == 1
    assert street.store.by_name("main").phase is Phase.DESTROYING


async def test_no_news_is_not_bad_news(street):
    street.fault("get", "429", times=20)
    rental = await street.rent()
    assert rental.addresses
    assert len(street.account.machines) == 1


async def test_an_instance_that_vanishes_is_replaced(street):
    def gone():
        for each in street.account.ours():
            if each.spec["machine"] == "m1" and street.clock.now() > each.created_at + 5:
                street.account.end(each)

    street.on_sleep = gone
    assert (await street.rent()).offer.machine == "m2"
    assert "vanished" in street.store.avoided(VAST)["m1"]


@pytest.mark.parametrize("fault", [None, "http_500_after"])
async def test_an_instance_whose_id_cannot_be_kept_is_destroyed(street, fault):
    fill_the_disk(street)
    if fault:
        street.fault("create", fault)
    with pytest.raises(StateError, match="no space is left"):
        await street.rent()
    assert len(street.account.machines) == 1
    assert street.account.ours() == []


async def test_an_instance_that_can_neither_be_kept_nor_destroyed_is_told(street):
    fill_the_disk(street)
    street.fault("destroy", "lies", times=-1)
    with pytest.raises(LeftoverInstance) as left:
        await street.rent()
    assert "vast instance vast-1" in left.value.message
    assert "llmctl instance destroy vast:vast-1" in left.value.hint


async def test_cancelled_while_the_create_is_under_way_it_still_learns_the_id(street):
    sent, answered = asyncio.Event(), asyncio.Event()
    create = street.provider.create

    async def slow(order):
        created = await create(order)
        sent.set()
        await answered.wait()
        return created

    street.provider.create = slow
    task = asyncio.get_running_loop().create_task(street.rent())
    await sent.wait()
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    answered.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert street.store.by_name("main").instance_id == "vast-1"


async def test_cancelled_while_the_create_is_refused_it_leaves_nothing_in_doubt(street):
    street.fault("create", "no_funds")
    task = asyncio.get_running_loop().create_task(street.rent())
    while not street.calls("create"):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert street.store.by_name("main").phase is Phase.INTENT


async def test_what_exists_is_taken_up(street):
    rental = await street.rent()
    again = await rent(street.world, rental, street.plan(), street.launched)
    assert again == rental
    assert street.calls("create") == 1
