"""The events of an Anthropic answer, before they are bytes.

The composer produces them, ``sse`` renders them, ``broadcast`` shares them between listeners.
``message_start`` is not among them: it carries ids and an estimate of its own for each client.
"""

from msgspec import Struct

from llmctl.protocol.anthropic import StopReason, TokenUsage


class TextStarted(Struct, frozen=True):
    index: int


class ThinkingStarted(Struct, frozen=True):
    index: int


class ToolUseStarted(Struct, frozen=True):
    """The id is minted per client when this is rendered."""

    index: int
    name: str


class TextAdded(Struct, frozen=True, gc=False):
    index: int
    text: str


class ThinkingAdded(Struct, frozen=True, gc=False):
    index: int
    thinking: str


class InputAdded(Struct, frozen=True, gc=False):
    """A piece of a tool call's JSON input."""

    index: int
    partial_json: str


class BlockStopped(Struct, frozen=True):
    index: int


class Ping(Struct, frozen=True):
    pass


class Finished(Struct, frozen=True, kw_only=True):
    """``message_delta`` and ``message_stop`` in one."""

    stop_reason: StopReason
    stop_sequence: str | None
    usage: TokenUsage


class Failed(Struct, frozen=True):
    """An SSE ``error`` event: the stream ends without ``message_stop``."""

    type: str
    message: str


Event = (
    TextStarted
    | ThinkingStarted
    | ToolUseStarted
    | TextAdded
    | ThinkingAdded
    | InputAdded
    | BlockStopped
    | Ping
    | Finished
    | Failed
)
