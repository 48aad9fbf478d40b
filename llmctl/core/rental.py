"""Renting: what is offered, ordered and rented, as every room sees it.

An *offer* can be rented, an *order* asks for one, an *instance* is what the provider then has, a
*rental* is our own record of it, from the intent to the proof that it is gone.
"""

from enum import StrEnum

from msgspec import Struct

from llmctl.core.money import MicroUsd

LABEL_PREFIX = "llmctl/"


class ProviderName(StrEnum):
    """Where machines come from."""

    VAST = "vast"
    RUNPOD = "runpod"
    HOST = "host"
    """A machine the operator has, over SSH."""
    LOCAL = "local"
    """This machine."""

    @property
    def paid(self) -> bool:
        """Whether an instance costs money while it exists."""
        return self in (ProviderName.VAST, ProviderName.RUNPOD)


class SshAddress(Struct, frozen=True, kw_only=True):
    """One way to a machine's sshd."""

    host: str
    port: int = 22
    user: str = "root"
    relay: bool = False
    """Through a relay of the provider: slower, tried after direct ones."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@{host}:{self.port}"


class InstanceState(StrEnum):
    """What a provider says of an instance, in words that fit all of them."""

    PENDING = "pending"
    """Accepted; no machine has started it yet."""
    LOADING = "loading"
    """Its image is being pulled."""
    RUNNING = "running"
    """The container is up; sshd may lag behind."""
    STOPPED = "stopped"
    """Not running, by our wish, for lack of credit, or outbid; its disk may still be billed."""
    QUEUED = "queued"
    """A start that waits for a free GPU: it may begin, and bill, at any time."""
    FAILED = "failed"
    """It will not come up by itself."""
    LOST = "lost"
    """Its host does not answer the provider."""


class Offer(Struct, frozen=True, kw_only=True):
    """Something that can be rented now."""

    provider: ProviderName
    id: str
    """What ``create`` needs to rent exactly this."""
    machine: str = ""
    """What to avoid after a failure: the physical machine, or the data centre."""
    gpu: str
    """Key in ``core.gpus``."""
    gpu_name: str
    gpu_count: int = 1
    gpu_memory_mib: int
    region: str = ""
    """``Oslo, NO``; or the provider's data centre."""
    spot: bool = False
    usd_per_hour: MicroUsd
    """GPU and the disk that was asked for, while it runs."""
    stopped_usd_per_hour: MicroUsd = MicroUsd(0)
    """What is billed while it is stopped."""
    usd_per_gb_down: MicroUsd = MicroUsd(0)
    """Traffic into the machine."""
    usd_per_gb_up: MicroUsd = MicroUsd(0)
    reliability: float | None = None
    """0 to 1; None where the provider gives none."""
    download_mbps: float | None = None
    """Megabits a second; None where unknown."""
    seconds_left: float | None = None
    """How long the owner still rents it out; None for no limit."""
    disk_gb: float | None = None
    """Largest disk it can have; None for no limit worth knowing."""
    cuda: float | None = None
    """Highest CUDA version its driver runs."""
    stock: str = ""
    """``high``, ``medium``, ``low`` where the provider says so."""
    secure: bool = True
    """In a data centre, not in a private home."""


class OfferWish(Struct, frozen=True, kw_only=True):
    """Which offers are wanted. What a provider cannot filter by, it filters from the answer."""

    gpus: tuple[str, ...]
    """Keys in ``core.gpus``."""
    gpu_count: int = 1
    disk_gb: int
    max_usd_per_hour: MicroUsd | None = None
    region: str | None = None
    """Country code (``NO``) or data centre (``EU-RO-1``); case does not matter."""
    min_reliability: float = 0.0
    min_download_mbps: float = 0.0
    min_seconds_left: float = 0.0
    min_cuda: float = 0.0
    spot: bool = False
    secure: bool = False
    """Only machines in data centres."""
    volume: str | None = None
    """RunPod network volume: only its data centre will do."""


class Order(Struct, frozen=True, kw_only=True):
    """What ``create`` is asked for, complete."""

    offer: Offer
    label: str
    """``llmctl/<install-id>/<uuid>``: set by the create call itself."""
    image: str
    disk_gb: int
    public_key: str
    """One line in OpenSSH's form: the only key that may log in."""
    start_script: str
    """POSIX shell that arms the deadline first of all; run as the container starts."""
    environment: dict[str, str] = {}
    deadline: float
    """Unix time at which the instance must be gone; for providers with a timer of their own."""
    volume: str | None = None
    bid_usd_per_hour: MicroUsd | None = None
    """For spot instances."""


class Created(Struct, frozen=True, kw_only=True):
    """The answer to an order."""

    id: str
    instance_key: str | None = None
    """A key that can end this instance and nothing else; kept in memory only, never written."""


class Instance(Struct, frozen=True, kw_only=True):
    """An instance as its provider describes it now."""

    provider: ProviderName
    id: str
    label: str
    state: InstanceState
    detail: str = ""
    """The provider's own words on the state."""
    fatal: bool = False
    """Whether ``detail`` says that waiting is pointless (image cannot be pulled or run)."""
    gpu_name: str = ""
    region: str = ""
    machine: str = ""
    usd_per_hour: MicroUsd | None = None
    """While it runs; None where the provider does not say."""
    stopped_usd_per_hour: MicroUsd | None = None
    addresses: tuple[SshAddress, ...] = ()
    """Direct ones first; empty while none is known. May change with every start."""
    generation: str = ""
    """Changes whenever its host key may change (start, recycle); part of the pin's name."""
    created_at: float | None = None
    spot: bool = False


