"""Getting to a rental's machine by hand: a shell, its logs, and a host key that has changed."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from llmctl.core.errors import LlmctlError
from llmctl.core.rental import Phase, Rental, SshAddress
from llmctl.ops.rent.login import target_of
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.world import World
from llmctl.ssh.hostkeys import fingerprint

_REACHED = (Phase.REACHABLE, Phase.GUARDED, Phase.INSTALLED, Phase.PULLED, Phase.READY)


class Shell(Struct, frozen=True, kw_only=True):
    """How the system's own ``ssh`` gets to a machine."""

    known_hosts: str
    """Content of the file at ``known_hosts_file``, to be written before ``argv`` is run."""
    argv: list[str]


class TrustPlan(Struct, frozen=True, kw_only=True):
    """A host key that would be accepted in place of the pinned one."""

    rental: Rental
    address: SshAddress
    old: str | None
    """``SHA256:…`` of the pinned key."""
    new: str
    """``SHA256:…`` of the key the machine shows."""
    key: str
    """The new key itself."""

    @property
    def changed(self) -> bool:
        """Whether there is anything to accept."""
        return self.old != self.new


def shell(
    rental: Rental,
    pinned: str | None,
    *,
    key_file: Path,
    known_hosts_file: Path,
    command: Sequence[str] = (),
) -> Shell:
    """Return what runs a shell, or ``command``, on a machine that has been logged in to before.

    Only our key and the pinned host key count, whatever ``~/.ssh/config`` says. Pure.
    """
    if rental.phase is Phase.STOPPED:
        raise LlmctlError(f"{rental.name} is stopped", hint=f"llmctl start {rental.name}")
    address = _address(rental)
    if pinned is None:
        raise LlmctlError(
            f"no host key of {rental.name} is known yet", hint=f"llmctl up {rental.name}"
        )
    options = {
        "UserKnownHostsFile": f'"{_literal(known_hosts_file)}"',
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlias": f"llmctl-{rental.uuid}",
        "HostKeyAlgorithms": _algorithms(pinned),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
    }
    argv = ["ssh", "-F", "none", "-i", _literal(key_file), "-p", str(address.port)]
    for name, value in options.items():
        argv += ["-o", f"{name}={value}"]
    argv += ["--", f"{address.user}@{address.host}", *command]
    return Shell(known_hosts=f"llmctl-{rental.uuid} {pinned}\n", argv=argv)


async def machine_logs(world: World, rental: Rental, *, lines: int) -> list[str]:
    """Return the last lines of the engine's log; before there is an engine, of the container."""
    if rental.phase in _REACHED or not rental.provider.paid:
        async with logged_in(world, rental) as host:
            return await host.logs(lines)
    provider = world.providers.get(rental.provider)
    if provider is None or rental.instance_id is None:
        raise LlmctlError(f"{rental.name} has no machine yet", hint=f"llmctl up {rental.name}")
    return await provider.logs(rental.instance_id, lines=lines)


async def plan_trust(world: World, rental: Rental) -> TrustPlan:
    """Log in whatever host key is shown, and return that key beside the pinned one.

    The new key is kept nowhere. Raises ``SshError`` where nobody answers, and where our key is
    refused: then it is another machine indeed.
    """
    address = _address(rental)
    pinned = world.store.pinned(rental.uuid, rental.generation)
    stranger = f"{rental.uuid}?"  # a name without a pin: what it shows is noted on first contact
    world.store.unpin(stranger)
    try:
        host = await world.reach(replace(target_of(rental), instance=stranger))
        await host.close()
        key = world.store.pinned(stranger, rental.generation)
    finally:
        world.store.unpin(stranger)
    if key is None:
        raise LlmctlError(f"{rental.name} was reached without a host key: there is none to trust")
    return TrustPlan(
        rental=rental,
        address=address,
        old=None if pinned is None else fingerprint(pinned),
        new=fingerprint(key),
        key=key,
    )


def trust(world: World, plan: TrustPlan) -> None:
    """Pin the new key in place of all others of this machine."""
    world.store.unpin(plan.rental.uuid)
    world.store.pin(plan.rental.uuid, plan.rental.generation, plan.key)


def _address(rental: Rental) -> SshAddress:
    if not rental.addresses:
        raise LlmctlError(
            f"no address of {rental.name} is known",
            hint=f"llmctl up {rental.name}" if rental.provider.paid else None,
        )
    return min(rental.addresses, key=lambda address: address.relay)


def _algorithms(pinned: str) -> str:
    """Return how a host may prove that it has the pinned key (RFC 8332 for RSA)."""
    kind = pinned.split(maxsplit=1)[0]
    return "rsa-sha2-512,rsa-sha2-256" if kind == "ssh-rsa" else kind


def _literal(path: Path) -> str:
    """Return a path in which ssh finds no token to replace (ssh_config(5), TOKENS)."""
    return str(path).replace("%", "%%")
