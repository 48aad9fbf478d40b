"""What one answered request amounts to: shared by proxy (writes it) and ledger (keeps it)."""

from enum import StrEnum

import msgspec


class CacheOutcome(StrEnum):
    """How a request met the response cache; also the value of the ``x-llmctl-cache`` header."""

    HIT = "hit"
    SEMANTIC = "semantic"
    """Answered with the answer to a question that was found to mean the same."""
    MISS = "miss"
    SHARED = "shared"
    BYPASS = "bypass"


ANSWERED = (CacheOutcome.HIT, CacheOutcome.SEMANTIC)
"""Outcomes that cost the engine nothing."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the ledger: one request that passed authentication."""

    at: float
    """Arrival, seconds since the epoch, UTC."""
    request_id: str
    tenant: str
    model_asked: str
    model_used: str = ""
    """Engine model that made the answer; empty where none did."""
    backend: str = ""
    stream: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Prompt tokens the engine took from its own prefix cache, where it reports them."""
    cache: CacheOutcome = CacheOutcome.BYPASS
    first_token_ms: float | None = None
    """Arrival to the first content delta; None where no content was sent."""
    total_ms: float = 0.0
    status: int = 200
    """HTTP status, or 499 where the client left, or the status an in-stream error stands for."""
    error: str = ""
    """Anthropic error type; empty on success."""
