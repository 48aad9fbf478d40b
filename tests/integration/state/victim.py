"""A process of llmctl that really dies: ``python -m tests.integration.state.victim POINT ...``.

It rents at the emulated market over HTTP with the real adapter, and ends itself with SIGKILL where
it was told to. The machine behind SSH is a stand-in: nothing is spent there.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

from llmctl.config.schema import Config, WaitConfig
from llmctl.core.clock import SystemClock
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.ops.rent.down import down, plan_down
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from llmctl.ops.rent.world import World
from llmctl.providers.vast.adapter import VastProvider
from llmctl.ssh.watchdog import Guard, start_script
from llmctl.state.store import RentalStore
from tests.unit.ops.rent.stage import FakeMachine

SPEC = UpSpec(name="main", providers=(ProviderName.VAST,), ttl_s=3600.0)
QUICK = Config(wait=WaitConfig(poll_s=0.05, list_lag_s=0.5, gone_s=20.0))


class Mortal(RentalStore):
    """Dies ``before``, ``amid`` (in its transaction) or ``after`` it writes a phase down."""

    def __init__(self, path: Path, when: str, phase: str) -> None:
        super().__init__(path, clock=SystemClock())
        self.when, self.phase = when, phase

    def _die(self, when: str, phase: Phase) -> None:
        if (when, phase.value) == (self.when, self.phase):
            os.kill(os.getpid(), signal.SIGKILL)

    def begin(self, spec, provider):
        rental = super().begin(spec, provider)
        self._die("after", rental.phase)
        return rental

    def advance(self, uuid, phase, **changes):
        self._die("before", phase)
        rental = super().advance(uuid, phase, **changes)
        self._die("after", phase)
        return rental

    def _note(self, database, rental, detail):
        super()._note(database, rental, detail)
        self._die("amid", rental.phase)


def make_world(store: RentalStore, url: str, key: str) -> World:
    def guard(rental, instance_key):
        return Guard(
            provider=rental.provider,
            instance_id=rental.instance_id or "",
            api_url=url,
            instance_key=instance_key,
            deadline=rental.deadline or 0.0,
            idle_s=rental.spec.idle_s,
            uuid=rental.uuid,
        )

    return World(
        providers={ProviderName.VAST: VastProvider(key, base_url=url, sleep=_hardly)},
        store=store,
        reach=FakeMachine().reach,
        public_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0IGtleSBvZiB0aGlzIGluc3RhbGwh t",
        config=QUICK,
        clock=SystemClock(),
        sleep=asyncio.sleep,
        report=lambda step: None,
        start_script=lambda rental, _offer, _deadline: start_script(guard(rental, None)),
        guard_for=guard,
    )


async def _hardly(_seconds: float) -> None:
    """The adapter's pauses between pages are for the real market."""
    await asyncio.sleep(0.01)


async def leave(_rental) -> None:
    """Nothing of ours runs on machines that are not rented: there are none here."""


async def bring_up(world: World):
    return await up(world, await plan_up(world, SPEC), leave)


async def take_down(world: World):
    return await down(world, plan_down(world.store, ["main"]), leave)


async def main(path: str, url: str, key: str, when: str, phase: str) -> None:
    world = make_world(Mortal(Path(path), when, phase), url, key)
    await bring_up(world)
    await take_down(world)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
