"""One real answer through a running proxy, timed: what ``health --deep`` asks for."""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.errors import BackendError
from llmctl.ops.running import RunningProxy

PATIENCE_S = 180.0
"""Loading a model of 18 GB from a slow disk takes two minutes."""
_TOKENS = 48
_NO_STORE = {"cache-control": "no-store"}


class Trial(Struct, frozen=True, kw_only=True):
    """What came back."""

    model: str
    """As the engine names it."""
    first_token_ms: float
    completion_tokens: int
    tokens_per_s: float | None
    """From the first token to the last; None for an answer of one."""


def ask_once(proxy: RunningProxy, *, now: Callable[[], float] = time.monotonic) -> Trial:
    """Ask something that nobody has asked before, past the cache; blocks.

    Raises ``BackendError`` with the proxy's own words, or for an answer without text.
    """
    body = {
        "model": "claude-sonnet-5",
        "max_tokens": _TOKENS,
        "stream": True,
        "messages": [{"role": "user", "content": _question()}],
    }
    reading = _Reading(began=now())
    with proxy.stream("/v1/messages", body, headers=_NO_STORE, within_s=PATIENCE_S) as lines:
        for event in _events(lines):
            reading.take(event, now())
    return reading.result()


class _Reading:
    """Watches the events of an answer go by."""

    def __init__(self, *, began: float) -> None:
        self._began = began
        self._first: float | None = None
        self._last = began
        self._tokens = 0
        self._model = ""

    def take(self, event: dict[str, Any], at: float) -> None:
        match event:
            case {"type": "message_start", "message": {"model": str(model)}}:
                self._model = model
            case {"type": "content_block_delta", "delta": {"text": str(text)}} if text:
                self._saw_text(at)
            case {"type": "content_block_delta", "delta": {"thinking": str(text)}} if text:
                self._saw_text(at)
            case {"type": "message_delta", "usage": {"output_tokens": int(tokens)}}:
                self._tokens = tokens
            case {"type": "error", "error": {"message": str(message)}}:
                raise BackendError(f"the answer broke off: {message}", hint="llmctl doctor")

    def result(self) -> Trial:
        if self._first is None:
            raise BackendError("the answer holds no text", hint="llmctl doctor")
        spent = self._last - self._first
        timed = self._tokens > 1 and spent > 0
        return Trial(
            model=self._model,
            first_token_ms=round((self._first - self._began) * 1000, 2),
            completion_tokens=self._tokens,
            tokens_per_s=round((self._tokens - 1) / spent, 2) if timed else None,
        )

    def _saw_text(self, at: float) -> None:
        self._first = at if self._first is None else self._first
        self._last = at


def _question() -> str:
    """No prefix of it is in any cache, the engine's neither."""
    return f"{secrets.token_hex(8)}: count from one to twenty in words."


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data:"):
            yield msgspec.json.decode(line.removeprefix("data:"))
