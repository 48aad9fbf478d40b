import json

import pytest
from hypothesis import given

from llmctl.protocol.calls import UNPARSED
from llmctl.protocol.engine import UNSAID, EngineChunk, EngineDone
from llmctl.protocol.errors import ApiError
from llmctl.protocol.openai_stream import OpenAIDecoder
from tests.unit.protocol.streams import call, cuts, openai_event, pieces

DONE = b"data: [DONE]\n\n"
STOP = openai_event(finish_reason="stop") + DONE


def decode(data):
    decoder = OpenAIDecoder(model="m")
    return decoder.feed(data) + decoder.finish()


def part(index, name=None, arguments=None, call_id=None):
    fragment = {"index": index, "id": call_id, "type": "function"}
    fragment["function"] = {"name": name, "arguments": arguments}
    return openai_event(tool_calls=[{k: v for k, v in fragment.items() if v is not None}])


def calls_in(data):
    return [call for chunk in decode(data) for call in chunk.tool_calls]


ANSWER = (
    b": llama.cpp says hello\r\n\r\n"
    + openai_event(role="assistant", content=None)
    + openai_event(reasoning_content="Hm…")
    + openai_event(reasoning="Ah")
    + openai_event(content="Grüß ").replace(b"\n", b"\r\n")
    + openai_event(content="Gott 😀")
    + b"event: message\nretry: 10\n"
    + part(0, "Read", "", "call_1")
    + part(0, None, '{"file_')
    + part(0, None, 'path": "/ä"}')
    + part(1, "Bash", '{"command": "ls"}', "call_2")
    + openai_event(finish_reason="tool_calls")
    + b'data: {"choices":[],"usage":{"prompt_tokens":30,"completion_tokens":9,'
    b'"prompt_tokens_details":{"cached_tokens":20}}}\n\n' + DONE
)
CHUNKS = [
    EngineChunk(thinking="Hm…"),
    EngineChunk(thinking="Ah"),
    EngineChunk(text="Grüß "),
    EngineChunk(text="Gott 😀"),
    EngineChunk(tool_calls=(call("Read", file_path="/ä"),)),
    EngineChunk(tool_calls=(call("Bash", command="ls"),)),
    EngineChunk(
        done=EngineDone(
            reason="tool_calls", prompt_tokens=30, cached_prompt_tokens=20, completion_tokens=9
        )
    ),
]


def test_events_become_chunks():
    assert decode(ANSWER) == CHUNKS


@given(cuts)
def test_any_split_gives_the_same_chunks(where):
    decoder = OpenAIDecoder(model="m")
    chunks = [chunk for part in pieces(ANSWER, where) for chunk in decoder.feed(part)]
    assert chunks + decoder.finish() == CHUNKS


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({}, EngineDone(reason="stop")),
        ({"usage": None}, EngineDone(reason="stop")),
        (
            {"usage": {"prompt_tokens": "5", "completion_tokens": -6}, "timings": {"prompt_n": 7.0, "prompt_ms": "x"}},
            EngineDone(reason="stop", prompt_tokens=7),
        ),
        (
            {"timings": {"cache_n": 100, "prompt_n": 7, "prompt_ms": 1.5, "predicted_n": 3}},
            EngineDone(
                reason="stop", prompt_tokens=107, cached_prompt_tokens=100, completion_tokens=3,
                prompt_ms=1.5,
            ),
        ),
        (
            {
                "usage": {"prompt_tokens": 5, "completion_tokens": 6},
                "timings": {"prompt_n": 1, "cache_n": 4, "prompt_ms": 2},
            },
            EngineDone(
                reason="stop", prompt_tokens=5, cached_prompt_tokens=4, completion_tokens=6,
                prompt_ms=2.0,
            ),
        ),
        (
            {
                "usage": {
                    "prompt_tokens": 5,
                    "completion_tokens": 60,
                    "completion_tokens_details": {"reasoning_tokens": 50},
                    "prompt_tokens_details": {"cached_tokens": 0},
                },
            },
            EngineDone(
                reason="stop", prompt_tokens=5, cached_prompt_tokens=0, completion_tokens=60,
                hidden_tokens=50,
            ),
        ),
    ],
)  # fmt: skip
def test_counts_come_from_usage_and_timings(fields, counts):
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    event = b"data: " + json.dumps({"choices": [choice], **fields}).encode() + b"\n\n"
    assert decode(event + DONE) == [EngineChunk(done=counts)]


def test_a_choice_may_have_nothing_but_its_end():
    data = b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n'
    assert decode(data) == [EngineChunk(done=EngineDone(reason="stop"))]


