import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.anthropic import MessagesRequest, TextBlock
from llmctl.protocol.canonical import answer_key
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.protocol.normal import normalise
from llmctl.protocol.ollama import encode_chat as encode_ollama
from llmctl.protocol.openai import encode_chat as encode_openai
from llmctl.protocol.request import decode, decode_for_count
from llmctl.protocol.toolset import MAX_TOOLS
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import body, json_values, many

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "Read", "input_schema": {"type": "object"}}


def request(**fields):
    return {"model": "m", "max_tokens": 16, "messages": [USER], **fields}


def refusal(raw):
    with pytest.raises(ApiError) as caught:
        decode(raw if isinstance(raw, bytes) else json.dumps(raw).encode())
    assert caught.value.status == 400
    assert caught.value.type == "invalid_request_error"
    caught.value.message.encode()
    return caught.value.message


def accepted(**fields):
    return decode(json.dumps(request(**fields)).encode())


def said(*blocks, role="user"):
    return request(messages=[{"role": role, "content": list(blocks)}])


# -- what the real client sends ------------------------------------------------------------------


def test_first_request_of_claude_code():
    raw = shapes.encode(shapes.main_request())
    assert 74_000 < len(raw) < 78_000
    decoded = decode(raw)
    assert [turn.role for turn in decoded.messages] == ["user", "system"]
    assert len(decoded.tools) == 24
    assert decoded.stream is True


@pytest.mark.parametrize(
    "shape",
    [
        shapes.main_request(stream=False),
        shapes.title_request(),
        shapes.web_search_request(),
        shapes.user_turn(shapes.main_request(), "done", "now the rest"),
        shapes.tool_turn(
            shapes.main_request(),
            [shapes.Call(id="toolu_1", name="Bash", input={"command": "ls"}, is_error=True)],
            thinking="hm",
        ),
    ],
)
def test_other_requests_of_claude_code(shape):
    assert isinstance(decode(shapes.encode(shape)), MessagesRequest)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}]},
        {"tools": [{"name": "bare"}]},
        {"system": "be brief"},
        {"system": [{"type": "text", "text": "", "cache_control": {"type": "ephemeral"}}]},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
        {"thinking": {"type": "enabled", "budget_tokens": 1}},
        {"tool_choice": {"type": "auto"}},
        {"tool_choice": {"type": "none"}},
        {"metadata": {"user_id": "x"}, "context_management": {}, "service_tier": "auto", "new": 1},
        {"messages": [{"role": "system", "content": "first"}, USER]},
        {"messages": [{"role": "assistant", "content": "first"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
        {"tools": [{"name": "x", "input_schema": {"maximum": 10**30}}]},
        {"temperature": 1, "top_p": 0, "top_k": 0, "stop_sequences": []},
    ],
)
def test_tolerated(fields):
    assert isinstance(accepted(**fields), MessagesRequest)


def test_a_thinking_type_of_a_later_api_counts_as_adaptive():
    assert accepted(thinking={"type": "deep", "depth": 3}).thinking.type == "adaptive"


@pytest.mark.parametrize(
    ("rest", "words"),
    [('"metadata":{5:6}', "not valid JSON"), ('"max_tokens":"9"', "max_tokens: Expected `int")],
)
def test_a_thinking_type_of_a_later_api_excuses_nothing_else(rest, words):
    raw = '{"thinking":{"type":"deep"},"model":"m","messages":[{"role":"user","content":""}],%s}'
    assert words in refusal((raw % rest).encode())


def test_flawed_history_is_no_reason_to_end_a_conversation():
    use = {"type": "tool_use", "id": "same", "name": "Bash", "input": {}}
    turns = [USER, {"role": "assistant", "content": [use, use]}, USER]
    assert len(accepted(messages=turns).messages) == 3


def test_counting_needs_no_max_tokens():
    raw = json.dumps({"model": "m", "messages": [USER]}).encode()
    assert decode_for_count(raw).max_tokens is None
    assert "max_tokens" in refusal(raw)


# -- refusals name the place ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (b"", "body: not valid JSON: Input data was truncated"),
        (b"{", "body: not valid JSON"),
        (b'{"model":"m","messages":[]} x', "body: not valid JSON"),
        (b"\xef\xbb\xbf{}", "body: not valid JSON"),
        (b"null", "body: Expected `object`, got `null`"),
        (b"[]", "body: Expected `object`, got `array`"),
        (b"{}", "body: Object missing required field `model`"),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "body: not valid UTF-8"),
        (b'{"model":"m","messages":[],"x":NaN}', "body: not valid JSON"),
        (request(model=""), "model: must not be empty"),
        (request(model=1), "model: Expected `str`, got `int`"),
        (request(messages=[]), "messages: at least one message is required"),
        (request(max_tokens=0), "max_tokens: must be at least 1, not 0"),
        (request(max_tokens="9"), "max_tokens: Expected `int | null`, got `str`"),
        (
            request(messages=[USER, {"role": "tool", "content": ""}]),
            "messages[1].role: Invalid enum value 'tool', expected user, assistant or system",
        ),
        (request(messages=[{"role": "user"}]), "messages[0]: Object missing required field"),
        (said({"type": "video"}), "messages[0].content[0].type: Invalid value 'video'"),
        (said({"text": "x"}), "messages[0].content[0]: Object missing required field `type`"),
        (
            said({"type": "tool_use", "id": "a", "name": "b", "input": {}}),
            "messages[0].content[0].type: 'tool_use' cannot be in a message of role 'user'",
        ),
        (
            said(
                {"type": "text", "text": "x"},
                {"type": "tool_result", "tool_use_id": "a"},
                role="assistant",
            ),
            "messages[0].content[1].type: 'tool_result' cannot be in a message of role 'assistant'",
        ),
        (
            said({"type": "thinking", "thinking": "x"}, role="system"),
            "messages[0].content[0].type: 'thinking' cannot be in a message of role 'system'",
        ),
        (request(tools=[TOOL, TOOL]), "tools[1].name: 'Read' is already the name of tools[0]"),
        (request(tools=[{"name": ""}]), "tools[0].name: '' is not 1 to 128 letters"),
        (request(tools=[{"name": "a b"}]), "tools[0].name: 'a b' is not 1 to 128 letters"),
        (request(tools=[{"name": "a\n"}]), "tools[0].name:"),
        (request(tools=[{"name": "x" * 129}]), "tools[0].name:"),
        (
            request(tools=[TOOL], tool_choice={"type": "tool", "name": "Write"}),
            "tool_choice.name: no tool is named 'Write'",
        ),
        (request(tool_choice={"type": "any"}), "tool_choice: 'any' needs tools"),
        (
            request(tool_choice={"type": "some"}),
            "tool_choice.type: Invalid enum value 'some', expected auto, any, tool or none",
        ),
        (request(temperature=1.5), "temperature: must be between 0 and 1, not 1.5"),
        (request(temperature=-0.1), "temperature: must be between 0 and 1, not -0.1"),
        (request(top_p=2), "top_p: must be between 0 and 1, not 2"),
        (request(top_k=-1), "top_k: must be between 0 and"),
        (request(top_k=2**40), "top_k: must be between 0 and"),
        (request(thinking={"type": 5}, tool_choice=7), ": "),
    ],
)
def test_refused(wrong, words):
    assert words in refusal(wrong)


