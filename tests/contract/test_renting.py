"""Create: sent once, and honest about what is not known."""

import pytest

from llmctl.core.errors import (
    AuthError,
    InsufficientCredit,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
)
from tests.contract.bed import LABEL, PUBLIC_KEY, Bed

LOST = ("http_500", "http_503", "html", "empty", "null", "reset_before")
DONE_AND_LOST = ("http_500_after", "reset_after", "html_after")


async def labels(bed: Bed) -> list[str]:
    return [instance.label for instance in await bed.provider.instances()]


async def test_the_machine_is_what_was_ordered(bed: Bed):
    offer = await bed.offer()
    order = bed.order(offer, environment={"EXTRA": "a \"quoted\" 'text' with $signs\n"})
    created = await bed.provider.create(order)
    machine = bed.market.machines[created.id]
    assert machine.label == order.label
    assert machine.spec["body"]["image"] == order.image
    assert machine.spec["env"]["EXTRA"] == order.environment["EXTRA"]
    assert machine.running_price == pytest.approx(offer.usd_per_hour, abs=2)
    assert bed.calls("create") == 1


async def test_the_deadline_is_armed_before_anybody_logs_in(bed: Bed):
    order = bed.order(await bed.offer())
    created = await bed.provider.create(order)
    assert bed.market.machines[created.id].deadline == order.deadline
    bed.clock.advance(3601)
    assert await bed.provider.get(created.id) is None


async def test_a_key_for_the_instance_alone_stays_out_of_sight(bed: Bed):
    created = await bed.provider.create(bed.order(await bed.offer()))
    assert (created.instance_key is not None) == ("machine_key" in bed.features)
    if created.instance_key is not None:
        with pytest.raises(AuthError):
            await bed.with_key(created.instance_key).instances()
        await bed.with_key(created.instance_key).destroy(created.id)
        assert bed.market.ours() == []


@pytest.mark.parametrize("fault", LOST)
async def test_an_answer_that_says_nothing_leaves_the_outcome_unknown(bed: Bed, fault: str):
    offer = await bed.offer()
    bed.poison("create", fault, times=-1)
    with pytest.raises(OutcomeUnknown):
        await bed.provider.create(bed.order(offer))
    assert bed.calls("create") == 1
    assert await labels(bed) == []


@pytest.mark.parametrize("fault", DONE_AND_LOST)
async def test_what_was_made_though_the_answer_was_lost_is_found_by_its_label(bed: Bed, fault: str):
    offer = await bed.offer()
    bed.poison("create", fault, times=-1)
    with pytest.raises(OutcomeUnknown):
        await bed.provider.create(bed.order(offer))
    assert bed.calls("create") == 1
    assert await labels(bed) == [LABEL.format(1)]


@pytest.mark.parametrize(("fault", "made"), [("hang_before", 0), ("hang_after", 1)])
async def test_silence_leaves_the_outcome_unknown(bed: Bed, fault: str, made: int):
    offer = await bed.offer()
    bed.poison("create", fault, times=-1)
    with pytest.raises(OutcomeUnknown):
        await bed.impatient.create(bed.order(offer))
    assert bed.calls("create") == 1
    assert len(await labels(bed)) == made


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("offer_gone", NoCapacity), ("no_funds", InsufficientCredit), ("bad_request", ProviderError)],
)
async def test_refusals(bed: Bed, fault: str, kind: type[Exception]):
    offer = await bed.offer()
    bed.poison("create", fault)
    with pytest.raises(kind) as refused:
        await bed.provider.create(bed.order(offer))
    assert not isinstance(refused.value, OutcomeUnknown)
    assert bed.market.ours() == []
    assert bed.calls("create") == 1


async def test_too_many_requests_is_a_refusal(bed: Bed):
    offer = await bed.offer()
    bed.poison("create", "429", times=-1)
    with pytest.raises(ProviderError) as refused:
        await bed.provider.create(bed.order(offer))
    assert refused.value.retryable
    assert not isinstance(refused.value, OutcomeUnknown)
    assert bed.calls("create") == 1


async def test_no_money(bed: Bed):
    offer = await bed.offer()
    bed.market.credit = 10_000
    with pytest.raises(InsufficientCredit):
        await bed.provider.create(bed.order(offer))
    assert bed.market.ours() == []


async def test_a_refused_key_rents_nothing(bed: Bed):
    offer = await bed.offer()
    with pytest.raises(AuthError):
        await bed.with_key("wrong-key-nobody-may-see-1234").create(bed.order(offer))
    assert bed.market.ours() == []


async def test_only_our_key_reaches_the_machine(bed: Bed):
    created = await bed.provider.create(bed.order(await bed.offer()))
    spec = bed.market.machines[created.id].spec
    given = [*spec.get("keys", ()), *spec["env"].get("PUBLIC_KEY", "").splitlines()]
    assert set(given) == {PUBLIC_KEY}