class Account(Struct, frozen=True, kw_only=True):
    """What a key may spend."""

    credit: MicroUsd | None = None
    """Money left; None where it cannot be had."""
    usd_per_hour: MicroUsd | None = None
    """What the whole account burns now, if known."""


class Phase(StrEnum):
    """How far a rental is; written before the deed for what spends, after it for the rest."""

    INTENT = "intent"
    CREATING = "creating"
    """The request is about to be sent: there may be an instance."""
    CREATED = "created"
    """It has an id."""
    REACHABLE = "reachable"
    """SSH answers, its host key is pinned."""
    GUARDED = "guarded"
    """The watchdog is armed, and said so."""
    INSTALLED = "installed"
    PULLED = "pulled"
    READY = "ready"
    """A real completion came back."""
    STOPPED = "stopped"
    STARTING = "starting"
    DESTROYING = "destroying"
    GONE = "gone"
    """Proved absent; nothing is billed."""

    @property
    def live(self) -> bool:
        """Whether an instance may exist."""
        return self not in (Phase.INTENT, Phase.GONE)


class UpSpec(Struct, frozen=True, kw_only=True):
    """What the operator asked ``up`` for, after profile, configuration and flags were merged."""

    name: str
    providers: tuple[ProviderName, ...]
    """Markets to look at; one of ``host`` and ``local`` stands alone."""
    gpu: str = "rtx4090"
    gpu_count: int = 1
    model: str | None = None
    """None: ``qwen3-coder``, or the fallback where memory is short."""
    fallback: str = "qwen2.5-coder:7b"
    num_ctx: int | None = None
    kv_cache_type: str | None = None
    parallel: int | None = None
    disk_gb: int | None = None
    max_usd_per_hour: MicroUsd | None = None
    region: str | None = None
    min_reliability: float = 0.98
    spot: bool = False
    volume: str | None = None
    ttl_s: float = 8 * 3600.0
    idle_s: float = 3600.0
    host: SshAddress | None = None
    """The machine of ``--host``."""
    timed: bool = False
    """``--ttl`` or ``--idle`` was given: an instance that exists already takes them."""
    keep: bool = False
    """Leave the instance as it is when something fails."""


class Rental(Struct, frozen=True, kw_only=True):
    """Our record of one rented machine (or of one of the operator's own, which costs nothing)."""

    uuid: str
    name: str
    """What the operator calls it; one live rental per name."""
    provider: ProviderName
    label: str
    phase: Phase
    created_at: float
    """Unix time of the intent."""
    spec: UpSpec
    offer: Offer | None = None
    instance_id: str | None = None
    addresses: tuple[SshAddress, ...] = ()
    """Where it was last reached."""
    generation: str = ""
    deadline: float | None = None
    """Unix time at which its watchdog ends it; None before it was armed."""
    usd_per_hour: MicroUsd | None = None
    stopped_usd_per_hour: MicroUsd | None = None
    model: str | None = None
    """As the engine names it, once pulled."""
    num_ctx: int | None = None
    engine_port: int = 11434
    detail: str = ""
    """Why it is in this phase, where that needs words."""
    ended_at: float | None = None


class Fit(Struct, frozen=True, kw_only=True):
    """What a card holds: model, context and the engine's settings, each with its reason."""

    model: str
    model_bytes: int
    num_ctx: int
    kv_cache_type: str
    parallel: int
    disk_gb: int
    reasons: tuple[str, ...] = ()
    """One sentence for each choice, for the plan."""


class UpPlan(Struct, frozen=True, kw_only=True):
    """What ``up`` is about to do, and what it will cost; nothing has been spent."""

    spec: UpSpec
    offer: Offer | None
    """None for machines that are not rented."""
    alternatives: tuple[Offer, ...] = ()
    """Tried next, in this order, if the first cannot be had or fails."""
    fit: Fit | None
    """None for machines whose memory is known only after logging in."""
    image: str = ""
    why: str = ""
    """Why this offer and not the next."""
    ready_s: float | None = None
    """Expected seconds until a model answers."""
    ready_cost: MicroUsd = MicroUsd(0)
    """Expected cost of getting ready, traffic included."""
    account: Account | None = None
    warnings: tuple[str, ...] = ()
    deadline: float | None = None
    """When what exists is to end from now on, Unix time; None leaves it as it is."""
    ends_in_s: float | None = None
    """Until what exists ends, with that."""
    resumes: Rental | None = None
    """A half-done rental of this name that is taken up again, or a READY one that is kept."""


class StepState(StrEnum):
    """What a step says of itself."""

    BEGIN = "begin"
    PROGRESS = "progress"
    DONE = "done"
    WARNING = "warning"


class Step(Struct, frozen=True, kw_only=True):
    """One line of progress; ``ops`` yields them, ``render`` shows them."""

    name: str
    """Stable and short: ``create``, ``schedule``, ``ssh``, ``watchdog``, ``install``, ``pull`` …"""
    state: StepState
    text: str
    """What a person reads, without units that ``render`` adds."""
    done_bytes: int | None = None
    total_bytes: int | None = None
    bytes_per_s: float | None = None
    elapsed_s: float = 0.0
    spent: MicroUsd = MicroUsd(0)
    """Cost so far of what this command rented."""
