import json
import re
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.anthropic import MessagesRequest, TokenUsage
from llmctl.protocol.errors import ApiError
from llmctl.protocol.events import (
    BlockStopped,
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
from llmctl.protocol.ollama_stream import OllamaDecoder
from llmctl.protocol.openai_stream import OpenAIDecoder
from llmctl.protocol.sse import ToolFrame, encode, join, message_start
from llmctl.protocol.stream import Composer
from tests.unit.protocol.streams import pieces, sse_events, stream_of

USAGE = TokenUsage(input_tokens=3, output_tokens=2, cache_read_input_tokens=1)


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (
            TextStarted(0),
            '{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        ),
        (
            ThinkingStarted(70),
            '{"type":"content_block_start","index":70,'
            '"content_block":{"type":"thinking","thinking":"","signature":""}}',
        ),
        (
            TextAdded(1, 'é"\n\u2028'),
            '{"type":"content_block_delta","index":1,'
            '"delta":{"type":"text_delta","text":"é\\"\\n\u2028"}}',
        ),
        (
            ThinkingAdded(1, "hm"),
            '{"type":"content_block_delta","index":1,'
            '"delta":{"type":"thinking_delta","thinking":"hm"}}',
        ),
        (
            InputAdded(2, '{"a":1}'),
            '{"type":"content_block_delta","index":2,'
            '"delta":{"type":"input_json_delta","partial_json":"{\\"a\\":1}"}}',
        ),
        (BlockStopped(2), '{"type":"content_block_stop","index":2}'),
        (Ping(), '{"type":"ping"}'),
        (
            Failed("api_error", 'it "broke"'),
            '{"type":"error","error":{"type":"api_error","message":"it \\"broke\\""}}',
        ),
    ],
)
def test_events_on_the_wire(event, data):
    name = json.loads(data)["type"]
    assert join(encode([event])).decode() == f"event: {name}\ndata: {data}\n\n"


def test_the_end_is_two_events():
    end = Finished(stop_reason="stop_sequence", stop_sequence="\n", usage=USAGE)
    assert join(encode([end])).decode() == (
        "event: message_delta\n"
        'data: {"type":"message_delta","delta":{"stop_reason":"stop_sequence",'
        '"stop_sequence":"\\n"},"usage":{"input_tokens":3,"output_tokens":2,'
        '"cache_creation_input_tokens":0,"cache_read_input_tokens":1}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )
    end = Finished(stop_reason="end_turn", stop_sequence=None, usage=USAGE)
    assert b'"stop_sequence":null' in join(encode([end]))


def test_the_beginning_carries_an_empty_message():
    assert message_start("msg_1", model='a"b', usage=USAGE).decode() == (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1",'
        '"type":"message","role":"assistant","model":"a\\"b","content":[],"stop_reason":null,'
        '"stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2,'
        '"cache_creation_input_tokens":0,"cache_read_input_tokens":1}}}\n\n'
    )


def test_only_tool_calls_are_left_open():
    frames = encode(
        [TextStarted(0), TextAdded(0, "a"), BlockStopped(0), ToolUseStarted(1, "Read"),
         InputAdded(1, "{}"), BlockStopped(1), ToolUseStarted(2, "Bash")]
    )  # fmt: skip
    assert [type(frame) for frame in frames] == [bytes, ToolFrame, bytes, ToolFrame]
    start = json.loads(join(frames[1:2], mint=lambda: "toolu_1").decode().split("data: ")[1])
    assert start == {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}},
    }
    ids = re.findall(rb"toolu_[0-9a-f]{24}", join(frames) + join(frames))
    assert len(set(ids)) == 4


def test_nothing_is_no_frame():
    assert encode([]) == []
    assert join([]) == b""


@given(st.text())
def test_any_text_survives(text):
    data = join(encode([TextAdded(0, text)])).decode().removesuffix("\n\n").split("data: ", 1)[1]
    assert json.loads(data)["delta"]["text"] == text
    assert "\n" not in data and "\r" not in data


# From an engine's bytes to a client's. NAME.ndjson is an Ollama stream, NAME.chunks one of an
# OpenAI-compatible server; NAME.json has the fields of the request that matter.

GOLDEN = Path(__file__).parents[2] / "golden" / "stream"
STREAMS = sorted([*GOLDEN.glob("*.ndjson"), *GOLDEN.glob("*.chunks")])


def rendered(path, size):
    """Return the answer to a recorded engine stream that arrives in pieces of ``size`` bytes."""
    asked = path.with_suffix(".json")
    fields = msgspec.json.decode(asked.read_bytes()) if asked.exists() else {}
    request = msgspec.convert({"model": "m", "messages": [], **fields}, MessagesRequest)
    decoder = (OllamaDecoder if path.suffix == ".ndjson" else OpenAIDecoder)(model="m")
    composer = Composer(request, input_tokens=7)
    data = path.read_bytes()
    frames = []
    try:
        for piece in pieces(data, range(0, len(data), size)):
            frames += encode(composer.feed(decoder.feed(piece)))
            if composer.stop_matched:
                break
        else:
            frames += encode(composer.feed(decoder.finish()))
        frames += encode(composer.finish())
    except ApiError as error:
        frames += encode(composer.fail(error))
    return stream_of(frames)


@pytest.mark.parametrize("size", [1, 7, 10_000_000])
@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.name)
def test_recorded_engine_streams(path, size):
    stream = rendered(path, size)
    sse_events(stream)
    assert stream.decode() == path.with_suffix(".sse").read_bytes().decode()


def test_there_are_recorded_streams():
    assert len(STREAMS) >= 15


if __name__ == "__main__":  # after a change that is meant: write what is made now, and read it
    for path in STREAMS:
        path.with_suffix(".sse").write_bytes(rendered(path, 10_000_000))
