import json
import re

from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.anthropic import (
    Message,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
    dump_message,
    load_message,
)
from llmctl.protocol.message import Replay
from tests.unit.protocol.streams import accumulated, sse_events, without_ids

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(st.text(), json_values, max_size=3)
counts = st.integers(0, 10**6)


def messages(inputs):
    blocks = st.lists(
        st.builds(TextBlock, text=st.text(min_size=1))
        | st.builds(ThinkingBlock, thinking=st.text(min_size=1))
        | st.builds(ToolUseBlock, id=st.just(""), name=st.text(min_size=1), input=inputs),
        max_size=5,
    )
    return st.builds(
        Message,
        model=st.text(),
        content=blocks,
        stop_reason=st.sampled_from(["end_turn", "max_tokens", "stop_sequence", "tool_use"]),
        stop_sequence=st.none() | st.text(),
        usage=st.builds(
            TokenUsage, input_tokens=counts, output_tokens=counts, cache_read_input_tokens=counts
        ),
    )


@given(messages(objects))
def test_the_stream_says_what_the_body_says(message):
    replay = Replay(message)
    assert accumulated(replay.sse()) == without_ids(json.loads(replay.json()))


@given(messages(objects))
def test_the_body_says_what_the_message_says(message):
    body = json.loads(Replay(message).json())
    assert body["type"] == "message"
    assert body["role"] == "assistant"
    for block in body["content"]:
        block.pop("id", None)
    tags = {TextBlock: "text", ThinkingBlock: "thinking", ToolUseBlock: "tool_use"}
    assert [block["type"] for block in body["content"]] == [
        tags[type(block)] for block in message.content
    ]
    for block, kept in zip(body["content"], message.content, strict=True):
        block.pop("type")
        assert block == {name: getattr(kept, name) for name in block}
    assert body["usage"]["cache_read_input_tokens"] == message.usage.cache_read_input_tokens


@given(messages(objects))
def test_what_a_cache_gives_back_is_what_was_put_in(message):
    again = load_message(dump_message(message))
    assert again == message
    blank = re.compile(rb"(msg|toolu)_[0-9a-f]{24}")
    assert blank.sub(b"", Replay(again).sse()) == blank.sub(b"", Replay(message).sse())
    assert blank.sub(b"", Replay(again).json()) == blank.sub(b"", Replay(message).json())


TWO_CALLS = Message(
    model="m",
    content=[
        TextBlock(text="both"),
        ToolUseBlock(id="", name="Read", input={"file_path": "/a"}),
        ToolUseBlock(id="", name="Read", input={"file_path": "/b"}),
    ],
    stop_reason="tool_use",
    usage=TokenUsage(input_tokens=3, output_tokens=2),
)


def test_ids_are_never_used_twice():
    replay = Replay(TWO_CALLS)
    seen = re.findall(
        rb"(?:msg|toolu)_[0-9a-f]{24}",
        replay.sse() + replay.json() + replay.sse() + replay.json() + Replay(TWO_CALLS).json(),
    )
    assert len(seen) == len(set(seen)) == 15


def test_a_replayed_stream_starts_with_the_real_usage():
    start = sse_events(Replay(TWO_CALLS).sse())[0]["message"]
    assert start["usage"]["input_tokens"] == 3
    assert start["usage"]["output_tokens"] == 0
    assert start["content"] == []


def test_an_answer_without_content():
    message = Message(
        model="m", content=[], stop_reason="stop_sequence", stop_sequence="\0",
        usage=TokenUsage(input_tokens=1, output_tokens=0),
    )  # fmt: skip
    assert json.loads(Replay(message).json())["stop_sequence"] == "\0"
    assert accumulated(Replay(message).sse())["content"] == []


def test_size_covers_both_renderings():
    replay = Replay(TWO_CALLS)
    assert replay.size > len(replay.sse()) + len(replay.json()) - 200
