"""The markets' lists against our record, before anything else a command does with them."""

import asyncio
import logging
from collections.abc import Collection, Iterable

from llmctl.core.errors import LlmctlError, NotFound, ProviderError
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


async def reconcile(
    world: World,
    names: Iterable[ProviderName],
    *,
    leave: Collection[str] = (),
    within_s: float | None = None,
) -> Reconciled:
    """Compare each market with the record and mend what differs.

    Only instances whose label has this installation's id are looked at. Rentals that another
    process works on are left to it, those whose uuid is in ``leave`` to the caller. A market that
    cannot be read, or not in ``within_s`` seconds, is a problem in the result, and proves nothing
    about its instances.
    """
    found = Reconciled()
    for name in names:
        provider = world.providers.get(name)
        if provider is None:
            continue
        try:
            everything = await _listed(provider, within_s)
            await _compare(world, provider, everything, found, leave)
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


async def _listed(provider: Provider, within_s: float | None) -> list[Instance]:
    try:
        async with asyncio.timeout(within_s):
            return await provider.instances()
    except TimeoutError:
        name = provider.name.value
        raise ProviderError(
            f"{name} did not list its instances in {within_s:g} s; what we say of it is our record",
            hint="llmctl doctor",
            retryable=True,
        ) from None


async def _compare(
    world: World,
    provider: Provider,
    everything: list[Instance],
    found: Reconciled,
    leave: Collection[str],
) -> None:
    prefix = f"{LABEL_PREFIX}{world.store.install_id}/"
    ours = [each for each in everything if each.label.startswith(prefix)]
    for instance in ours:
        await _settle(world, instance, found, leave)
    known = {each.id for each in everything}
    for each in world.store.all():
        rental = world.store.get(each.uuid)  # the one before may have taken its time
        if rental.provider is not provider.name or rental.phase is Phase.GONE:
            continue
        if rental.instance_id in known or rental.uuid in leave:
            continue
        if world.store.worked_on(rental.name):
            continue
        try:
            await _missing(world, provider, rental, found)
        except LlmctlError as failure:
            found.problems.append(failure)


async def _settle(
    world: World, instance: Instance, found: Reconciled, leave: Collection[str]
) -> None:
    """Bring one instance of ours and its rental together."""
    rental = _rental_of(world, instance)
    if rental is None:
        found.strays.append(instance)
        return
    if world.store.worked_on(rental.name):
        return
    if not _is_of(rental, instance):
        await _end_second(world, instance, found)
    elif rental.uuid in leave:
        return
    elif rental.phase in (Phase.DESTROYING, Phase.GONE):
        await _end_again(world, rental, instance.id, found)
    elif rental.instance_id is None:
        found.adopted.append(adopt(world, rental, instance))


def _rental_of(world: World, instance: Instance) -> Rental | None:
    """Return whose instance it is: by its label, or, where it was adopted, by its id."""
    try:
        return world.store.get(instance.label.rpartition("/")[2])
    except NotFound:
        return world.store.by_instance(instance.provider, instance.id)


def _is_of(rental: Rental, instance: Instance) -> bool:
    """Whether it is the one instance of its rental, not a second one under the same label."""
    mine = (rental.provider, rental.instance_id)
    return rental.instance_id is None or mine == (instance.provider, instance.id)


def adopt(world: World, rental: Rental, instance: Instance) -> Rental:
    """Write down the instance that a create had made though its answer was lost.

    It has been billed since it was made, not since it was found.
    """
    offer = rental.offer
    sent_at = world.store.journal(rental.uuid)[-1].at
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
        billed_from=max(sent_at, instance.created_at or sent_at),
    )


async def _end_second(world: World, instance: Instance, found: Reconciled) -> None:
    """Destroy an instance under the label of a rental that has another one."""
    log.warning("%s instance %s is one too many", instance.provider, instance.id)
    command = f"llmctl instance destroy {instance.provider.value}:{instance.id}"
    try:
        await proof.destroy(world, instance.provider, instance.id, command=command)
    except LlmctlError as failure:
        found.problems.append(failure)


async def _end_again(world: World, rental: Rental, instance_id: str, found: Reconciled) -> None:
    """Destroy what was being destroyed, or has come back from the dead."""
    if rental.phase is Phase.GONE and world.store.by_name(rental.name) is None:
        # on record as long as it is billed, unless its name has gone to another
        rental = world.store.advance(
            rental.uuid, Phase.DESTROYING, instance_id=instance_id, ended_at=None
        )
    command = f"llmctl instance destroy {rental.provider.value}:{instance_id}"
    try:
        await proof.destroy(world, rental.provider, instance_id, command=command)
    except LlmctlError as failure:
        found.problems.append(failure)
        return
    found.ended.append(world.store.advance(rental.uuid, Phase.GONE))


async def _missing(world: World, provider: Provider, rental: Rental, found: Reconciled) -> None:
    """Find out what became of a rental that the market's list shows no instance of."""
    if rental.instance_id is None:
        await _look_for(world, provider, rental, found)
        return
    if rental.phase is Phase.DESTROYING:
        await _end_again(world, rental, rental.instance_id, found)
        return
    await _until_shown(world, rental)
    if await proof.is_gone(world, provider, rental.instance_id):
        detail = "it ended without us"
        found.ended.append(world.store.advance(rental.uuid, Phase.GONE, detail=detail))


async def _look_for(world: World, provider: Provider, rental: Rental, found: Reconciled) -> None:
    """Adopt what a create has made after all, or close the record of what was never made."""
    sent = rental.phase is not Phase.INTENT
    instance = await find_by_label(world, provider, rental) if sent else None
    if instance is not None:
        found.adopted.append(adopt(world, rental, instance))
        return
    detail = "it was never made"
    found.ended.append(world.store.advance(rental.uuid, Phase.GONE, detail=detail))


async def _until_shown(world: World, rental: Rental) -> None:
    """Wait until a market that lags must show what was just made."""
    sent = [each.at for each in world.store.journal(rental.uuid) if each.phase is Phase.CREATING]
    shown_at = max(sent, default=rental.created_at) + world.config.wait.list_lag_s
    if world.clock.now() < shown_at:
        await world.sleep(shown_at - world.clock.now())


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
            instance = await _labelled(provider, rental.label)
        except LlmctlError:
            if last:
                raise
        else:
            if last or instance is not None:
                return instance
        await world.sleep(world.config.wait.poll_s)


async def _labelled(provider: Provider, label: str) -> Instance | None:
    return next((each for each in await provider.instances() if each.label == label), None)