def test_thousands_of_tools_are_refused_with_both_numbers():
    message = refusal(request(tools=[{"name": f"t{n}"} for n in range(10_000)]))
    assert message == f"tools: 10000 tools are more than the {MAX_TOOLS} allowed"


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("place", ["messages", "metadata", "tools"])
def test_endless_nesting(opening, place):
    assert refusal(b'{"model":"m","max_tokens":1,"%s":%s' % (place.encode(), opening * 200_000))


@pytest.mark.parametrize("depth", [101, 400])
def test_nesting_that_would_only_fail_when_written(depth):
    deep = {}
    for _ in range(depth):
        deep = {"a": [deep]} if depth > 200 else {"a": deep}
    assert "nest 100 levels" in refusal(request(tools=[{"name": "x", "input_schema": deep}]))
    use = {"type": "tool_use", "id": "a", "name": "b", "input": deep}
    assert "nest 100 levels" in refusal(said(use, role="assistant"))


def test_a_long_value_does_not_fill_the_error():
    assert len(refusal(request(messages=[{"role": "x" * 100_000, "content": ""}]))) < 400


# -- halves of surrogate pairs -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"cut \ud83d", "cut \ufffd"),
        (r"\ude00 tail", "\ufffd tail"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\\ud83d \ud83d", "\\ud83d \ufffd"),
        (r"\uD83Dx\u0041", "\ufffdxA"),
    ],
)
def test_half_an_emoji_becomes_a_replacement_character(written, read):
    raw = '{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"%s"}]}' % written
    assert decode(raw.encode()).messages[0].content == read


def test_half_an_emoji_as_a_key():
    raw = b'{"model":"m","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"b","input":{"\\ud800":"\\udfff"}}]}]}'
    assert decode(raw).messages[0].content[0].input == {"\ufffd": "\ufffd"}


def test_broken_json_with_half_an_emoji_is_still_refused():
    assert "not valid JSON" in refusal(b'{"model":"\\ud83d"')


# -- nothing else ever comes out -----------------------------------------------------------------

MODELS = [
    EngineModel(name="chat", digest="d"),
    EngineModel(name="all", digest="d", capabilities=frozenset({"tools", "vision", "thinking"})),
]


def all_the_way(raw):
    """Take a body through everything that a request meets before an engine."""
    try:
        normal = normalise(decode(raw))
        answer_key(b"s", tenant="t", model_digest="d", options={}, request=normal)
    except ApiError as error:
        assert error.status == 400
        return
    for model in MODELS:
        plan = ChatPlan(request=normal, model=model, num_ctx=8, max_tokens=4)
        assert json.loads(encode_ollama(plan))["messages"]
        assert json.loads(encode_openai(plan))["messages"]


@many
@given(st.binary(max_size=200))
def test_any_bytes(raw):
    all_the_way(raw)


SEED = shapes.tool_turn(
    {**shapes.main_request(), "tools": shapes.tools()[-3:]},
    [
        shapes.Call(
            id="a", name="Write", input={"content": "x"}, result=[{"type": "text", "text": "x"}]
        )
    ],
    thinking="hm",
    text="so",
)
for turn in SEED["messages"]:
    if isinstance(turn["content"], str):
        turn["content"] = turn["content"][:40]
SEED["tool_choice"] = {"type": "tool", "name": "Write", "disable_parallel_tool_use": True}
SEED["output_config"]["format"] = {"type": "json_schema", "schema": {"type": "object"}}
for tool in SEED["tools"]:
    tool["description"] = tool["description"][:40]


def places(value, path=()):
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@many
@given(st.sampled_from([p for p in places(SEED) if p]), json_values)
def test_any_value_in_any_place(path, new):
    all_the_way(json.dumps(replaced(SEED, path, new)).encode())


@many
@given(st.randoms(use_true_random=False), st.integers(1, 6))
def test_any_byte_in_any_place(rng: random.Random, changes):
    raw = bytearray(shapes.encode(SEED))
    for _ in range(changes):
        raw[rng.randrange(len(raw))] = rng.choice(b'"\\{}[],:0u\xc3\x00 ')
    all_the_way(bytes(raw))
