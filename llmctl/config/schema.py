"""The configuration as structs: what ``config.toml`` may hold, with the defaults.

Unknown keys fail, so that a typo is told and not ignored. Secrets are never in here.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Seconds = Annotated[float, Meta(gt=0, le=366 * 86400)]
"""A duration; in files and variables also text such as ``"24h"`` or ``"1h30m"``."""
Bytes = Annotated[int, Meta(ge=0)]
"""A size; in files and variables also text such as ``"1GiB"``."""
Port = Annotated[int, Meta(ge=0, le=65535)]
AtLeastOne = Annotated[int, Meta(ge=1)]
Price = Annotated[
    str, Meta(pattern=r"^[0-9]{1,5}(\.[0-9]{1,6})?$", description="dollars, such as 0.50")
]
"""Dollars as decimal text: a float would not be the price that was written."""


class ServeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[serve]``: where the proxy listens and what it asks of clients."""

    listen: str = "127.0.0.1"
    port: Port = 8000
    """0 takes any free port."""
    auth: bool = True
    allowed_hosts: list[str] = []
    """Further ``Host`` names to answer to, beside loopback and the listening address."""
    allowed_origins: list[str] = []
    """Browser origins that may call; none by default."""
    max_body_bytes: Bytes = 32 * 1024 * 1024
    header_s: Seconds = 8.0
    """How long a client may take to send complete headers."""
    body_s: Seconds = 30.0
    """How long it may pause while it sends a body; at 256 bytes/s it may go on for longer."""
    max_peer_connections: AtLeastOne | None = None
    """Connections of one address; without it 512, and as many as there may be for this machine."""
    drain_s: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    """How long open answers may go on after the first SIGTERM, Ctrl-C or closed terminal."""


class BackendConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[[backend]]``: one engine, in order of preference."""

    url: str
    """``ollama:URL``, ``openai:URL`` or ``embedded``."""
    parallel: AtLeastOne = 256
    """Requests sent to it at once; the rest wait in our queue."""
    queue: Annotated[int, Meta(ge=0)] = 256
    """Requests that may wait; beyond it 529."""


class ModelConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[model]``: what answers for ``claude-*`` and aliases, and with which context."""

    name: str | None = None
    """Default model; without it ``qwen3-coder``, or ``qwen2.5-coder:7b`` where only that exists."""
    num_ctx: AtLeastOne | None = None
    """Context window in tokens; without it 65536 or the model's own, whichever is smaller."""
    keep_alive: str = "30m"
    aliases: dict[str, str] = field(default_factory=dict)
    """Names clients may use → engine models."""
    stable_prefix: bool = True
    """Drop and reorder what would cost the engine its prefix cache; off only to measure."""


class EmbeddedConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[embedded]``: the llama.cpp engine llmctl runs itself."""

    gguf: str | None = None
    """Path of a GGUF model; without it the small instruct model llmctl brings in."""
    threads: AtLeastOne | None = None
    """Threads of llama.cpp; without it its own choice."""
    parallel: AtLeastOne = 2
    """Answers generated at once."""


class TimeoutConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[timeouts]``: how long engines may take, in seconds."""

    connect_s: Seconds = 5.0
    first_token_s: Seconds = 1200.0
    """Loading, queueing and reading the prompt all happen before the first token."""
    idle_s: Seconds = 900.0
    """Silence between two pieces of an answer; a long tool call is silent while it is written."""
    queue_s: Seconds = 300.0


class SemanticConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[cache.semantic]``: answers to questions that were asked before in other words."""

    mode: Literal["off", "shadow", "on"] = "off"
    """``shadow`` asks the engine all the same, compares, and counts what it would have served."""
    error_rate: Annotated[float, Meta(gt=0, le=0.5)] = 0.01
    """Share of wrong answers among those it serves that you accept."""
    tenants: list[str] = []
    """Names of tokens it works for; empty for all."""
    models: list[str] = []
    """Engine models it works for; empty for all."""
    embedder: Literal["auto", "engine", "local"] = "auto"
    """``auto``: the engine's where it has an embedding model, else that of ``llmctl[semantic]``."""
    embedding_model: str | None = None
    """The engine's embedding model; without it one that it says can embed."""
    max_chars: AtLeastOne = 2000
    """Longer questions are not looked at."""
    max_entries: Annotated[int, Meta(ge=1, le=1_000_000)] = 20_000
    ttl_s: Seconds = 24 * 3600.0
    verify: bool = False
    """Ask the model itself, with one token, whether two questions mean the same."""
    vectors: Literal["memory", "redis"] = "memory"
    """``redis``: in its vector sets, where it has them; they lie there unencrypted."""


class CacheConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[cache]``: the exact response cache."""

    enabled: bool = True
    store: Literal["auto", "sqlite", "redis", "memory"] = "auto"
    """``auto``: Redis when one is configured, else SQLite."""
    ttl_s: Seconds = 24 * 3600.0
    max_bytes: Bytes = 1024 * 1024 * 1024
    """Size of the SQLite file at which the least recently used entries go."""
    memory_bytes: Bytes = 32 * 1024 * 1024
    """What the copy of hot entries in front of the store may take."""
    tool_answers: bool = True
    """Whether answers that call tools are cached; the client runs the tools again on a hit."""
    semantic: SemanticConfig = SemanticConfig()


class RedisConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[redis]``: set ``url`` or ``host`` to use it; the password comes from the environment."""

    url: str | None = None
    host: str | None = None
    port: Port = 6379
    db: Annotated[int, Meta(ge=0)] = 0
    budget_s: Seconds = 0.02
    """Longest a request waits for Redis before it goes on without."""
    insecure: bool = False
    """Allow a password over plain TCP to another machine."""


class LedgerConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[ledger]``: the record of requests."""

    enabled: bool = True


class RentConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[rent]``: what ``up`` rents unless a profile or a flag says otherwise."""

    provider: list[Literal["vast", "runpod", "host", "local"]] = []
    """Markets to look at; empty for those whose key is there."""
    gpu: str = "rtx4090"
    gpu_count: AtLeastOne = 1
    max_price: Price | None = None
    """Dollars an hour for GPU and disk; without it what the card usually costs at most."""
    region: str | None = None
    min_reliability: Annotated[float, Meta(ge=0, le=1)] = 0.98
    min_download_mbps: Annotated[float, Meta(ge=0)] = 500.0
    spot: bool = False
    ttl_s: Seconds = 8 * 3600.0
    """The instance ends itself after this time, whatever happens here."""
    idle_s: Seconds = 3600.0
    """It also ends itself after this time without a request."""
    disk_gb: AtLeastOne | None = None
    """Without it, what the model needs and some room."""
    volume: str | None = None
    """RunPod network volume for the models; it is kept, and billed, until you delete it."""
    image: str | None = None
    """Container image with sshd; without it one that is known to work at the provider."""
    host: str | None = None
    """``user@address:port`` of a machine you have, for the provider ``host``."""


class ProfileConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[profile.NAME]``: a set of answers for ``up --profile NAME``; None leaves the default."""

    description: str = ""
    provider: list[Literal["vast", "runpod", "host", "local"]] | None = None
    gpu: str | None = None
    gpu_count: AtLeastOne | None = None
    model: str | None = None
    num_ctx: AtLeastOne | None = None
    kv_cache_type: Literal["f16", "q8_0", "q4_0"] | None = None
    parallel: AtLeastOne | None = None
    max_price: Price | None = None
    region: str | None = None
    min_reliability: Annotated[float, Meta(ge=0, le=1)] | None = None
    spot: bool | None = None
    ttl_s: Seconds | None = None
    idle_s: Seconds | None = None
    disk_gb: AtLeastOne | None = None
    volume: str | None = None
    host: str | None = None


class OllamaConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[ollama]``: how the engine is installed on a rented machine."""

    version: str = "0.33.0"
    """Not below 0.17.1, which closed CVE-2026-7482."""
    archive_url: str | None = None
    """Another source of the archive (``.tar.zst`` or ``.tgz``), for mirrors."""
    archive_sha256: (
        Annotated[str, Meta(pattern="^[0-9a-fA-F]{64}$", description="64 hexadecimal digits")]
        | None
    ) = None
    """Its SHA-256; without one the pinned table must know the version."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 11434
    """On the machine's 127.0.0.1."""
    kv_cache_type: Literal["f16", "q8_0", "q4_0"] | None = None
    parallel: AtLeastOne | None = None
    insecure_registry: bool = False
    """Pull models over plain HTTP: only for a registry on the machine itself."""


class WaitConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[wait]``: how long each phase of ``up`` may take, in seconds."""

    poll_s: Seconds = 6.0
    """Between two looks at an instance; RunPod allows 60 requests a minute."""
    schedule_s: Seconds = 180.0
    image_s: Seconds = 1200.0
    image_still_s: Seconds = 600.0
    """Without any change in what the provider says of the image."""
    ssh_s: Seconds = 300.0
    install_s: Seconds = 900.0
    pull_still_s: Seconds = 300.0
    """Without a byte of the model."""
    load_s: Seconds = 900.0
    """Until the model is in GPU memory and has answered once."""
    gone_s: Seconds = 120.0
    """Until a destroyed instance is proved absent."""
    list_lag_s: Seconds = 60.0
    """How long a new instance may be missing from the provider's list."""


class BudgetConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[budget]``: what renting may cost; told at 80 %, acted on at 100 %."""

    usd_per_day: Price | None = None
    usd_per_month: Price | None = None
    at_limit: Literal["refuse", "stop"] = "refuse"
    """``refuse``: no new ``up``; ``stop``: instances are ended too."""
    timezone: str = "UTC"
    """Where a day begins and ends, such as ``Europe/Berlin``; ``local`` for this machine's."""


class CostConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[cost]``: what llmctl is compared with."""

    prices: str | None = None
    """TOML file of cloud prices, used before the table that comes with llmctl."""
    compare: str | None = None
    """Cloud model whose price counts; without it the one each request asked for."""


class Config(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything, frozen, after flags, environment and file were merged."""

    serve: ServeConfig = ServeConfig()
    backend: list[BackendConfig] = []
    model: ModelConfig = ModelConfig()
    embedded: EmbeddedConfig = EmbeddedConfig()
    timeouts: TimeoutConfig = TimeoutConfig()
    cache: CacheConfig = CacheConfig()
    redis: RedisConfig = RedisConfig()
    ledger: LedgerConfig = LedgerConfig()
    rent: RentConfig = RentConfig()
    ollama: OllamaConfig = OllamaConfig()
    wait: WaitConfig = WaitConfig()
    budget: BudgetConfig = BudgetConfig()
    cost: CostConfig = CostConfig()
    profile: dict[str, ProfileConfig] = {}
