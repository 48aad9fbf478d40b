"""What a running proxy does now, as ``stats --watch`` shows it."""

from msgspec import Struct

from llmctl.core.model import Health


class Stream(Struct, frozen=True, kw_only=True):
    """A request that is being answered."""

    request_id: str
    tenant: str
    model: str
    backend: str
    """Empty while no engine has begun to answer."""
    stage: str
    """``reading``, ``waiting`` for the engine's first word, or ``answering``."""
    age_s: float
    tokens: int
    tokens_per_s: float | None
    """Since the first token; None before it."""


class Recent(Struct, frozen=True, kw_only=True):
    """A quarter of an hour; lists have one figure per step, oldest first."""

    step_s: float
    tokens_per_s: list[float]
    cached: list[int]
    """Requests by what answered them."""
    engine: list[int]
    failed: list[int]
    first_token_p50_ms: list[float | None]
    hit_ratio: float | None
    """None where nobody looked into the cache."""
    p50_ms: float | None
    p95_ms: float | None


class Trouble(Struct, frozen=True, kw_only=True):
    """A request that failed."""

    at: float
    """Seconds since the epoch, UTC."""
    model: str
    status: int
    type: str
    message: str


class ProxyState(Struct, frozen=True, kw_only=True):
    """The part of ``GET /ui/state`` that a terminal shows."""

    at: float
    """Seconds since the epoch, UTC."""
    everything: bool
    """False where the token is not the operator's: then only its own requests are listed."""
    health: Health
    open: list[Stream]
    open_total: int
    tokens_per_s: float
    queued: int
    requests: int
    """Since the proxy started."""
    hit_ratio: float | None
    recent: Recent
    failures: list[Trouble]


class GpuUse(Struct, frozen=True, kw_only=True):
    """One card of one machine, as its driver says."""

    machine: str
    """Name of the instance, or ``here``."""
    name: str
    used_mib: int
    memory_mib: int
    busy: float | None
    """Share of the time in which it worked; None where the driver does not say."""


class LiveReport(Struct, frozen=True, kw_only=True):
    """One look."""

    at: float
    url: str
    proxy: ProxyState | None
    """None while no proxy answers."""
    problem: str = ""
    """Why there is none."""
    gpus: list[GpuUse] = []
