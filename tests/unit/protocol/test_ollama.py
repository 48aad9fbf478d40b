import json

import msgspec
import pytest
from hypothesis import given

from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.normal import normalise
from llmctl.protocol.ollama import encode_chat
from llmctl.protocol.request import decode
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import body, conversations, some

USER = {"role": "user", "content": "x"}
TOOLS = [{"name": "Read", "description": "Read it", "input_schema": {"type": "object"}}]


def plan(request, *, can=("completion", "tools"), family="qwen3moe", **fields):
    return ChatPlan(
        request=normalise(decode(shapes.encode(request))),
        model=EngineModel(name="q:30b", digest="d", capabilities=frozenset(can), family=family),
        **({"num_ctx": 65536, "max_tokens": 8192} | fields),
    )


def chat(request, **options):
    return json.loads(encode_chat(plan(request, **options)))


def small(*turns, **fields):
    return body(list(turns) or [USER], **fields)


def test_the_whole_body():
    calls = [
        shapes.Call(id="toolu_1", name="Read", input={"path": "a"}, result="1"),
        shapes.Call(id="toolu_2", name="Read", input={}, result="2", is_error=True),
    ]
    request = shapes.tool_turn(small(tools=TOOLS, system="s"), calls, text="so", finished=[1, 0])
    assert chat(request) == {
        "model": "q:30b",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "so",
                "tool_calls": [
                    {
                        "id": "call00001",
                        "function": {"index": 0, "name": "Read", "arguments": {"path": "a"}},
                    },
                    {
                        "id": "call00002",
                        "function": {"index": 1, "name": "Read", "arguments": {}},
                    },
                ],
            },
            {"role": "tool", "content": "1", "tool_name": "Read", "tool_call_id": "call00001"},
            {
                "role": "tool",
                "content": "Error: 2",
                "tool_name": "Read",
                "tool_call_id": "call00002",
            },
        ],
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "Read",
                    "description": "Read it",
                    "parameters": {"type": "object", "properties": {}},
                },
            }
        ],
        "stream": True,
        "truncate": False,
        "shift": False,
        "keep_alive": "30m",
        "options": {"num_ctx": 65536, "num_predict": 8192},
    }


def test_sampling_only_as_the_client_said():
    request = small(temperature=0.5, top_p=0.25, top_k=7, stop_sequences=["END"])
    assert chat(request, num_ctx=None)["options"] == {
        "num_predict": 8192,
        "temperature": 0.5,
        "top_p": 0.25,
        "top_k": 7,
    }


@pytest.mark.parametrize(
    ("keep_alive", "sent"), [("30m", "30m"), ("-1", -1), ("300", 300), ("-1m", "-1m")]
)
def test_keep_alive_with_and_without_a_unit(keep_alive, sent):
    assert chat(small(), keep_alive=keep_alive)["keep_alive"] == sent


@pytest.mark.parametrize(
    ("thinking", "effort", "family", "think"),
    [
        (None, None, "qwen3", False),
        (None, "high", "qwen3", False),
        ({"type": "disabled"}, "high", "qwen3", False),
        ({"type": "adaptive"}, "high", "qwen3", True),
        ({"type": "enabled", "budget_tokens": 5}, None, "qwen3", True),
        ({"type": "adaptive"}, "xhigh", "gptoss", "high"),
        ({"type": "adaptive"}, "low", "gptoss", "low"),
        ({"type": "adaptive"}, "odd", "gptoss", True),
        ({"type": "adaptive"}, None, "gptoss", True),
    ],
)
def test_thinking(thinking, effort, family, think):
    request = small(thinking=thinking, output_config={"effort": effort})
    assert chat(request, can=("thinking",), family=family)["think"] == think
    assert "think" not in chat(request, can=(), family=family)


def test_a_model_without_tools_is_not_offered_any():
    assert "tools" not in chat(small(tools=TOOLS), can=())
    assert "tools" not in chat(small(tools=TOOLS, tool_choice={"type": "none"}))
    assert "tools" not in chat(shapes.web_search_request())


@pytest.mark.parametrize("can", [("tools", "thinking"), ()])
def test_a_forced_call_is_a_format(can):
    forced = small(
        tools=TOOLS, tool_choice={"type": "tool", "name": "Read"}, thinking={"type": "adaptive"}
    )
    sent = chat(forced, can=can)
    assert sent["format"]["properties"]["name"]["enum"] == ["Read"]
    assert ("tools" in sent) == ("tools" in can)
    assert sent.get("think") is (False if can else None)


def test_an_output_format_is_a_format():
    assert chat(shapes.title_request())["format"] == {
        "type": "object",
        "properties": {"title": {"type": "string"}},
        "required": ["title"],
    }


def test_images():
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    request = small({"role": "user", "content": [{"type": "image", "source": source}]})
    assert chat(request, can=("vision",))["messages"] == [
        {"role": "user", "content": "", "images": ["aGk="]}
    ]


def test_an_answer_begun_by_the_client_is_the_last_message():
    sent = chat(small(USER, {"role": "assistant", "content": "{"}))
    assert sent["messages"][-1] == {"role": "assistant", "content": "{"}


class Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


def prefix_kept(whole, part):
    """Say whether the messages of one body begin with those of the other, byte by byte."""
    long = msgspec.json.decode(encode_chat(plan(whole)), type=Messages).messages
    short = msgspec.json.decode(encode_chat(plan(part)), type=Messages).messages
    return [bytes(m) for m in long[: len(short)]] == [bytes(m) for m in short]


def test_claude_codes_next_turn_begins_with_the_bytes_of_the_last():
    first = shapes.main_request()
    call = shapes.Call(id="toolu_1", name="Bash", input={"command": "ls"}, result="a")
    second = shapes.with_billing(shapes.tool_turn(first, [call], thinking="hm"), "e0f")
    third = shapes.user_turn(second, "done", "go on")
    assert prefix_kept(second, first)
    assert prefix_kept(third, second)
    begin = encode_chat(plan(first)).partition(b'"messages":[')
    assert encode_chat(plan(third)).startswith(begin[0])
    assert encode_chat(plan(third)).endswith(begin[2].rpartition(b',"tools":')[2])


@some
@given(conversations())
def test_appending_only_appends(turns):
    for end in range(1, len(turns)):
        if turns[end]["role"] == "assistant":
            assert prefix_kept(body(turns), body(turns[:end]))


@some
@given(conversations())
def test_the_same_request_is_the_same_bytes(turns):
    assert encode_chat(plan(body(turns))) == encode_chat(plan(body(turns)))
