"""A market without a wire: a ``Provider`` straight over ``Market``, for tests in virtual time.

What an adapter promises (``llmctl/providers/base.py``) this one keeps, pages and polite repeats of
reads included; the adapters themselves are held to it by ``tests/contract``.

Faults (``market.faults.add("create", "http_500_after")``):

any read, destroy  429 (repeated twice by itself), http_500
create             http_500_after, hang_after (both: made, answer lost), http_500, hang_before (not
                   made, answer lost), 429, offer_gone, no_funds, unauthorized, bad_request
list               empty, null, html, old_schema
page               429, http_500: of the second page and those after it
destroy            lies (says yes, keeps it), gone (says it is gone already, keeps it)
start              gpu_taken
"""

from llmctl.core.errors import (
    AuthError,
    InsufficientCredit,
    NoCapacity,
    OutcomeUnknown,
    ProviderError,
    SshError,
)
from llmctl.core.money import MicroUsd
from llmctl.core.rental import (
    Account,
    Created,
    Instance,
    InstanceState,
    Offer,
    OfferWish,
    Order,
    ProviderName,
    SshAddress,
)
from llmctl.ssh.engine import EngineSettings, RemoteModel, Warmed
from llmctl.ssh.host import GpuFact, HostFacts
from llmctl.ssh.pull import PulledModel
from llmctl.ssh.watchdog import Armed, Guard
from tests.emulators.market import Machine, ManualClock, Market

PAGE = 25
TIMEOUT_S = 30.0
TRIES = 3
RETRY_S = 2.0
PENDING_S = 4.0
BOOT_S = 12.0
GIB = 2**30

_REFUSALS = {
    "429": ProviderError("too many requests", retryable=True),
    "offer_gone": NoCapacity("the offer is gone"),
    "no_funds": InsufficientCredit("the account lacks credit"),
    "unauthorized": AuthError("the key is refused"),
    "bad_request": ProviderError("the order is not understood"),
}
_LOST = {"http_500_after", "hang_after", "http_500", "hang_before"}
_MADE = {"http_500_after", "hang_after"}


def _fresh(error):
    """An exception that is raised anew carries no traceback of last time."""
    return type(error)(*error.args, **({"retryable": True} if vars(error).get("retryable") else {}))


