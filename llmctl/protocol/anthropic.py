"""The Anthropic Messages API as structs: what clients send and what they expect back.

Unknown fields are tolerated and dropped (``cache_control``, ``metadata``, betas); an unknown block
``type`` or a wrong shape fails decoding with its path. Source: Anthropic's API reference and
what the real client sends.
"""

from typing import Any, Literal

import msgspec
from msgspec import Struct


class TextBlock(Struct, tag="text", tag_field="type", frozen=True, kw_only=True):
    text: str


class Base64Source(Struct, tag="base64", tag_field="type", frozen=True, kw_only=True):
    media_type: str
    data: str


class UrlSource(Struct, tag="url", tag_field="type", frozen=True, kw_only=True):
    url: str


class PlainTextSource(Struct, tag="text", tag_field="type", frozen=True, kw_only=True):
    data: str
    media_type: str = "text/plain"


class FileSource(Struct, tag="file", tag_field="type", frozen=True, kw_only=True):
    file_id: str


class ContentSource(Struct, tag="content", tag_field="type", frozen=True, kw_only=True):
    content: "str | list[TextBlock | ImageBlock]"


class ImageBlock(Struct, tag="image", tag_field="type", frozen=True, kw_only=True):
    source: Base64Source | UrlSource | FileSource


class DocumentBlock(Struct, tag="document", tag_field="type", frozen=True, kw_only=True):
    source: Base64Source | UrlSource | FileSource | PlainTextSource | ContentSource
    title: str | None = None
    context: str | None = None


class SearchResultBlock(Struct, tag="search_result", tag_field="type", frozen=True, kw_only=True):
    source: str
    title: str
    content: list[TextBlock] = []


class ThinkingBlock(Struct, tag="thinking", tag_field="type", frozen=True, kw_only=True):
    thinking: str
    signature: str = ""


class RedactedThinkingBlock(
    Struct, tag="redacted_thinking", tag_field="type", frozen=True, kw_only=True
):
    data: str = ""


class ToolUseBlock(Struct, tag="tool_use", tag_field="type", frozen=True, kw_only=True):
    id: str
    name: str
    input: dict[str, Any] = {}


class ToolReferenceBlock(Struct, tag="tool_reference", tag_field="type", frozen=True, kw_only=True):
    tool_name: str


ResultBlock = TextBlock | ImageBlock | DocumentBlock | SearchResultBlock | ToolReferenceBlock


class ToolResultBlock(Struct, tag="tool_result", tag_field="type", frozen=True, kw_only=True):
    tool_use_id: str
    content: str | list[ResultBlock] | None = None
    is_error: bool | None = None


class ServerToolUseBlock(
    Struct, tag="server_tool_use", tag_field="type", frozen=True, kw_only=True
):
    id: str = ""
    name: str = ""
    input: dict[str, Any] = {}


class WebSearchToolResultBlock(
    Struct, tag="web_search_tool_result", tag_field="type", frozen=True, kw_only=True
):
    tool_use_id: str = ""
    content: Any = None


ContentBlock = (
    TextBlock
    | ImageBlock
    | DocumentBlock
    | SearchResultBlock
    | ThinkingBlock
    | RedactedThinkingBlock
    | ToolUseBlock
    | ToolResultBlock
    | ToolReferenceBlock
    | ServerToolUseBlock
    | WebSearchToolResultBlock
)


class Turn(Struct, frozen=True, kw_only=True):
    """One entry of ``messages``; the real client also sends role ``system`` in the middle."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class Tool(Struct, frozen=True, kw_only=True):
    """A tool definition. Server tools (``web_search_20250305``) have a ``type`` and no schema."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class ToolChoice(Struct, frozen=True, kw_only=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool = False


class ThinkingConfig(Struct, frozen=True, kw_only=True):
    type: Literal["enabled", "disabled", "adaptive"]
    budget_tokens: int | None = None


class OutputFormat(Struct, frozen=True, kw_only=True):
    type: str
    schema: dict[str, Any] | None = None


class OutputConfig(Struct, frozen=True, kw_only=True):
    effort: str | None = None
    format: OutputFormat | None = None


class MessagesRequest(Struct, frozen=True, kw_only=True):
    """``POST /v1/messages``. ``max_tokens`` is optional here only for ``count_tokens``."""

    model: str
    messages: list[Turn]
    max_tokens: int | None = None
    system: str | list[TextBlock] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] | None = None
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig | None = None
    thread: Any = None
    """Beta: ``create`` asks to keep the conversation, ``continue`` to go on with one that is."""


StopReason = Literal[
    "end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded"
]


class TokenUsage(Struct, frozen=True, kw_only=True):
    """Tokens of one answer. The whole prompt is ``input_tokens + cache_read_input_tokens``."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0


AnswerBlock = TextBlock | ThinkingBlock | ToolUseBlock


class Message(Struct, frozen=True, kw_only=True):
    """A finished answer without its ids: what the cache stores and every replay is made from.

    ``ToolUseBlock.id`` is empty in here; fresh ids are minted for each client that gets a copy.
    """

    model: str
    """Engine model that made it."""
    content: list[AnswerBlock]
    stop_reason: StopReason
    stop_sequence: str | None = None
    usage: TokenUsage


_decode_message = msgspec.msgpack.Decoder(Message).decode
_encode_message = msgspec.msgpack.Encoder().encode


def dump_message(message: Message) -> bytes:
    """Serialise a message for a cache store."""
    return _encode_message(message)


def load_message(raw: bytes) -> Message:
    """Read what ``dump_message`` wrote; raises ``msgspec.MsgspecError`` on anything else."""
    return _decode_message(raw)
