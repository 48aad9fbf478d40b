"""The markets' lists against our record, before anything else a command does with them."""

import logging
from collections.abc import Iterable

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.rental import (
    LABEL_PREFIX,
    Instance,
    Phase,
    ProviderName,
    Rental,
    StepState,
)
from llmctl.core.reports import Reconciled
from llmctl.ops.rent import proof
from llmctl.ops.rent.world import World
from llmctl.providers.base import Provider

log = logging.getLogger(__name__)

_UNSENT = (Phase.INTENT, Phase.CREATING)


async def reconcile(world: World, names: Iterable[ProviderName]) -> Reconciled:
    """Compare each market with the record and mend what differs.

    Only instances whose label has this installation's id are looked at. Rentals that another
    process works on are left to it. A market that cannot be read is a problem in the result, and
    proves nothing about its instances.
    """
    found = Reconciled()
    for name in names:
        provider = world.providers.get(name)
        if provider is None:
            continue
        try:
            await _compare(world, provider, found)
        except LlmctlError as failure:
            log.info("%s cannot be compared: %s", name, failure)
            found.problems.append(failure)
    return found


def warn_of_strays(world: World, found: Reconciled) -> None:
    """Say what has our label and no record: only a person may end it."""
    for stray in found.strays:
        where = f"{stray.provider.value}:{stray.id}"
        text = (
            f"{stray.provider.value} instance {stray.id} has our label and no record; "
            f"llmctl instance adopt {where}, or llmctl instance destroy {where}"
        )
        world.say("reconcile", StepState.WARNING, text)


async def _compare(world: World, provider: Provider, found: Reconciled) -> None:
    prefix = f"{LABEL_PREFIX}{world.store.install_id}/"
    everything = await provider.instances()
    ours = [each for each in everything if each.label.startswith(prefix)]
    for instance in ours:
        await _settle(world, provider, instance, found)
    known = {each.id for each in everything}
    for rental in world.store.all():
        if rental.provider is provider.name and rental.phase is not Phase.GONE:
            await _missing(world, provider, world.store.get(rental.uuid), known, found)


async def _settle(world: World, provider: Provider, instance: Instance, found: Reconciled) -> None:
    """Bring one instance of ours and its rental together."""
    rental = _rental_of(world, instance)
    if rental is None:
        found.strays.append(instance)
        return
    if world.store.worked_on(rental.name):
        return
    second = rental.instance_id not in (None, instance.id)
    if rental.phase in (Phase.DESTROYING, Phase.GONE) or second:
        await _end_again(world, provider, rental, instance, found)
    elif rental.instance_id is None:
        found.adopted.append(adopt(world, rental, instance))


def _rental_of(world: World, instance: Instance) -> Rental | None:
    """Return whose instance it is: by its label, or, where it was adopted, by its id."""
    try:
        return world.store.get(instance.label.rpartition("/")[2])
    except NotFound:
        return world.store.by_instance(instance.provider, instance.id)


def adopt(world: World, rental: Rental, instance: Instance) -> Rental:
    """Write down the instance that a create had made though its answer was lost."""
    offer = rental.offer
    return world.store.advance(
        rental.uuid,
        Phase.CREATED,
        provider=instance.provider,
        instance_id=instance.id,
        usd_per_hour=instance.usd_per_hour or (offer.usd_per_hour if offer else None),
        stopped_usd_per_hour=instance.stopped_usd_per_hour
        or (offer.stopped_usd_per_hour if offer else None),
        addresses=instance.addresses,
        generation=instance.generation,
        detail=f"found instance {instance.id} by its label",
    )


async def _end_again(
    world: World, provider: Provider, rental: Rental, instance: Instance, found: Reconciled
) -> None:
    """Destroy what should not exist: ended before, or a second one under the same label."""
    log.warning("%s instance %s should be gone; destroying it", provider.name, instance.id)
    ours = rental.instance_id in (None, instance.id)
    if ours and rental.phase is Phase.GONE:
        rental = world.store.advance(rental.uuid, Phase.DESTROYING, ended_at=None)
    try:
        command = f"llmctl instance destroy {provider.name.value}:{instance.id}"
        await proof.destroy(world, provider.name, instance.id, command=command)
    except LlmctlError as failure:
        found.problems.append(failure)
        return
    if ours:
        found.ended.append(world.store.advance(rental.uuid, Phase.GONE))


async def _missing(
    world: World, provider: Provider, rental: Rental, known: set[str], found: Reconciled
) -> None:
    """End the record of what the market no longer has, once that is proved."""
    if world.store.worked_on(rental.name):
        return
    if rental.instance_id is None:
        if await never_made(world, provider, rental):
            detail = "it was never made"
            found.ended.append(world.store.advance(rental.uuid, Phase.GONE, detail=detail))
    elif rental.instance_id not in known and await proof.is_gone(
        world, provider, rental.instance_id
    ):
        detail = "" if rental.phase is Phase.DESTROYING else "it ended without us"
        found.ended.append(world.store.advance(rental.uuid, Phase.GONE, detail=detail))


async def never_made(world: World, provider: Provider, rental: Rental) -> bool:
    """Whether a rental without an id is proved to have no instance.

    Waits until the market's list cannot lag any more behind the last request of this rental.
    """
    if rental.phase is Phase.INTENT:
        return True
    return await find_by_label(world, provider, rental) is None


async def find_by_label(
    world: World, provider: Provider, rental: Rental, *, since: float | None = None
) -> Instance | None:
    """Look for the instance of a create whose answer was lost, for as long as lists may lag.

    That is counted from ``since``, Unix time, or from when the create was written down. Raises
    ``ProviderError`` when no list could be read at the end of that time.
    """
    sent_at = world.store.journal(rental.uuid)[-1].at if since is None else since
    until = sent_at + 2 * world.config.wait.list_lag_s
    if world.clock.now() < until:
        text = f"looking for {rental.name} in the list of {provider.name.value}, which may lag"
        world.say("reconcile", StepState.BEGIN, text)
    while True:
        last = world.clock.now() >= until
        try:
            for instance in await provider.instances():
                if instance.label == rental.label:
                    return instance
        except LlmctlError:
            if last:
                raise
        else:
            if last:
                return None
        await world.sleep(world.config.wait.poll_s)