class InProcessProvider:
    """One account. ``fate`` of machines created from now on: never, stuck, dead, no_address."""

    def __init__(
        self, market: Market, *, name: ProviderName = ProviderName.VAST, machines: int = 6
    ) -> None:
        self.name = name
        self.key_hint = "…test"
        self.market = market
        self.clock: ManualClock = market.clock
        self.fate: str | None = None
        self.surcharge = 0
        """Micro-dollars an hour that a machine costs more than its offer said."""
        self.outbid: set[str] = set()
        self.written: list[tuple[str, str]] = []
        """Every change that was asked for: operation and id."""
        self._machines = machines
        self._made = 0

    # -- reads -----------------------------------------------------------------------------------

    async def account(self) -> Account:
        await self._polite("account")
        return Account(credit=MicroUsd(self.market.credit))

    async def offers(self, wish: OfferWish) -> list[Offer]:
        await self._polite("offers")
        taken = {each.spec.get("machine") for each in self.market.ours()}
        return [
            Offer(
                provider=self.name,
                id=f"offer-{number}",
                machine=f"m{number}",
                gpu=wish.gpus[0],
                gpu_name="RTX 4090",
                gpu_memory_mib=24564,
                usd_per_hour=MicroUsd(300_000 + 10_000 * number),
                stopped_usd_per_hour=MicroUsd(10_000),
                reliability=0.999,
                download_mbps=900.0,
            )
            for number in range(1, self._machines + 1)
            if f"m{number}" not in taken
        ]

    async def get(self, instance_id: str) -> Instance | None:
        await self._polite("get")
        machine = self.market.machine(instance_id)
        return None if machine is None else self._seen(machine)

    async def instances(self) -> list[Instance]:
        fault = await self._polite("list")
        if fault in ("empty", "null", "html", "old_schema"):
            raise ProviderError(f"the list of instances cannot be read: {fault}", retryable=True)
        everything = self.market.listed()
        for _ in range(PAGE, len(everything), PAGE):
            await self._polite("page")
        return [self._seen(machine) for machine in everything]

    async def logs(self, instance_id: str, *, lines: int) -> list[str]:
        await self._polite("logs")
        return [f"instance {instance_id}"][:lines]

    def console_url(self, instance_id: str) -> str:
        return f"https://market.test/instances/{instance_id}"

    async def close(self) -> None:
        pass

    # -- changes ---------------------------------------------------------------------------------

    async def create(self, order: Order) -> Created:
        fault = self.market.record("create", "PUT", order.offer.id)
        self.written.append(("create", order.offer.id))
        await self.clock.sleep(1.0)
        taken = {each.spec.get("machine") for each in self.market.ours()}
        if fault in _REFUSALS:
            raise _fresh(_REFUSALS[fault])
        if order.offer.machine in taken:
            raise NoCapacity("the offer is gone")
        machine = None if fault in ("http_500", "hang_before") else self._make(order)
        if fault in _LOST:
            if fault.startswith("hang"):
                await self.clock.sleep(TIMEOUT_S)
            raise OutcomeUnknown(f"the answer to create was lost ({fault})", retryable=True)
        assert machine is not None
        return Created(id=machine.id, instance_key=f"key-of-{machine.id}")

    async def destroy(self, instance_id: str) -> None:
        self.written.append(("destroy", instance_id))
        fault = await self._polite("destroy")
        machine = self.market.machine(instance_id)
        if machine is not None and fault not in ("lies", "gone"):
            self.market.end(machine)

    async def stop(self, instance_id: str) -> None:
        self.written.append(("stop", instance_id))
        await self._polite("stop")
        if machine := self.market.machine(instance_id):
            machine.wanted = "stopped"
            self.market.run(machine, False)
            machine.deadline = None

    async def start(self, instance_id: str) -> None:
        self.written.append(("start", instance_id))
        if await self._polite("start") == "gpu_taken":
            raise NoCapacity("its GPU is taken")
        if machine := self.market.machine(instance_id):
            machine.wanted = "running"
            self.market.run(machine, True)
            machine.deadline = self.clock.now() + 3600.0  # as its start script does when it is late
            self.outbid.discard(instance_id)

    # -- the machines ----------------------------------------------------------------------------

    def foreign(self, count: int) -> list[Machine]:
        """Machines of somebody else on the account; some with a label that looks like ours."""
        labels = ("", "training", "llmctl", "llmctl/0badcafe/" + "7" * 32)
        return [
            self.market.add(
                Machine(
                    id=f"foreign-{number}",
                    label=labels[number % len(labels)],
                    created_at=self.clock.now(),
                    running_price=1_000_000,
                    stopped_price=10_000,
                    foreign=True,
                )
            )
            for number in range(count)
        ]

    def _make(self, order: Order) -> Machine:
        self._made += 1
        return self.market.add(
            Machine(
                id=f"{self.name.value}-{self._made}",
                label=order.label,
                created_at=self.clock.now(),
                running_price=order.offer.usd_per_hour + self.surcharge,
                stopped_price=order.offer.stopped_usd_per_hour,
                spec={"machine": order.offer.machine, "fate": self.fate, "models": {}},
                deadline=float(order.environment["LLMCTL_DEADLINE"]),
            )
        )

    def _seen(self, machine: Machine) -> Instance:
        state, detail = self._state(machine)
        fate = machine.spec.get("fate")
        up = state is InstanceState.RUNNING and fate != "no_address"
        return Instance(
            provider=self.name,
            id=machine.id,
            label=machine.label,
            state=state,
            detail=detail,
            fatal=fate == "dead" and state is not InstanceState.PENDING,
            machine=machine.spec.get("machine", ""),
            usd_per_hour=MicroUsd(machine.running_price),
            stopped_usd_per_hour=MicroUsd(machine.stopped_price),
            addresses=(SshAddress(host=machine.id, port=22),) if up else (),
            generation=f"{machine.started_at:.0f}",
            created_at=machine.created_at,
            spot=machine.id in self.outbid,
        )

    def _state(self, machine: Machine) -> tuple[InstanceState, str]:
        if machine.id in self.outbid or not machine.running:
            return InstanceState.STOPPED, ""
        age, fate = self.clock.now() - machine.started_at, machine.spec.get("fate")
        if age < PENDING_S or fate == "never":
            return InstanceState.PENDING, ""
        if age < BOOT_S or fate in ("stuck", "dead"):
            return InstanceState.LOADING, "OCI runtime error" if fate == "dead" else "pulling"
        return InstanceState.RUNNING, ""

    async def _polite(self, operation: str) -> str | None:
        """One call that may be repeated, as the adapters repeat it; returns its other fault."""
        for attempt in range(TRIES):
            fault = self.market.record(operation, "GET", operation)
            await self.clock.sleep(0.1)
            if fault not in ("429", "http_500"):
                return fault
            if attempt < TRIES - 1:
                await self.clock.sleep(RETRY_S)
        raise ProviderError(f"{operation} answered {fault}", retryable=True)


