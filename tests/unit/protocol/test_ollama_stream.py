import json

import pytest
from hypothesis import given

from llmctl.protocol.calls import UNPARSED
from llmctl.protocol.engine import EngineChunk, EngineDone
from llmctl.protocol.errors import ApiError
from llmctl.protocol.ollama_stream import OllamaDecoder
from tests.unit.protocol.streams import call, cuts, ollama_call, ollama_done, ollama_line, pieces


def decode(data, **settings):
    decoder = OllamaDecoder(model="m", **settings)
    return decoder.feed(data) + decoder.finish()


def failure(parts, **settings):
    """Return what was decoded before the error, and the error."""
    decoder = OllamaDecoder(model="m", **settings)
    chunks = []
    with pytest.raises(ApiError) as caught:
        for part in parts:
            chunks += decoder.feed(part)
        chunks += decoder.finish()
    return chunks, caught.value


ANSWER = (
    ollama_line(thinking="Hm…")
    + b"\r\n\n"
    + ollama_line(content="Grüß ")
    + ollama_line()
    + ollama_line(content="Gott 😀", tool_calls=[ollama_call("Read", file_path="/ä")])
    + ollama_done(tool_calls=[ollama_call("Bash", command="ls")], eval_count=9)
)
CHUNKS = [
    EngineChunk(thinking="Hm…"),
    EngineChunk(text="Grüß "),
    EngineChunk(text="Gott 😀", tool_calls=(call("Read", file_path="/ä"),)),
    EngineChunk(
        tool_calls=(call("Bash", command="ls"),),
        done=EngineDone(reason="stop", prompt_tokens=30, completion_tokens=9, prompt_ms=2.0),
    ),
]


def test_lines_become_chunks():
    assert decode(ANSWER) == CHUNKS


@given(cuts)
def test_any_split_gives_the_same_chunks(where):
    decoder = OllamaDecoder(model="m")
    chunks = [chunk for part in pieces(ANSWER, where) for chunk in decoder.feed(part)]
    assert chunks + decoder.finish() == CHUNKS


def test_what_follows_the_end_is_ignored():
    assert decode(ollama_done() + b"garbage\n") == decode(ollama_done())
    decoder = OllamaDecoder(model="m")
    decoder.feed(ollama_done())
    assert decoder.feed(b"garbage\n") == []


def test_the_last_line_needs_no_line_feed():
    assert decode(ollama_done().rstrip()) == decode(ollama_done())


def test_a_call_of_nothing_is_no_answer():
    call = {"function": {"name": "", "arguments": {}}}
    line = json.dumps({"message": {"content": "", "tool_calls": [call]}}).encode() + b"\n"
    with pytest.raises(ApiError, match="without saying which"):
        decode(line)


def test_metrics_left_out_on_the_wire_stay_unknown():
    line = b'{"message":{"role":"assistant","content":""},"done":true}\n'
    assert decode(line) == [EngineChunk(done=EngineDone(reason="stop"))]
    assert decode(b'{"done":true,"done_reason":"load"}\n')[0].done.reason == "load"


@pytest.mark.parametrize(
    ("counts", "read"),
    [
        ({"prompt_eval_count": 9.0, "eval_count": 4.0}, (9, 4)),
        ({"prompt_eval_count": "9", "eval_count": None}, (None, None)),
        ({"prompt_eval_count": -1, "eval_count": -4}, (None, None)),
        ({"prompt_eval_count": 10**30, "eval_count": 0.5}, (None, None)),
        ({"prompt_eval_count": [9], "eval_count": True}, (None, None)),
    ],
)
def test_an_answer_is_not_lost_to_counts_that_are_none(counts, read):
    line = json.dumps({"message": {"content": ""}, "done": True, **counts}).encode() + b"\n"
    done = decode(line)[0].done
    assert (done.prompt_tokens, done.completion_tokens) == read


@pytest.mark.parametrize(
    ("arguments", "read"),
    [(None, {}), ('{"a": 1}', {"a": 1}), ("{cut", {UNPARSED: {"raw": "{cut", "len": 4}})],
)
def test_arguments_in_other_forms(arguments, read):
    calls = [{"function": {"name": "Read", "arguments": arguments}}]
    assert decode(ollama_done(tool_calls=calls))[0].tool_calls == (call("Read", **read),)


def test_a_tool_call_of_megabytes_is_one_line():
    content = "x" * 7_000_000
    line = ollama_done(tool_calls=[ollama_call("Write", content=content)])
    decoder = OllamaDecoder(model="m")
    chunks = [
        chunk for part in pieces(line, range(0, len(line), 65_536)) for chunk in decoder.feed(part)
    ]
    assert chunks[0].tool_calls[0].arguments == {"content": content}


HELLO = ollama_line(content="Hello")


@pytest.mark.parametrize("count", [1, 400])
@pytest.mark.parametrize(
    ("rest", "status", "words"),
    [
        (b'{"error":"unexpected EOF"}\n', 500, "unexpected EOF"),
        (b'{"error":{"message":"boom","code":503}}\n', 529, "boom"),
        (b"garbage\n", 502, "not its protocol: 'garbage'"),
        (b"{}\n", 502, "not its protocol"),
        (b'{"message":{"content":7}}\n', 502, "not its protocol"),
        (b'{"message":{"content":"\xf0\x9f"}}\n', 502, "not its protocol"),
        (b'{"message":{"content":"\\ud83d"}}\n', 502, "not its protocol"),
        (b"[" * 100_000 + b"\n", 502, "not its protocol"),
        (b"", 502, "closed the stream before m had finished"),
        (b'{"message":{"content":"half a character \xf0\x9f', 502, "closed the stream"),
        (ollama_line(content=" world").rstrip(), 502, "closed the stream"),
    ],
)
def test_failures_come_after_what_was_said_before_them(rest, status, words, count):
    data = HELLO + rest
    chunks, error = failure(pieces(data, range(0, len(data), max(1, len(data) // count))))
    assert chunks == [EngineChunk(text="Hello")]
    assert error.status == status
    assert words in error.message


def test_an_error_is_raised_at_once_when_nothing_came_before_it():
    with pytest.raises(ApiError, match="boom"):
        OllamaDecoder(model="m").feed(b'{"error":"boom"}\n')


def test_an_error_stays():
    decoder = OllamaDecoder(model="m")
    assert decoder.feed(HELLO + b"garbage\n") == [EngineChunk(text="Hello")]
    for again in (lambda: decoder.feed(HELLO), decoder.finish):
        with pytest.raises(ApiError, match="garbage"):
            again()


def test_a_line_beyond_the_limit_is_an_error():
    chunks, error = failure([HELLO + b"x" * 300, b"x" * 300], max_line_bytes=500)
    assert chunks == [EngineChunk(text="Hello")]
    assert "more than 500 bytes" in error.message
    assert error.retry_once


def test_an_overflow_in_the_middle_is_an_overflow():
    inner = (
        '{"error":{"code":400,"message":"request (1531 tokens) exceeds the available context size'
        ' (512 tokens), try increasing it","type":"exceed_context_size_error",'
        '"n_prompt_tokens":1531,"n_ctx":512}}'
    )
    _, error = failure([json.dumps({"error": inner}).encode() + b"\n"])
    assert (error.status, error.message) == (400, "prompt is too long: 1531 tokens > 512 maximum")
