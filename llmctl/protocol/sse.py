"""Events as the bytes of a server-sent event stream, in Anthropic's shape.

Bytes are rendered once and shared by every listener; only the ids of tool calls are left open,
because each client needs its own.
"""

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.protocol import ids
from llmctl.protocol.anthropic import TokenUsage
from llmctl.protocol.events import (
    BlockStopped,
    Event,
    Failed,
    Finished,
    InputAdded,
    Ping,
    TextAdded,
    TextStarted,
    ThinkingAdded,
    ThinkingStarted,
    ToolUseStarted,
)

_json = msgspec.json.Encoder().encode


class ToolFrame(Struct, frozen=True):
    """The start of a tool call in two halves, between which each client gets an id of its own."""

    prefix: bytes
    suffix: bytes


Frame = bytes | ToolFrame


def encode(events: Iterable[Event]) -> list[Frame]:
    """Render events; all bytes up to the next tool call's id are one frame."""
    frames: list[Frame] = []
    run: list[bytes] = []
    for event in events:
        if isinstance(event, TextAdded):
            run.append(_text_head(event.index) + _json(event.text) + b"}}\n\n")
        elif isinstance(event, ToolUseStarted):
            if run:
                frames.append(b"".join(run))
                run.clear()
            frames.append(_tool_start(event))
        else:
            run.append(_RENDERERS[type(event)](event))
    if run:
        frames.append(b"".join(run))
    return frames


def join(frames: Iterable[Frame], mint: Callable[[], str] = ids.tool_use_id) -> bytes:
    """Return frames as one client's bytes, for one write; ``mint`` makes its tool call ids."""
    return b"".join(
        [
            frame if isinstance(frame, bytes) else frame.prefix + mint().encode() + frame.suffix
            for frame in frames
        ]
    )


def message_start(message_id: str, *, model: str, usage: TokenUsage) -> bytes:
    """Render the first event of a stream; ``usage`` is what can be said of it by then."""
    return (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"'
        + message_id.encode()
        + b'","type":"message","role":"assistant","model":'
        + _json(model)
        + b',"content":[],"stop_reason":null,"stop_sequence":null,"usage":'
        + _json(usage)
        + b"}}\n\n"
    )


# The bytes in front of a delta's text depend on the block only, and there is one delta a token.


@lru_cache(maxsize=64)
def _text_head(index: int) -> bytes:
    return _delta_head(index, b"text_delta", b"text")


@lru_cache(maxsize=64)
def _thinking_head(index: int) -> bytes:
    return _delta_head(index, b"thinking_delta", b"thinking")


@lru_cache(maxsize=64)
def _input_head(index: int) -> bytes:
    return _delta_head(index, b"input_json_delta", b"partial_json")


def _delta_head(index: int, kind: bytes, field: bytes) -> bytes:
    return (
        b"event: content_block_delta\n"
        b'data: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
    ) % (index, kind, field)


def _event(name: bytes, fields: bytes) -> bytes:
    return b'event: %b\ndata: {"type":"%b"%b}\n\n' % (name, name, fields)


def _start(index: int, block: bytes) -> bytes:
    fields = b',"index":%d,"content_block":%b' % (index, block)
    return _event(b"content_block_start", fields)


_TEXT = b'{"type":"text","text":""}'
# A signature vouches for the thinking of Anthropic's own models; clients take an empty one.
_THINKING = b'{"type":"thinking","thinking":"","signature":""}'
_PING = _event(b"ping", b"")
_MESSAGE_STOP = _event(b"message_stop", b"")


def _finish(event: Finished) -> bytes:
    delta = _json({"stop_reason": event.stop_reason, "stop_sequence": event.stop_sequence})
    fields = b',"delta":' + delta + b',"usage":' + _json(event.usage)
    return _event(b"message_delta", fields) + _MESSAGE_STOP


def _fail(event: Failed) -> bytes:
    return _event(b"error", b',"error":' + _json({"type": event.type, "message": event.message}))


_RENDERERS: dict[type[Event], Callable[[Any], bytes]] = {
    TextStarted: lambda event: _start(event.index, _TEXT),
    ThinkingStarted: lambda event: _start(event.index, _THINKING),
    ThinkingAdded: lambda event: _thinking_head(event.index) + _json(event.thinking) + b"}}\n\n",
    InputAdded: lambda event: _input_head(event.index) + _json(event.partial_json) + b"}}\n\n",
    BlockStopped: lambda event: _event(b"content_block_stop", b',"index":%d' % event.index),
    Ping: lambda _: _PING,
    Finished: _finish,
    Failed: _fail,
}


def _tool_start(event: ToolUseStarted) -> ToolFrame:
    start = b'"index":%d,"content_block":{"type":"tool_use","id":"' % event.index
    prefix = b'event: content_block_start\ndata: {"type":"content_block_start",' + start
    return ToolFrame(prefix, b'","name":' + _json(event.name) + b',"input":{}}}\n\n')