def test_the_end_may_lack_its_mark_or_its_reason_but_not_both():
    assert decode(openai_event(content="a", finish_reason="length"))[-1].done.reason == "length"
    assert decode(openai_event(content="a") + DONE)[-1].done.reason == UNSAID
    with pytest.raises(ApiError, match="closed the stream before m had finished"):
        decode(openai_event(content="a"))


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_the_engine_gave_up_is_none(reason):
    decoder = OpenAIDecoder(model="m")
    data = openai_event(content="half") + openai_event(finish_reason=reason) + DONE
    assert decoder.feed(data) == [EngineChunk(text="half")]
    with pytest.raises(ApiError, match=f"gave up on the answer .*{reason}") as caught:
        decoder.finish()
    assert caught.value.retry_once


def test_a_call_of_nothing_is_no_answer():
    decoder = OpenAIDecoder(model="m")
    decoder.feed(part(0, "", '{"limit": 1}', "a"))
    with pytest.raises(ApiError, match="without saying which"):
        decoder.feed(openai_event(finish_reason="tool_calls"))
        decoder.finish()


def test_no_call_is_given_before_it_is_whole():
    decoder = OpenAIDecoder(model="m")
    assert decoder.feed(part(0, "Read", '{"limit": 1}', "a")) == []
    assert decoder.feed(part(1, "Bash", '{"comm', "b")) == [
        EngineChunk(tool_calls=(call("Read", limit=1),))
    ]
    assert decoder.feed(part(1, None, 'and": "x"}')) == []
    assert decoder.feed(openai_event(finish_reason="tool_calls")) == [
        EngineChunk(tool_calls=(call("Bash", command="x"),))
    ]


@pytest.mark.parametrize(
    ("fragments", "calls"),
    [
        ([part(0, "Bash")], [call("Bash")]),
        ([part(0, "Bash", ""), part(1, "Read", "")], [call("Bash"), call("Read")]),
        (
            [part(0, "Bash", {"command": "ls"}), part(1, "Read", "{}")],
            [call("Bash", command="ls"), call("Read")],
        ),
        # every call numbered 0, as some servers do
        ([part(0, "Bash", "{}", "a"), part(0, "Read", "{}", "b")], [call("Bash"), call("Read")]),
        ([part(0, "Bash", "{}"), part(0, "Read", "{}")], [call("Bash"), call("Read")]),
        ([part(None, "Bash", "{}"), part(None, "Read", "{}")], [call("Bash"), call("Read")]),
        # a new id with every fragment, as older vLLM does
        ([part(0, "Bash", '{"a"', "x"), part(0, None, ": 1}", "y")], [call("Bash", a=1)]),
        # the name repeated with every fragment
        ([part(0, "Bash", '{"a"', "x"), part(0, "Bash", ": 1}", "x")], [call("Bash", a=1)]),
        # fragments of several calls mixed
        (
            [part(0, "Bash", '{"a"'), part(1, "Read", "{}"), part(0, None, ": 1}"), part(2, "W")],
            [call("Bash", a=1), call("Read"), call("W")],
        ),
        ([part(0, "Bash", '{"a": ')], [call("Bash", **{UNPARSED: {"raw": '{"a": ', "len": 6}})]),
    ],
)
def test_fragments_are_put_together(fragments, calls):
    assert calls_in(b"".join(fragments) + STOP) == calls


def test_a_call_cut_off_by_the_limit_is_dropped():
    data = part(0, "Bash", "{}") + part(1, "Write", '{"content": "half')
    assert calls_in(data + openai_event(finish_reason="length") + DONE) == [call("Bash")]
    whole = part(0, "Write", '{"content": "whole"}')
    assert calls_in(whole + openai_event(finish_reason="length")) == [
        call("Write", content="whole")
    ]


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        (b'data: {"error":{"message":"boom","type":"server_error"}}\n', 500, "boom"),
        (b'data: {"error":{"message":"Loading model","code":503}}\n', 529, "Loading model"),
        (b'data: {"object":"error","message":"boom","code":400}\n', 400, "boom"),
        (b'error: {"code":500,"message":"boom"}\n', 500, "boom"),
        (b'{"error":{"message":"boom","code":"context_length_exceeded"}}\n', 400, "too long"),
        (b"data: garbage\n", 502, "not its protocol"),
        (b'data: {"choices":7}\n', 502, "not its protocol"),
        (b"data: \xf0\x9f\n", 502, "not its protocol"),
        (b'data: {"choices":[{"de', 502, "closed the stream"),
        (b"<html>502 Bad Gateway</html>\n", 502, "closed the stream"),
    ],
)
def test_failures_come_after_what_was_said_before_them(line, status, words):
    decoder = OpenAIDecoder(model="m")
    assert decoder.feed(openai_event(content="Hello") + line) == [EngineChunk(text="Hello")]
    with pytest.raises(ApiError, match=words) as caught:
        decoder.finish()
    assert caught.value.status == status


def test_what_follows_the_end_is_ignored():
    assert decode(STOP + b"data: garbage\n") == decode(STOP)
