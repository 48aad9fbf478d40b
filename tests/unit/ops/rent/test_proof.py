import pytest

from llmctl.core.errors import AuthError, LeftoverInstance, ProviderError
from llmctl.core.rental import ProviderName
from llmctl.ops.rent import proof
from tests.unit.ops.rent.street import VAST, Street

COMMAND = "llmctl down main"


@pytest.fixture
def street(tmp_path):
    made = Street(tmp_path)
    yield made
    made.store.close()


def end(street: Street, instance_id: str, name=VAST):
    return proof.destroy(street.world, name, instance_id, command=COMMAND)


async def test_it_is_destroyed_and_looked_for(street):
    _, machine = await street.rented()
    await end(street, machine.id)
    assert machine.ended_at is not None
    reads = [call.operation for call in street.account.calls[-3:]]
    assert reads == ["destroy", "get", "list"]


async def test_what_is_gone_already_is_a_success(street):
    _, machine = await street.rented()
    await end(street, machine.id)
    await end(street, machine.id)
    assert street.calls("destroy") == 2


async def test_a_market_that_lies_twice_is_asked_three_times(street):
    _, machine = await street.rented()
    street.fault("destroy", "lies", times=2)
    await end(street, machine.id)
    assert street.calls("destroy") == 3
    assert machine.ended_at is not None


@pytest.mark.parametrize("fault", ["lies", "gone"])
async def test_a_market_that_keeps_it_is_told_on(street, fault):
    _, machine = await street.rented()
    began = street.clock.now()
    street.fault("destroy", fault, times=-1)
    with pytest.raises(LeftoverInstance) as left:
        await end(street, machine.id)
    assert left.value.exit_code == 8
    assert left.value.message == (
        f"vast instance {machine.id} may still be running and billed: it is still there"
    )
    page = f"https://market.test/instances/{machine.id}"
    assert left.value.hint == f"{COMMAND}, or end it at {page}"
    assert street.clock.now() - began < street.world.config.wait.gone_s + 15


@pytest.mark.parametrize("kind", ["empty", "null", "html", "old_schema"])
async def test_a_list_that_cannot_be_read_proves_nothing(street, kind):
    _, machine = await street.rented()
    street.fault("list", kind, times=-1)
    with pytest.raises(LeftoverInstance, match=f"cannot be read: {kind}"):
        await end(street, machine.id)


async def test_two_lists_apart_prove_it_where_it_cannot_be_asked_for_by_id(street):
    _, machine = await street.rented()
    street.fault("get", "http_500", times=-1)
    await end(street, machine.id)
    first, second = [call.at for call in street.account.calls if call.operation == "list"][-2:]
    assert second - first >= proof.APART_S


async def test_one_list_that_lacks_it_is_no_proof(street):
    """It lags: the instance is new, and shows up in the second list."""
    _, machine = await street.rented()
    street.account.list_lag_s = street.clock.now() - machine.created_at + 5
    street.fault("get", "http_500", times=-1)
    assert not await proof.is_gone(street.world, street.provider, machine.id)


async def test_a_refused_key_is_told_at_once(street):
    _, machine = await street.rented()

    async def refused(_instance_id):
        raise AuthError("the key is refused")

    street.provider.destroy = refused
    with pytest.raises(LeftoverInstance, match="the key is refused"):
        await end(street, machine.id)


async def test_a_key_that_is_refused_after_the_end_still_names_the_instance(street):
    _, machine = await street.rented()

    async def refused(_instance_id):
        raise AuthError("the key is refused")

    street.provider.get = refused
    with pytest.raises(LeftoverInstance, match="the key is refused"):
        await end(street, machine.id)


async def test_without_a_key_nothing_can_be_ended(street):
    with pytest.raises(LeftoverInstance, match="runpod instance 9 .* no key for it here") as left:
        await end(street, "9", ProviderName.RUNPOD)
    assert left.value.hint == COMMAND


async def test_markets_that_are_busy_are_asked_again(street):
    _, machine = await street.rented()
    street.fault("destroy", "429", times=5)
    await end(street, machine.id)
    assert machine.ended_at is not None


async def test_is_gone_says_when_it_cannot_tell(street):
    street.fault("list", "html", times=-1)
    with pytest.raises(ProviderError):
        await proof.is_gone(street.world, street.provider, "vast-1")


async def test_a_market_that_refuses_and_does_not_show_it_yet_proves_nothing(street):
    """Neither its list nor its answer by id may have what was made a moment ago."""
    began = street.clock.now()
    street.fault("destroy", "http_500", times=9)
    await end(street, "just-made")
    assert street.clock.now() - began < street.world.config.wait.gone_s
    assert street.calls("destroy") == 10
