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
    """How long it may pause while it sends a body."""
    drain_s: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    """How long open answers may go on after the first SIGTERM or Ctrl-C."""


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
