import json

import msgspec
import pytest
from hypothesis import given

from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.normal import normalise
from llmctl.protocol.openai import encode_chat
from llmctl.protocol.request import decode
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import body, conversations, some

USER = {"role": "user", "content": "x"}
TOOLS = [
    {"name": "Read", "description": "Read it", "input_schema": {"type": "object"}},
    {"name": "Write", "input_schema": {"type": "object"}},
]
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
PNG_PART = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def plan(request, *, can=("completion", "tools"), max_tokens=8192):
    return ChatPlan(
        request=normalise(decode(shapes.encode(request))),
        model=EngineModel(name="m.gguf", digest="d", capabilities=frozenset(can)),
        num_ctx=None,
        max_tokens=max_tokens,
    )


def chat(request, **options):
    return json.loads(encode_chat(plan(request, **options)))


def small(*turns, **fields):
    return body(list(turns) or [USER], **fields)


def test_the_whole_body():
    calls = [
        shapes.Call(id="toolu_1", name="Read", input={"path": "a"}, result="1"),
        shapes.Call(id="toolu_2", name="Read", input={}, result="2"),
    ]
    request = shapes.tool_turn(small(tools=TOOLS[:1], system="s"), calls, finished=[1, 0])
    assert chat(request) == {
        "model": "m.gguf",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "x"},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "call00001",
                        "type": "function",
                        "function": {"name": "Read", "arguments": '{"path":"a"}'},
                    },
                    {
                        "id": "call00002",
                        "type": "function",
                        "function": {"name": "Read", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "content": "1", "tool_call_id": "call00001"},
            {"role": "tool", "content": "2", "tool_call_id": "call00002"},
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
        "parallel_tool_calls": True,
        "max_tokens": 8192,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_sampling_only_as_the_client_said():
    sent = chat(small(temperature=0.5, top_p=0.25, top_k=7, stop_sequences=["END"]))
    assert (sent["temperature"], sent["top_p"], sent["top_k"]) == (0.5, 0.25, 7)
    assert "stop" not in sent
    assert not chat(small()).keys() & {"temperature", "top_p", "top_k", "tools", "tool_choice"}


@pytest.mark.parametrize(
    ("choice", "sent", "offered"),
    [
        ({"type": "auto"}, None, ["Read", "Write"]),
        ({"type": "any"}, "required", ["Read", "Write"]),
        ({"type": "tool", "name": "Write"}, "required", ["Write"]),
        ({"type": "none"}, None, []),
    ],
)
def test_tool_choice(choice, sent, offered):
    found = chat(small(tools=TOOLS, tool_choice=choice))
    assert found.get("tool_choice") == sent
    assert [tool["function"]["name"] for tool in found.get("tools", [])] == offered
    assert "response_format" not in found


def test_one_tool_at_a_time():
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    assert chat(small(tools=TOOLS, tool_choice=choice))["parallel_tool_calls"] is False


def test_a_forced_call_is_not_held_to_a_format():
    config = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    forced = small(tools=TOOLS, tool_choice={"type": "any"}, output_config=config)
    assert "response_format" not in chat(forced)
    assert "response_format" in chat(small(tools=TOOLS, output_config=config))


def test_a_model_without_tools_is_forced_by_a_format():
    forced = small(tools=TOOLS, tool_choice={"type": "tool", "name": "Write"})
    sent = chat(forced, can=())
    assert not sent.keys() & {"tools", "tool_choice", "parallel_tool_calls"}
    schema = sent["response_format"]["json_schema"]["schema"]
    assert schema["properties"]["name"]["enum"] == ["Write"]


@pytest.mark.parametrize("can", [("tools",), ()])
def test_an_output_format(can):
    assert chat(shapes.title_request(), can=can)["response_format"] == {
        "type": "json_schema",
        "json_schema": {
            "name": "answer",
            "schema": {
                "type": "object",
                "properties": {"title": {"type": "string"}},
                "required": ["title"],
            },
        },
    }


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, False),
        ({"thinking": {"type": "disabled"}}, False),
        ({"thinking": {"type": "adaptive"}}, True),
        ({"thinking": {"type": "adaptive"}, "tools": TOOLS, "tool_choice": {"type": "any"}}, False),
    ],
)
def test_thinking(fields, asked):
    sent = chat(small(**fields), can=("thinking", "tools"))
    assert sent["chat_template_kwargs"] == {"enable_thinking": asked}
    assert "chat_template_kwargs" not in chat(small(**fields))


def test_images_beside_text():
    sent = chat(
        small({"role": "user", "content": [PNG, {"type": "text", "text": "look"}]}), can=("vision",)
    )
    [message] = sent["messages"]
    assert message["content"] == [{"type": "text", "text": "look"}, PNG_PART]


def image_results(*after):
    calls = [
        shapes.Call(id=name, name="Read", input={}, result=[PNG, {"type": "text", "text": name}])
        for name in "ab"
    ]
    request = shapes.tool_turn(small(), calls)
    request["messages"] += after
    return chat(request, can=("tools", "vision"))["messages"][2:]


def test_images_of_results_follow_the_last_result():
    first, second, images = image_results()
    assert [first["content"], second["content"]] == ["a", "b"]
    assert images == {"role": "user", "content": [PNG_PART, PNG_PART]}


def test_images_of_results_go_with_the_users_next_words():
    *_, words = image_results({"role": "user", "content": "so?"})
    assert words["content"] == [{"type": "text", "text": "so?"}, PNG_PART, PNG_PART]


def test_images_of_results_come_before_the_answer_to_them():
    *_, images, answer = image_results({"role": "assistant", "content": "I see"})
    assert images["role"] == "user"
    assert answer == {"role": "assistant", "content": "I see"}


def test_an_answer_begun_by_the_client_is_continued():
    sent = chat(small(USER, {"role": "assistant", "content": "{"}))
    assert sent["messages"][-1] == {"role": "assistant", "content": "{"}
    assert sent["continue_final_message"] is True
    assert sent["add_generation_prompt"] is False
    assert "add_generation_prompt" not in chat(small())


class Messages(msgspec.Struct):
    messages: list[msgspec.Raw]


def messages(request, can):
    found = msgspec.json.decode(encode_chat(plan(request, can=can)), type=Messages)
    return [bytes(message) for message in found.messages]


@some
@given(conversations())
def test_appending_only_appends(turns):
    for can in (("tools", "vision"), ()):
        whole = messages(body(turns), can)
        for end in range(1, len(turns)):
            if turns[end]["role"] == "assistant":
                part = messages(body(turns[:end]), can)
                assert whole[: len(part)] == part


@some
@given(conversations())
def test_the_same_request_is_the_same_bytes(turns):
    assert encode_chat(plan(body(turns))) == encode_chat(plan(body(turns)))
