"""Values that the use cases make and the command line shows."""

from msgspec import Struct

from llmctl.core.tunnel import TunnelStatus


class BackendState(Struct, frozen=True, kw_only=True):
    """One engine as it was when the proxy started to listen."""

    name: str
    healthy: bool
    detail: str = ""
    """Why it is not healthy, in one sentence; empty otherwise."""


class ServeBanner(Struct, frozen=True, kw_only=True):
    """What ``llmctl serve`` says once it accepts connections."""

    version: str
    command: str = "llmctl"
    """What starts llmctl in another terminal: its path where it is not on ``PATH``."""
    url: str
    """Where clients on this machine reach it, e.g. ``http://127.0.0.1:8000``."""
    backends: list[BackendState]
    model: str | None
    """Engine model that answers for ``claude-*``; None while no engine offers one."""
    context_tokens: int | None
    cache: str
    """Kind of the store: ``sqlite``, ``redis``, ``memory``, or ``off``."""
    cache_location: str = ""
    """File or address, without credentials."""
    semantic: str = "off"
    """What becomes of questions asked in other words: ``off``, ``shadow`` or ``on``."""
    auth: bool = True
    token: str | None = None
    """The token in plain, only if it was made at this start."""
    token_command: str = ""
    """Shell words that give the token later, e.g. ``$(cat /home/me/.local/share/llmctl/token)``."""
    environment: dict[str, str] = {}
    """Variables for Claude Code, made without a token; what is shown takes it from ``token``."""


_SERVING = frozenset({"ok", "degraded"})


class LoadedModel(Struct, frozen=True, kw_only=True):
    """A model in an engine's memory."""

    name: str
    context_tokens: int | None = None
    gpu_share: float | None = None
    """0 to 1: below 1 a part of it runs on the processor; None where the engine does not say."""


class EngineFacts(Struct, frozen=True, kw_only=True):
    """What an engine says of itself beside its models."""

    version: str = ""
    latency_ms: float | None = None
    """Of its last short answer."""
    loaded: tuple[LoadedModel, ...] = ()


class PartHealth(Struct, frozen=True, kw_only=True):
    """An engine, the cache or the ledger, as ``/health`` describes it."""

    name: str = ""
    kind: str = ""
    healthy: bool = False
    detail: str = ""
    """Why it is not healthy; empty otherwise."""
    location: str = ""
    latency_ms: float | None = None
    advice: str = ""
    """What should be minded though it works."""
    version: str = ""
    models: list[str] = []
    loaded: list[LoadedModel] = []
    in_flight: int | None = None
    queued: int | None = None
    cooldown_s: float = 0.0
    breaker: str = ""
    """``closed``, ``open`` or ``half-open``, of stores on other machines."""
    entries: int | None = None
    bytes: int | None = None
    waiting: int = 0
    dropped: int = 0


class SemanticHealth(Struct, frozen=True, kw_only=True):
    """The semantic tier, as ``/health`` describes it."""

    mode: str = ""
    """``shadow`` or ``on``."""
    healthy: bool = False
    detail: str = ""
    embedder: str = ""
    """What makes its vectors; empty while nothing does."""
    entries: int | None = None
    journal: PartHealth = PartHealth()
    """Where its questions are kept."""


class InstanceHealth(Struct, frozen=True, kw_only=True):
    """A rented machine as the record knows it; nobody was asked."""

    name: str
    provider: str
    instance_id: str | None = None
    phase: str
    deadline: float | None = None
    """Unix time at which its watchdog ends it."""


class Health(Struct, frozen=True, kw_only=True):
    """The answer of ``/health``, as far as people are shown it."""

    status: str
    """``ok``, ``degraded``, ``down`` or ``draining``."""
    version: str = ""
    uptime_s: float = 0.0
    auth: bool | None = None
    backends: list[PartHealth] = []
    cache: PartHealth | None = None
    semantic: SemanticHealth | None = None
    ledger: PartHealth | None = None
    tunnels: list[TunnelStatus] = []
    instances: list[InstanceHealth] = []
    generations: int = 0
    streams: int = 0

    @property
    def serving(self) -> bool:
        """Whether requests are answered, if perhaps without cache or by fewer engines."""
        return self.status in _SERVING
