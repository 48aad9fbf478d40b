"""One run of llmctl that can be struck down at a chosen point.

Everything it has an effect with (record, market, machines, terminal, time) goes through thin
wrappers, which is where points are noticed. A process that was killed has no effect any more:
every later call raises ``Killed``, also from ``finally`` blocks; the record's file stays as it was.
"""

import asyncio
import contextlib
import signal
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from llmctl.cli import interrupt
from llmctl.config.schema import Config
from llmctl.core.errors import LeftoverInstance
from llmctl.core.rental import Phase
from llmctl.ops.rent.world import World
from llmctl.ssh.watchdog import Guard
from llmctl.state.store import RentalStore, StateError
from tests.emulators.provider import InProcessProvider, RentedHost

TURNS = 6
"""Passes of the loop in which a signal arrives and a cancellation is delivered."""


class Point(StrEnum):
    """Where it strikes; of reliability's crash-point matrix."""

    P0 = "before intent"
    P1 = "after intent"
    P2 = "create sent, no answer"
    P3 = "answer received, not journalled"
    P4 = "id journalled"
    P5 = "SSH reachable, key not pinned"
    P6 = "pinned, watchdog not armed"
    P7 = "during install"
    P8 = "during pull"
    P9 = "ready, before print"
    P10 = "down before DELETE"
    P11 = "DELETE sent"
    P12 = "DELETE acknowledged, not journalled"

    @property
    def of_down(self) -> bool:
        return self in (Point.P10, Point.P11, Point.P12)


class Blow(StrEnum):
    """What strikes."""

    KILL = "kill -9"
    TERM = "SIGTERM"
    INT = "SIGINT"
    INT_TWICE = "SIGINT x2"
    HUP = "SIGHUP"
    NEVER = "laptop never returns"
    FULL = "disk full"

    @property
    def deadly(self) -> bool:
        return self in (Blow.KILL, Blow.NEVER)


_SIGNALS = {
    Blow.TERM: signal.SIGTERM,
    Blow.INT: signal.SIGINT,
    Blow.INT_TWICE: signal.SIGINT,
    Blow.HUP: signal.SIGHUP,
}


class Killed(BaseException):
    """The process is dead."""


class Laptop:
    """A process of llmctl, with its own view of record and market."""

    def __init__(
        self,
        path: Path,
        provider: InProcessProvider,
        *,
        at: Point | None = None,
        blow: Blow | None = None,
        on_blow: Callable[[], None] = lambda: None,
        config: Config | None = None,
    ) -> None:
        self.clock = provider.clock
        self.at = at
        self.blow = blow
        self.struck = False
        self.dead = False
        self.full = False
        self.second_due = False
        self.acknowledged = False
        self.said: list[str] = []
        self._on_blow = on_blow
        self.store = RentalStore(path, clock=self.clock)
        self.market = provider
        record = _Record(self, self.store)
        self.record = record
        self.world = World(
            providers={provider.name: _Market(self, provider)},
            store=record,
            reach=self._reach,
            public_key="ssh-ed25519 AAAA llmctl-test",
            config=config or Config(),
            clock=self.clock,
            sleep=self._sleep,
            report=self._report,
            start_script=lambda rental, offer, deadline: "true",
            guard_for=self._guard,
        )

    def run(self, work):
        """Run one command as the command line does; returns its result or raises."""
        try:
            return interrupt.run(work, leftover=self._left_at_once)
        finally:
            self.store.close()

    # -- striking --------------------------------------------------------------------------------

    def reached(self, *points: Point) -> None:
        if self.at in points and not self.struck:
            self.struck = True
            self._on_blow()
            self._strike()

    def _strike(self) -> None:
        if self.blow is None:
            return
        if self.blow.deadly:
            self.dead = True
            raise Killed
        if self.blow is Blow.FULL:
            self.full = True
            return
        signal.raise_signal(_SIGNALS[self.blow])
        self.second_due = self.blow is Blow.INT_TWICE

    def effect(self) -> None:
        if self.dead:
            raise Killed

    async def turn(self) -> None:
        """Let signals arrive, as they do while a process waits for an answer."""
        self.effect()
        if self.struck and self.blow in _SIGNALS:
            for _ in range(TURNS):
                await asyncio.sleep(0)
        self.effect()

    async def waits(self) -> None:
        """Where the operator's second Ctrl-C comes: at the first wait after the first."""
        if self.second_due:
            self.second_due = False
            signal.raise_signal(signal.SIGINT)
            with contextlib.suppress(asyncio.CancelledError):
                await self.turn()
        self.effect()

    def _left_at_once(self) -> LeftoverInstance:
        self.dead = True
        raise Killed

    # -- parts that need no class of their own ---------------------------------------------------

    async def _sleep(self, seconds: float) -> None:
        await self.waits()
        await self.turn()
        await self.clock.sleep(seconds)
        self.effect()

    def _report(self, step) -> None:
        self.effect()
        self.said.append(f"{step.name}: {step.text}")

    async def _reach(self, target):
        """Log in as ``ssh.connect`` does: the host key is pinned at first contact."""
        await self.waits()
        instance_id = target.addresses[0].host
        RentedHost(self.market, instance_id).machine  # noqa: B018  raises where it is down
        key = f"ssh-ed25519 {instance_id}/{target.generation}"
        if self.record.pinned(target.instance, target.generation) is None:
            self.record.pin(target.instance, target.generation, key)
        await self.turn()
        return _Machine(self, RentedHost(self.market, instance_id))

    def _guard(self, rental, instance_key) -> Guard:
        return Guard(
            provider=rental.provider,
            instance_id=rental.instance_id or "",
            api_url="https://market.test",
            instance_key=instance_key,
            deadline=rental.deadline or 0.0,
            idle_s=rental.spec.idle_s,
            uuid=rental.uuid,
        )


