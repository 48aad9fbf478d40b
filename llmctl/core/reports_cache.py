"""What the ``cache`` commands report."""

from msgspec import Struct

from llmctl.core.money import MicroUsd


class CacheEntry(Struct, frozen=True, kw_only=True):
    """One cached answer, as ``cache list`` shows it. Times are seconds since the epoch."""

    id: str
    tenant: str
    model: str
    """Engine model that made it."""
    asked: str
    """Model name as the client wrote it."""
    tier: str
    created: float
    expires: float
    bytes: int
    """As it lies in the store."""
    prompt_tokens: int
    completion_tokens: int
    total_ms: float
    """How long the engine took for it."""
    excerpt: str
    """The last thing the user said, cut."""
    accessed: float | None = None
    """When it was read last, to a minute; None where the store does not tell."""
    similarity: float | None = None
    """To the text that was looked for; None where none was."""


class CacheListing(Struct, frozen=True, kw_only=True):
    """Some entries, the newest or the most similar first."""

    entries: list[CacheEntry]
    total: int
    """How many fit, shown or not."""
    by: str = "created"
    """What their order is by: ``created``, ``meaning`` or ``words``."""


class ShownEntry(Struct, frozen=True, kw_only=True):
    """An entry with its answer."""

    entry: CacheEntry
    stop_reason: str | None
    content: list[object]
    """Blocks as the Messages API writes them, without ids."""
    questions: list[str] = []
    """What the semantic tier would compare with, whole; empty without it."""


class CacheFilter(Struct, frozen=True, kw_only=True):
    """Which entries are meant; all of them unless something is given."""

    tenant: str | None = None
    model: str | None = None
    """Engine model, or the name it was asked for by."""
    before: float | None = None
    """Only what was made until then, seconds since the epoch."""

    @property
    def everything(self) -> bool:
        """Whether nothing is given."""
        return self.tenant is None and self.model is None and self.before is None


class Cleared(Struct, frozen=True, kw_only=True):
    """What was removed, or would be."""

    entries: int
    location: str
    dry_run: bool = False
    key_dropped: bool = False


class TierUse(Struct, frozen=True, kw_only=True):
    """What one tier has answered."""

    hits: int
    ratio: float | None
    """Of the requests that looked into the cache; None where none did."""


class Ages(Struct, frozen=True, kw_only=True):
    """How old entries are, in seconds."""

    newest_s: float
    median_s: float
    oldest_s: float


class CacheUsage(Struct, frozen=True, kw_only=True):
    """What the cache has done, by the usage record."""

    requests: int
    looked: int
    """Requests that looked into the cache."""
    hit_ratio: float | None
    tiers: dict[str, TierUse]
    """``exact``, ``semantic`` and ``shared`` (with a request in flight)."""
    tokens_saved: int
    prompt_tokens_saved: int
    completion_tokens_saved: int
    saved_usd: MicroUsd
    """What those tokens cost at the cloud API that was asked for, or that you compare with."""
    since: float | None = None


class CacheStats(Struct, frozen=True, kw_only=True):
    """The state of the cache, and what it is good for."""

    store: str
    location: str
    healthy: bool
    detail: str
    advice: str
    entries: int | None
    bytes: int | None
    max_bytes: int | None
    """None where the server decides."""
    unreadable: int | None
    """Values that were changed, moved, or sealed with another key."""
    ages: Ages | None
    evicted: int | None
    by_model: dict[str, int]
    """Entries."""
    rejected: int | None = None
    """Values the running proxy read and did not use; None where none answers."""
    usage: CacheUsage | None = None
    """None where there is no usage record."""


class WarmFailure(Struct, frozen=True, kw_only=True):
    """A prompt that was not answered."""

    line: int
    message: str


class WarmProgress(Struct, frozen=True, kw_only=True):
    """How far ``cache warm`` has come."""

    done: int
    total: int
    hits: int
    misses: int
    errors: int


class WarmReport(Struct, frozen=True, kw_only=True):
    """What became of the prompts."""

    prompts: int
    hits: int
    """Answered by the cache already: by what was asked before, or by an earlier run."""
    misses: int
    """Answered by the engine, and kept."""
    uncached: int
    """Answered, but not kept: the answer was cut, or the cache is off."""
    errors: int
    failures: list[WarmFailure]
    """The first of them."""
    seconds: float
    prompt_tokens: int
    completion_tokens: int
    """Of the misses."""


class CacheCheck(Struct, frozen=True, kw_only=True):
    """One thing that was tried."""

    name: str
    ok: bool | None
    """None where it could not be tried, and that is nothing wrong."""
    result: str
    p50_ms: float | None = None
    p95_ms: float | None = None


class CacheTest(Struct, frozen=True, kw_only=True):
    """What ``cache test`` found."""

    store: str
    location: str
    checks: list[CacheCheck]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return all(check.ok is not False for check in self.checks)