class RentedHost:
    """What runs on a machine of the market: as ``ssh.host.Host``, without SSH."""

    where = "root@rented:22"

    def __init__(self, provider: InProcessProvider, instance_id: str) -> None:
        self.provider = provider
        self.instance_id = instance_id

    @property
    def machine(self) -> Machine:
        machine = self.provider.market.machine(self.instance_id)
        if machine is None or not machine.running or self.instance_id in self.provider.outbid:
            raise SshError(f"{self.instance_id} does not answer")
        return machine

    async def _takes(self, seconds: float) -> Machine:
        await self.provider.clock.sleep(seconds)
        return self.machine

    async def arm(self, guard: Guard) -> Armed:
        machine = await self._takes(1.0)
        machine.deadline = guard.deadline
        machine.spec["idle_s"] = guard.idle_s
        return await self.armed()

    async def armed(self) -> Armed | None:
        machine = await self._takes(0.1)
        assert machine.deadline is not None
        return Armed(deadline=machine.deadline, idle_s=machine.spec.get("idle_s", 0.0), pid=7)

    async def renew(self) -> None:
        await self._takes(0.1)

    async def facts(self) -> HostFacts:
        await self._takes(0.2)
        gpu = GpuFact(name="NVIDIA GeForce RTX 4090", memory_mib=24564)
        return HostFacts(
            gpus=(gpu,), ram_mib=65536, disk_free_bytes=400 * GIB, is_root=True, systemd=False
        )

    async def install(self, wanted, report) -> str:
        await self._takes(20.0)
        return wanted.version

    async def serve(self, settings: EngineSettings) -> None:
        await self._takes(2.0)

    async def pull(self, model: str, report, *, insecure: bool = False) -> PulledModel:
        machine = await self._takes(60.0)
        machine.spec["models"][model] = 18 * GIB
        return PulledModel(name=model, bytes=18 * GIB, digest="sha256:1")

    async def warm(self, model: str, num_ctx: int | None) -> Warmed:
        await self._takes(15.0)
        return Warmed(size_bytes=20 * GIB, vram_bytes=20 * GIB, tokens_per_s=100.0, text="ok")

    async def models(self) -> list[RemoteModel]:
        machine = await self._takes(0.2)
        return [
            RemoteModel(name=name, bytes=size, digest="sha256:1")
            for name, size in machine.spec["models"].items()
        ]

    async def close(self) -> None:
        pass