class _Record:
    """The record: what is written is lost after death, and refused by a full disk."""

    def __init__(self, laptop: Laptop, store: RentalStore) -> None:
        self._laptop = laptop
        self._store = store

    def __getattr__(self, name):
        self._laptop.effect()
        return getattr(self._store, name)

    def _write(self) -> None:
        laptop = self._laptop
        laptop.effect()
        if laptop.acknowledged:
            laptop.reached(Point.P12)
        if laptop.full:
            raise StateError("no space is left")

    def begin(self, spec, provider):
        self._laptop.reached(Point.P0)
        self._write()
        rental = self._store.begin(spec, provider)
        self._laptop.reached(Point.P1)
        return rental

    def advance(self, uuid, phase, **changes):
        laptop = self._laptop
        laptop.effect()
        if phase is Phase.CREATED:
            laptop.reached(Point.P3)
        if phase is Phase.DESTROYING and laptop.blow is Blow.FULL:
            laptop.reached(Point.P10)
        self._write()
        rental = self._store.advance(uuid, phase, **changes)
        if phase is Phase.CREATED:
            laptop.reached(Point.P4)
        if phase is Phase.READY:
            laptop.reached(Point.P9)
        return rental

    def pin(self, *words):
        self._laptop.reached(Point.P5)
        self._write()
        self._store.pin(*words)
        self._laptop.reached(Point.P6)

    def unpin(self, *words):
        self._write()
        self._store.unpin(*words)

    def avoid(self, *words):
        self._write()
        self._store.avoid(*words)

    @contextlib.contextmanager
    def owned(self, name, *, strict=True):
        """The name stays claimed by a dead process; the next one takes it over."""
        laptop = self._laptop
        laptop.effect()
        with contextlib.ExitStack() as stack:
            claim = self._store.owned(name, strict=strict)
            claim.__enter__()
            stack.push(lambda *exc: None if laptop.dead else claim.__exit__(*exc))
            yield


class _Market:
    """The market: requests of the dead are not sent, answers to the dead are not read."""

    def __init__(self, laptop: Laptop, provider: InProcessProvider) -> None:
        self._laptop = laptop
        self._provider = provider

    def __getattr__(self, name):
        return getattr(self._provider, name)

    async def _call(self, name, *words):
        laptop = self._laptop
        await laptop.waits()
        if laptop.acknowledged:
            laptop.reached(Point.P12)
        await laptop.turn()
        try:
            return await getattr(self._provider, name)(*words)
        finally:
            await laptop.turn()

    async def account(self):
        return await self._call("account")

    async def offers(self, wish):
        return await self._call("offers", wish)

    async def get(self, instance_id):
        return await self._call("get", instance_id)

    async def instances(self):
        return await self._call("instances")

    async def stop(self, instance_id):
        return await self._call("stop", instance_id)

    async def start(self, instance_id):
        return await self._call("start", instance_id)

    async def create(self, order):
        laptop = self._laptop
        await laptop.waits()
        try:
            return await self._provider.create(order)
        finally:
            laptop.reached(Point.P2)
            await laptop.turn()

    async def destroy(self, instance_id):
        laptop = self._laptop
        await laptop.waits()
        laptop.reached(Point.P10)
        await laptop.turn()
        await self._provider.destroy(instance_id)
        laptop.reached(Point.P11)
        await laptop.turn()
        laptop.acknowledged = True


class _Machine:
    """A login: what was begun on the machine ends there, whoever is dead here."""

    def __init__(self, laptop: Laptop, host: RentedHost) -> None:
        self._laptop = laptop
        self._host = host

    def __getattr__(self, name):
        laptop, method = self._laptop, getattr(self._host, name)

        async def call(*words, **more):
            await laptop.waits()
            await laptop.turn()
            result = await method(*words, **more)
            if name in ("install", "pull"):
                laptop.reached(Point.P7 if name == "install" else Point.P8)
            await laptop.turn()
            return result

        return call
