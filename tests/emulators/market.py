"""What the emulated markets share: a clock under the test's control, machines, their bills, faults.

Time passes only when somebody lets it: ``ManualClock`` is the clock of the code under test and of
the market alike, and its ``sleep`` moves it. With ``RealClock`` the same market runs in real time,
for tests of the installed command.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.emulators.billing import Billing

HOUR_S = 3600


class ManualClock:
    """Virtual time: ``sleep`` returns at once and moves it; ``advance`` moves it from outside."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    monotonic = now

    def advance(self, seconds: float) -> None:
        assert seconds >= 0
        self._now += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)
        await asyncio.sleep(0)


class RealClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(asyncio.sleep)


@dataclass
class Machine:
    """One rented machine, as the market sees and bills it. Prices are micro-dollars an hour."""

    id: str
    label: str
    created_at: float
    running_price: int
    stopped_price: int
    spec: dict = field(default_factory=dict)
    """What the create call asked for, and whatever else the emulator wants to remember."""
    running: bool = True
    wanted: str = "running"
    started_at: float = 0.0
    """When its container was last asked to run; its timeline counts from here."""
    ended_at: float | None = None
    gpu_from: float = 0.0
    """Until then a running machine costs what a stopped one does: nothing runs on its GPU yet."""
    deadline: float | None = None
    """When its own watchdog will end it; set by what runs on it, not by the market."""
    foreign: bool = False
    """Somebody else's, on the same account: must never be touched."""
    bill: int = 0
    """Micro-dollars up to ``billed_to``, times 3600."""
    billed_to: float = 0.0
    history: list[tuple[float, float, int]] = field(default_factory=list)
    """Times at one price: from, to, micro-dollars an hour. What a bill is made of."""

    def __post_init__(self) -> None:
        self.billed_to = self.created_at
        self.started_at = self.started_at or self.created_at

    def charge(self, now: float) -> None:
        """Bring the bill up to ``now``; called before anything that changes the price."""
        end = min(now, self.ended_at) if self.ended_at is not None else now
        if end > self.billed_to:
            waiting = max(0.0, min(end, self.gpu_from) - self.billed_to) if self.running else 0.0
            price = self.running_price if self.running else self.stopped_price
            self.bill += round(price * (end - self.billed_to - waiting))
            self.bill += round(self.stopped_price * waiting)
            change = self.billed_to + waiting
            self._remember(self.billed_to, change, self.stopped_price)
            self._remember(change, end, price)
            self.billed_to = end

    def _remember(self, begins: float, ends: float, price: int) -> None:
        """Add to the history; a time that goes on at the same price is one."""
        if ends <= begins:
            return
        last = self.history[-1] if self.history else None
        if last is not None and last[1:] == (begins, price):
            self.history[-1] = (last[0], ends, price)
        else:
            self.history.append((begins, ends, price))

    def metered_s(self, now: float) -> float:
        """Seconds it has existed."""
        return (min(now, self.ended_at) if self.ended_at is not None else now) - self.created_at


@dataclass
class Fault:
    """Something that goes wrong with one operation.

    ``kind`` is the emulator's business (``http_500``, ``reset_before``, ``reset_after``, ``html``,
    ``empty``, ``429`` ...); the emulator's module lists what it knows.
    """

    kind: str
    times: int = 1
    """How often; -1 for always."""
    after: int = 0
    """How many calls of the operation pass unharmed first."""


class Faults:
    """Faults by operation (``create``, ``list``, ``get``, ``destroy``, ``start`` ...)."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Fault]] = {}

    def add(self, operation: str, kind: str, *, times: int = 1, after: int = 0) -> None:
        self._waiting.setdefault(operation, deque()).append(Fault(kind, times, after))

    def take(self, operation: str) -> str | None:
        """Return the fault of this call, if it has one."""
        waiting = self._waiting.get(operation)
        if not waiting:
            return None
        fault = waiting[0]
        if fault.after > 0:
            fault.after -= 1
            return None
        if fault.times > 0:
            fault.times -= 1
            if fault.times == 0:
                waiting.popleft()
        return fault.kind

    def waiting(self, operation: str) -> bool:
        """Whether a fault is still to come."""
        return bool(self._waiting.get(operation))

    def clear(self) -> None:
        self._waiting.clear()


@dataclass
class Call:
    """One request that the market received."""

    at: float
    operation: str
    method: str
    path: str


class Market:
    """The machines of one account. Emulators put their wire format around it."""

    def __init__(self, clock: ManualClock | RealClock | None = None) -> None:
        self.clock = clock or RealClock()
        self.machines: dict[str, Machine] = {}
        self.faults = Faults()
        self.calls: list[Call] = []
        self.credit = 25_000_000
        """Micro-dollars."""
        self.list_lag_s = 0.0
        """How long a new machine is missing from lists."""
        self.on_end: Callable[[Machine], None] | None = None
        self.billing = Billing(self)

    def add(self, machine: Machine) -> Machine:
        self.machines[machine.id] = machine
        return machine

    def machine(self, machine_id: str) -> Machine | None:
        """Return a machine that exists now."""
        self.settle()
        found = self.machines.get(machine_id)
        return found if found is not None and found.ended_at is None else None

    def live(self) -> list[Machine]:
        """Everything that exists now, foreign ones too."""
        self.settle()
        return [each for each in self.machines.values() if each.ended_at is None]

    def ours(self) -> list[Machine]:
        return [each for each in self.live() if not each.foreign]

    def listed(self) -> list[Machine]:
        """What a list shows now."""
        seen = self.clock.now() - self.list_lag_s
        return [each for each in self.live() if each.foreign or each.created_at <= seen]

    def run(self, machine: Machine, running: bool) -> None:
        machine.charge(self.clock.now())
        machine.running = running
        if running:
            machine.started_at = self.clock.now()

    def end(self, machine: Machine, at: float | None = None) -> None:
        """End it, now or at a moment that has passed."""
        at = self.clock.now() if at is None else at
        machine.charge(at)
        machine.ended_at = at
        if self.on_end is not None:
            self.on_end(machine)

    def settle(self) -> None:
        """Let the watchdogs act whose deadline has passed, and bring bills up to date."""
        now = self.clock.now()
        for each in self.machines.values():
            if each.ended_at is None and each.deadline is not None and each.deadline <= now:
                self.end(each, each.deadline)
            each.charge(now)

    def bill(self) -> int:
        """Micro-dollars of everything that is ours, until now."""
        self.settle()
        return sum(each.bill for each in self.machines.values() if not each.foreign) // HOUR_S

    def record(self, operation: str, method: str, path: str) -> str | None:
        """Note a request and return its fault."""
        self.calls.append(Call(self.clock.now(), operation, method, path))
        return self.faults.take(operation)

    def writes(self) -> list[Call]:
        """Requests that would change something."""
        return [call for call in self.calls if call.method not in ("GET", "HEAD")]
