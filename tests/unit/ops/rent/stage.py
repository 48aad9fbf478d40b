"""Stand-ins for what renting works with: a market, a machine, and time that passes when told."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from llmctl.config.schema import Config
from llmctl.core.errors import LlmctlError, NoCapacity
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import (
    Account,
    Created,
    Instance,
    InstanceState,
    Offer,
    OfferWish,
    Order,
    ProviderName,
    Rental,
    SshAddress,
    Step,
    UpSpec,
)
from llmctl.ops.rent.world import World
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.engine import EngineSettings, RemoteModel, Warmed
from llmctl.ssh.host import GpuFact, HostFacts
from llmctl.ssh.pull import PulledModel
from llmctl.ssh.watchdog import Armed, Guard
from llmctl.state.store import RentalStore
from tests.emulators.market import ManualClock

GB = 1_000_000_000
ADDRESS = SshAddress(host="203.0.113.7", port=40022)
FACTS = HostFacts(
    gpus=(GpuFact(name="NVIDIA GeForce RTX 4090", memory_mib=24564),),
    ram_mib=64_000,
    disk_free_bytes=100 * GB,
    is_root=True,
    systemd=False,
)
NO_GPU = replace(FACTS, gpus=())


def an_offer(**changes) -> Offer:
    usual = {
        "provider": ProviderName.VAST,
        "id": "1001",
        "machine": "m1",
        "gpu": "rtx4090",
        "gpu_name": "RTX 4090",
        "gpu_memory_mib": 24564,
        "region": "Oslo, NO",
        "usd_per_hour": micro_usd("0.36"),
        "stopped_usd_per_hour": micro_usd("0.012"),
        "reliability": 0.995,
        "download_mbps": 1000.0,
        "seconds_left": 30 * 86400.0,
    }
    return Offer(**(usual | changes))


def a_spec(**changes) -> UpSpec:
    usual = {
        "name": "main",
        "providers": (ProviderName.VAST,),
        "max_usd_per_hour": micro_usd("1.00"),
    }
    return UpSpec(**(usual | changes))


@dataclass
class FakeMarket:
    """One account. Machines run at once, unless ``state`` says otherwise."""

    name: ProviderName = ProviderName.VAST
    key_hint: str = "test, ends in 1234"
    catalogue: list[Offer] = field(default_factory=lambda: [an_offer()])
    filters: Callable[[Offer, OfferWish], bool] = lambda _offer, _wish: True
    credit: MicroUsd | None = MicroUsd(25_000_000)
    burn: MicroUsd | None = None
    state: InstanceState = InstanceState.RUNNING
    addresses: tuple[SshAddress, ...] = (ADDRESS,)
    machines: dict[str, Instance] = field(default_factory=dict)
    fails: dict[str, LlmctlError] = field(default_factory=dict)
    """By call; for ever."""
    silent: bool = False
    """Whether it never lists anything, and never says that it will not."""
    calls: list[str] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)
    wishes: list[OfferWish] = field(default_factory=list)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fails:
            raise self.fails[name]

    async def account(self) -> Account:
        self._called("account")
        return Account(credit=self.credit, usd_per_hour=self.burn)

    async def offers(self, wish: OfferWish) -> list[Offer]:
        self._called("offers")
        self.wishes.append(wish)
        return [
            each for each in self.catalogue if each.gpu in wish.gpus and self.filters(each, wish)
        ]

    async def create(self, order: Order) -> Created:
        self._called("create")
        self.orders.append(order)
        instance_id = str(7000 + len(self.orders))
        self.machines[instance_id] = Instance(
            provider=self.name,
            id=instance_id,
            label=order.label,
            state=self.state,
            addresses=self.addresses,
            generation=f"{instance_id}@1",
            usd_per_hour=order.offer.usd_per_hour,
            stopped_usd_per_hour=order.offer.stopped_usd_per_hour,
        )
        return Created(id=instance_id, instance_key="key-of-this-instance")

    async def get(self, instance_id: str) -> Instance | None:
        self._called("get")
        return self.machines.get(instance_id)

    async def instances(self) -> list[Instance]:
        self._called("instances")
        if self.silent:
            await asyncio.Event().wait()
        return list(self.machines.values())

    async def destroy(self, instance_id: str) -> None:
        self._called("destroy")
        self.machines.pop(instance_id, None)

    async def stop(self, instance_id: str) -> None:
        self._called("stop")
        self.change(instance_id, state=InstanceState.STOPPED, addresses=())

    async def start(self, instance_id: str) -> None:
        self._called("start")
        again = replace(ADDRESS, port=50022)
        self.change(
            instance_id,
            state=InstanceState.RUNNING,
            addresses=(again,),
            generation=f"{instance_id}@2",
        )

    def change(self, instance_id: str, **changes) -> None:
        self.machines[instance_id] = replace(self.machines[instance_id], **changes)

    async def logs(self, instance_id: str, *, lines: int) -> list[str]:
        self._called("logs")
        return [f"line {number}" for number in range(lines)]

    def console_url(self, instance_id: str) -> str:
        return f"https://example.com/{instance_id}"

    async def close(self) -> None:
        pass


def taken() -> NoCapacity:
    return NoCapacity("its GPU is taken")


@dataclass
class FakeMachine:
    """What is behind SSH: lives on when a login ends."""

    facts: HostFacts = FACTS
    armed: Armed | None = None
    lies: bool = False
    """Its watchdog confirms another deadline."""
    installed: int = 0
    models: list[str] = field(default_factory=list)
    settings: list[EngineSettings] = field(default_factory=list)
    pulls: int = 0
    gpu_used: bool = True
    spills_above: int | None = None
    """Contexts longer than this do not fit into GPU memory."""
    calls: list[str] = field(default_factory=list)
    fails: dict[str, list[BaseException]] = field(default_factory=dict)
    """By method: raised one after the other, then all is well."""
    logins: list[SshTarget] = field(default_factory=list)

    async def reach(self, target: SshTarget) -> "FakeHost":
        self.logins.append(target)
        self.called("reach")
        return FakeHost(self)

    def called(self, name: str) -> None:
        self.calls.append(name)
        if self.fails.get(name):
            raise self.fails[name].pop(0)


class FakeHost:
    """One login to a machine."""

    def __init__(self, machine: FakeMachine) -> None:
        self.machine = machine
        self.where = "root@203.0.113.7:40022"

    async def arm(self, guard: Guard) -> Armed:
        self.machine.called("arm")
        deadline = guard.deadline + (3600 if self.machine.lies else 0)
        self.machine.armed = Armed(deadline=deadline, idle_s=guard.idle_s, pid=42)
        return self.machine.armed

    async def armed(self) -> Armed | None:
        self.machine.called("armed")
        return self.machine.armed

    async def renew(self) -> None:
        self.machine.called("renew")

    async def facts(self) -> HostFacts:
        self.machine.called("facts")
        return self.machine.facts

    async def install(self, wanted, report) -> str:
        self.machine.called("install")
        self.machine.installed += 1
        return wanted.version

    async def serve(self, settings: EngineSettings) -> None:
        self.machine.called("serve")
        self.machine.settings.append(settings)

    async def pull(self, model: str, report, *, insecure: bool = False) -> PulledModel:
        if model not in self.machine.models:
            self.machine.called("pull")
            report(Step(name="pull", state="progress", text="…", done_bytes=1, total_bytes=2))
            self.machine.pulls += 1
            self.machine.models.append(model)
        return PulledModel(name=model, bytes=GB, digest="sha256:00")

    async def warm(self, model: str, num_ctx: int | None) -> Warmed:
        self.machine.called("warm")
        above = self.machine.spills_above
        share = 20 if above is None or (num_ctx or 0) <= above else 15
        return Warmed(
            size_bytes=20 * GB,
            vram_bytes=share * GB if self.machine.gpu_used else 0,
            tokens_per_s=104.0,
            text="ready",
        )

    async def models(self) -> list[RemoteModel]:
        self.machine.called("models")
        return [RemoteModel(name=each, bytes=GB, digest="") for each in self.machine.models]

    async def remove(self, model: str) -> None:
        self.machine.called("remove")
        self.machine.models.remove(model)

    async def stop_engine(self) -> None:
        self.machine.called("stop_engine")

    async def disarm(self) -> None:
        self.machine.called("disarm")

    async def logs(self, lines: int) -> list[str]:
        self.machine.called("logs")
        return ["from the engine"][:lines]

    async def close(self) -> None:
        self.machine.calls.append("close")


class Stage:
    """A world of stand-ins."""

    def __init__(self, home: Path, *markets: FakeMarket, config: Config | None = None) -> None:
        self.clock = ManualClock()
        self.store = RentalStore(home / "rentals.db", clock=self.clock)
        self.market = markets[0] if markets else FakeMarket()
        self.markets = markets or (self.market,)
        self.machine = FakeMachine()
        self.steps: list[Step] = []
        self.released: list[str] = []
        self.on_sleep: Callable[[], None] = lambda: None
        self.world = World(
            providers={each.name: each for each in self.markets},
            store=self.store,
            reach=self.machine.reach,
            public_key="ssh-ed25519 AAAA llmctl-test",
            config=config or Config(),
            clock=self.clock,
            sleep=self._sleep,
            report=self.steps.append,
            start_script=lambda _rental, _offer, _deadline: "true",
            guard_for=self._guard,
        )

    async def _sleep(self, seconds: float) -> None:
        self.on_sleep()
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def _guard(self, rental: Rental, key: str | None) -> Guard:
        return Guard(
            provider=rental.provider,
            instance_id=rental.instance_id or "",
            api_url="https://api.example.com",
            instance_key=key,
            deadline=rental.deadline or 0.0,
            idle_s=rental.spec.idle_s,
            uuid=rental.uuid,
        )

    async def release(self, rental: Rental) -> None:
        self.released.append(rental.name)

    @property
    def warnings(self) -> list[str]:
        return [step.text for step in self.steps if step.state == "warning"]
