"""What engines say, in one shape: the common language of the Ollama and OpenAI decoders."""

from typing import Any

from msgspec import Struct

from llmctl.protocol.anthropic import MessagesRequest


class EngineModel(Struct, frozen=True, kw_only=True):
    """A model as one engine offers it."""

    name: str
    digest: str
    """Changes when the weights change; part of the cache key."""
    context_length: int | None = None
    """Trained or configured context in tokens; None where the engine does not say."""
    capabilities: frozenset[str] = frozenset()
    """Of ``completion``, ``tools``, ``vision``, ``thinking``, ``embedding``."""
    family: str = ""
    """Architecture, e.g. ``qwen3moe``."""
    renderer: str = ""
    """Ollama's prompt renderer, e.g. ``qwen3-coder``; empty for template models."""
    note: str = ""
    """How it is loaded now, for operators; empty where the engine does not say."""


class EngineToolCall(Struct, frozen=True, kw_only=True):
    """A complete tool call."""

    name: str
    arguments: dict[str, Any]


UNSAID = "unsaid"
"""The reason of an end without one."""


class EngineDone(Struct, frozen=True, kw_only=True):
    """The engine's own end of an answer."""

    reason: str
    """``stop``, ``length``, ``tool_calls``, ``content_filter`` or ``UNSAID``; others are a stop."""
    prompt_tokens: int | None = None
    """The whole prompt, engine-cached prefix included."""
    cached_prompt_tokens: int | None = None
    completion_tokens: int | None = None
    hidden_tokens: int = 0
    """Part of ``completion_tokens`` that was never streamed: reasoning some engines keep."""
    prompt_ms: float | None = None


def counted(value: Any) -> int | None:
    """Return what an engine says it counted, None where that is no number of tokens.

    An answer is not thrown away because of its counts: some servers write 12.0, or nonsense.
    """
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 <= value < 2**53 else None


def measured(value: Any) -> float | None:
    """Return what an engine says it took, None where that is no duration."""
    return float(value) if type(value) in (int, float) and 0 <= value < 2**53 else None


class EngineChunk(Struct, kw_only=True, gc=False):
    """One step of an engine's stream: thinking first, then text, then calls, then the end."""

    text: str = ""
    thinking: str = ""
    tool_calls: tuple[EngineToolCall, ...] = ()
    done: EngineDone | None = None


class ChatPlan(Struct, frozen=True, kw_only=True):
    """Everything an engine needs for one answer, decided before it is asked."""

    request: MessagesRequest
    """In normal form (``request.normalise``)."""
    model: EngineModel
    num_ctx: int | None
    """Context window in tokens to ask for (Ollama), None to leave the engine's own."""
    max_tokens: int
    """Already clamped to what the context leaves."""
    keep_alive: str = "30m"
