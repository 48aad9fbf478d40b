"""Engine streams to decode and Anthropic streams to check, for the tests of the stream side."""

import json
from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import strategies as st

from llmctl.protocol import sse
from llmctl.protocol.anthropic import MessagesRequest, Tool, TokenUsage, ToolUseBlock
from llmctl.protocol.calls import OfferedTools
from llmctl.protocol.engine import EngineChunk, EngineDone, EngineToolCall
from llmctl.protocol.errors import ApiError
from llmctl.protocol.stream import Composer

TOOLS = [
    Tool(
        name="Read",
        input_schema={
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "limit": {"type": "integer"}},
        },
    ),
    Tool(
        name="Write",
        input_schema={
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
        },
    ),
    Tool(
        name="Bash",
        input_schema={
            "type": "object",
            "properties": {
                "command": {"type": "string"},
                "timeout": {"type": "number"},
                "background": {"type": "boolean"},
                "paths": {"type": "array", "items": {"type": "string"}},
                "env": {"type": "object"},
                "note": {},
                "label": {"type": ["string", "null"]},
                "count": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
        },
    ),
]
OFFERED = OfferedTools(TOOLS)


def request(**fields: Any) -> MessagesRequest:
    return MessagesRequest(model="m", messages=[], max_tokens=100, **fields)


def ollama_line(**fields: Any) -> bytes:
    """One NDJSON line; ``content``, ``thinking`` and ``tool_calls`` go into its message."""
    message = {"role": "assistant", "content": fields.pop("content", "")}
    for name in ("thinking", "tool_calls"):
        if name in fields:
            message[name] = fields.pop(name)
    line = {"model": "m", "created_at": "2026-11-22T19:06:18.36Z", "message": message}
    return json.dumps({**line, "done": False, **fields}, ensure_ascii=False).encode() + b"\n"


def ollama_done(**fields: Any) -> bytes:
    metrics = {"prompt_eval_count": 30, "prompt_eval_duration": 2_000_000, "eval_count": 5}
    return ollama_line(done=True, done_reason="stop", **{**metrics, **fields})


def ollama_call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"id": "call_ab12cd34", "function": {"index": 0, "name": name, "arguments": arguments}}


def openai_event(**choice: Any) -> bytes:
    """One SSE event with a delta; ``finish_reason`` goes beside it."""
    finish = choice.pop("finish_reason", None)
    body = {"choices": [{"index": 0, "delta": choice, "finish_reason": finish}]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def text_chunks(text: str, size: int = 3) -> list[EngineChunk]:
    return [EngineChunk(text=text[at : at + size]) for at in range(0, len(text), size)]


def done(reason: str = "stop", **counts: int) -> EngineChunk:
    return EngineChunk(done=EngineDone(reason=reason, **counts))


def call(name: str, **arguments: Any) -> EngineToolCall:
    return EngineToolCall(name=name, arguments=arguments)


def pieces(text: Any, cuts: Iterable[int]) -> Iterator[Any]:
    """Cut text or bytes at the given places, wherever they fall."""
    bounds = [0, *sorted({cut for cut in cuts if 0 < cut < len(text)}), len(text)]
    return (text[start:end] for start, end in zip(bounds, bounds[1:], strict=False))


cuts = st.lists(st.integers(0, 400), max_size=12)


def told(composer: Composer, chunks: Iterable[EngineChunk]) -> bytes:
    """Run chunks one by one to the end and return one client's stream, tool ids numbered."""
    frames = []
    try:
        for chunk in chunks:
            frames += sse.encode(composer.feed([chunk]))
            if composer.stop_matched:
                break
        frames += sse.encode(composer.finish())
    except ApiError as error:
        frames += sse.encode(composer.fail(error))
    return stream_of(frames)


def stream_of(frames: list[sse.Frame]) -> bytes:
    numbers = count(1)
    start = sse.message_start("msg_1", model="m", usage=TokenUsage(input_tokens=7, output_tokens=0))
    return start + sse.join(frames, mint=lambda: f"toolu_{next(numbers)}")


def sse_events(stream: bytes) -> list[dict[str, Any]]:
    """Parse a stream as a client does and check its form: names, blocks, order, end."""
    events = []
    assert stream.endswith(b"\n\n")
    for part in stream.decode().removesuffix("\n\n").split("\n\n"):
        name, data = part.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    _check_order(events)
    return events


def _check_order(events: list[dict[str, Any]]) -> None:
    assert events[0]["type"] == "message_start"
    opened, open_index = 0, None
    for event in events[1:]:
        kind = event["type"]
        if kind == "content_block_start":
            assert open_index is None
            assert event["index"] == opened
            open_index, opened = opened, opened + 1
        elif kind == "content_block_delta":
            assert event["index"] == open_index
        elif kind == "content_block_stop":
            assert event["index"] == open_index
            open_index = None
        elif kind == "message_delta":
            assert open_index is None
    names = [event["type"] for event in events if event["type"] != "ping"]
    assert names[-1] == "error" or names[-2:] == ["message_delta", "message_stop"]
    assert names.count("message_stop") + names.count("error") == 1


def accumulated(stream: bytes) -> dict[str, Any]:
    """Return the message that Anthropic's Python SDK makes of a stream, without its ids."""
    snapshot, buffers = None, {}
    for event in sse_events(stream):
        if event["type"] not in {"ping", "message_stop"}:
            snapshot = accumulate_event(event=event, current_snapshot=snapshot, json_bufs=buffers)
    assert snapshot is not None
    return without_ids(snapshot.to_dict())


def without_ids(message: dict[str, Any]) -> dict[str, Any]:
    """Drop the ids, and what the SDK adds of its own where a value is null."""
    content = [
        {name: value for name, value in block.items() if name not in {"id", "parsed_output"}}
        for block in message["content"]
    ]
    names = ("type", "role", "model", "stop_reason", "stop_sequence", "usage")
    return {**{name: message[name] for name in names}, "content": content}


def texts_and_calls(content: Iterable[Any]) -> list[Any]:
    """Content as plain values: text as it is, calls as (name, input)."""
    return [
        (block.name, block.input) if isinstance(block, ToolUseBlock) else block.text
        for block in content
        if isinstance(block, ToolUseBlock) or hasattr(block, "text")
    ]
