"""The login that the steps of ``up`` share: made anew when link or address change."""

import contextlib
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

import msgspec

from llmctl.core.errors import HostKeyChanged, LlmctlError, SshError
from llmctl.core.rental import Instance, InstanceState, Rental, Step, StepState
from llmctl.ops.rent.arrival import HostFailed
from llmctl.ops.rent.costs import spent
from llmctl.ops.rent.world import World
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.host import Host

log = logging.getLogger(__name__)

T = TypeVar("T")

REFUSED_S = 60.0
"""How long a new machine may refuse our key: sshd is up before the market has put it there."""
_PAUSES_S = (1.0, 2.0, 4.0, 8.0)


def target_of(rental: Rental) -> SshTarget:
    """Return where and as whom a rental's machine is reached; no address means this machine."""
    return SshTarget(
        instance=rental.uuid,
        generation=rental.generation,
        addresses=rental.addresses,
        name=rental.name,
        engine_port=rental.engine_port,
    )


class Login:
    """One machine, over as many connections as it takes. Used as an async context manager."""

    def __init__(self, world: World, rental: Rental) -> None:
        self.rental = rental
        """With the addresses as they were last seen."""
        self._world = world
        self._host: Host | None = None
        self._moved_at = world.clock.monotonic()
        self._bytes: int | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._drop()

    async def open(self, *, within_s: float) -> None:
        """Log in to a machine that is coming up; one that is new may refuse our key for a while.

        Raises ``HostKeyChanged`` at once, the last ``SshError`` after ``within_s``, and
        ``HostFailed`` when its market says that it will not come up.
        """

        async def nothing(_host: Host) -> None:
            return None

        patient_s = REFUSED_S if self.rental.provider.paid else 0.0
        await self.keep_on(nothing, within_s=within_s, patient_s=patient_s)

    async def keep_on(
        self,
        work: Callable[[Host], Awaitable[T]],
        *,
        within_s: float,
        patient_s: float = 0.0,
    ) -> T:
        """Do ``work``, which may be repeated, over as many logins as that takes.

        ``within_s`` counts from the last progress. Raises what cannot be mended at once, and the
        last ``SshError`` when time is up; a refused key counts as passing for ``patient_s``.
        """
        clock, began = self._world.clock, self._world.clock.monotonic()
        self._moved_at = began
        attempt = 0
        while True:
            try:
                return await work(await self._open())
            except SshError as lost:
                await self._drop()
                pause = _PAUSES_S[min(attempt, len(_PAUSES_S) - 1)]
                now = clock.monotonic()
                refused = lost.terminal and now - began >= patient_s
                late = now + pause > self._moved_at + within_s
                if isinstance(lost, HostKeyChanged) or refused or late:
                    raise
                log.info("the link is lost, trying again: %s", lost)
                await self._world.sleep(pause)
                await self._look_again()
            attempt += 1

    def pass_on(self, step: Step) -> None:
        """Report a step of the machine with what it cost so far; bytes that move are progress.

        That it is done is said by who asked for it, once the effect was checked.
        """
        if step.done_bytes != self._bytes:
            self._bytes = step.done_bytes
            self._moved_at = self._world.clock.monotonic()
        if step.state is StepState.DONE:
            return
        amount = spent(self._world, self.rental)
        if amount is not None:
            step = msgspec.structs.replace(step, spent=amount)
        self._world.pass_on(step)

    async def _open(self) -> Host:
        if self._host is None:
            self._host = await self._world.reach(target_of(self.rental))
        return self._host

    async def _drop(self) -> None:
        host, self._host = self._host, None
        if host is not None:
            with contextlib.suppress(LlmctlError):
                await host.close()

    async def _look_again(self) -> None:
        """Take the machine's address from its market: a restart gives it another one."""
        rental = self.rental
        provider = self._world.providers.get(rental.provider)
        if provider is None or rental.instance_id is None:
            return
        try:
            seen = await provider.get(rental.instance_id)
        except LlmctlError as failure:
            log.info("no news of the instance: %s", failure)
            return
        check_alive(seen)
        if seen is None or not seen.addresses:
            return
        if (seen.addresses, seen.generation) != (rental.addresses, rental.generation):
            self.rental = self._world.store.advance(
                rental.uuid,
                self._world.store.get(rental.uuid).phase,
                addresses=seen.addresses,
                generation=seen.generation,
            )


def check_alive(seen: Instance | None) -> None:
    """Raise ``HostFailed`` for an instance that logging in again cannot help."""
    if seen is None:
        raise HostFailed("the instance has vanished")
    said = f": {seen.detail}" if seen.detail else ""
    if seen.fatal or seen.state is InstanceState.FAILED:
        raise HostFailed(f"the instance has failed{said}")
    if seen.state is InstanceState.STOPPED:
        raise HostFailed(f"the instance was {'outbid' if seen.spot else 'stopped'}{said}")
