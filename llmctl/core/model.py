"""Values that the use cases make and the command line shows."""

from msgspec import Struct


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
    auth: bool = True
    token: str | None = None
    """The token in plain, only if it was made at this start."""
    token_command: str = ""
    """Shell words that give the token later, e.g. ``$(cat /home/me/.local/share/llmctl/token)``."""
    environment: dict[str, str] = {}
    """Variables for Claude Code, made without a token; what is shown takes it from ``token``."""


_SERVING = frozenset({"ok", "degraded"})


class PartHealth(Struct, frozen=True, kw_only=True):
    """An engine, the cache or the ledger, as ``/health`` describes it."""

    name: str = ""
    kind: str = ""
    healthy: bool = False
    detail: str = ""
    """Why it is not healthy; empty otherwise."""
    location: str = ""


class Health(Struct, frozen=True, kw_only=True):
    """The answer of ``/health``, as far as people are shown it."""

    status: str
    """``ok``, ``degraded``, ``down`` or ``draining``."""
    version: str = ""
    uptime_s: float = 0.0
    backends: list[PartHealth] = []
    cache: PartHealth | None = None
    ledger: PartHealth | None = None

    @property
    def serving(self) -> bool:
        """Whether requests are answered, if perhaps without cache or by fewer engines."""
        return self.status in _SERVING
