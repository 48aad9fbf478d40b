"""Everything on the accounts that carries our label, known to this machine or not."""

from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.rental import (
    LABEL_PREFIX,
    Instance,
    InstanceState,
    Phase,
    ProviderName,
    Rental,
    UpSpec,
)
from llmctl.core.reports import Listed, Listing
from llmctl.ops.rent import proof
from llmctl.ops.rent.world import World


async def list_instances(world: World, *, everything: bool = False) -> Listing:
    """List what llmctl made on every account with a key; ``everything`` adds what is not ours.

    Raises the market's own error when none could be read.
    """
    listing = Listing(found=[])
    for provider in world.providers.values():
        try:
            instances = await provider.instances()
        except LlmctlError as failure:
            listing.problems.append(failure)
            continue
        listed = [_listed(world, each) for each in instances]
        listing.found.extend(each for each in listed if each.ours or everything)
    if listing.problems and len(listing.problems) == len(world.providers):
        raise listing.problems[0]
    return listing


async def find(world: World, text: str) -> Listed:
    """Return the instance ``provider:id`` or ``id`` names; raises ``NotFound``."""
    market, _, instance_id = text.rpartition(":")
    listing = await list_instances(world, everything=True)
    matches = [
        each
        for each in listing.found
        if each.instance.id == instance_id and market in ("", each.instance.provider.value)
    ]
    if len(matches) == 1:
        return matches[0]
    if not matches:
        raise NotFound(f"no instance {text} is on your accounts", hint=_where_it_is(world, text))
    raise NotFound(f"several markets have an instance {instance_id}", hint="name it PROVIDER:ID")


def _where_it_is(world: World, text: str) -> str:
    """Say the id of what is known under a name, or where ids are."""
    rental = world.store.by_name(text)
    if rental is None or rental.instance_id is None:
        return "llmctl instance list --all"
    return f"{text} is {rental.provider.value}:{rental.instance_id}"


async def destroy(world: World, listed: Listed) -> None:
    """Destroy one instance of ours and prove it gone; raises for what is not ours."""
    instance = listed.instance
    if not listed.ours:
        raise LlmctlError(
            f"{instance.provider.value} instance {instance.id} was not made by llmctl, "
            "which destroys only what it made",
            hint=f"end it at {world.providers[instance.provider].console_url(instance.id)}",
        )
    command = f"llmctl instance destroy {instance.provider.value}:{instance.id}"
    rental = listed.rental
    if rental is None:
        await proof.destroy(world, instance.provider, instance.id, command=command)
        return
    with world.store.owned(rental.name):
        world.store.advance(rental.uuid, Phase.DESTROYING)
        await proof.destroy(world, instance.provider, instance.id, command=command)
        world.store.advance(rental.uuid, Phase.GONE)
        world.store.unpin(rental.uuid)


def adopt(world: World, listed: Listed, name: str) -> Rental:
    """Take an instance of ours into the record under ``name``; ``up NAME`` then prepares it.

    Its watchdog keeps the deadline it was started with until then.
    """
    instance = listed.instance
    if listed.rental is not None:
        name = listed.rental.name
        raise LlmctlError(f"it is on record already, as {name}", hint=f"llmctl up {name}")
    if not listed.ours:
        raise LlmctlError(
            f"{instance.provider.value} instance {instance.id} was not made by llmctl"
        )
    spec = UpSpec(name=name, providers=(instance.provider,))
    rental = world.store.begin(spec, instance.provider)
    return world.store.advance(
        rental.uuid,
        Phase.STOPPED if instance.state is InstanceState.STOPPED else Phase.CREATED,
        label=instance.label,
        instance_id=instance.id,
        addresses=instance.addresses,
        generation=instance.generation,
        usd_per_hour=instance.usd_per_hour,
        stopped_usd_per_hour=instance.stopped_usd_per_hour,
        deadline=world.clock.now() + spec.ttl_s,
        engine_port=world.config.ollama.port,
        detail="adopted",
    )


def _listed(world: World, instance: Instance) -> Listed:
    here = instance.label.startswith(f"{LABEL_PREFIX}{world.store.install_id}/")
    rental = world.store.by_instance(ProviderName(instance.provider), instance.id)
    if rental is not None and rental.phase is Phase.GONE:
        rental = None
    return Listed(
        instance=instance,
        rental=rental,
        ours=instance.label.startswith(LABEL_PREFIX),
        here=here,
    )
