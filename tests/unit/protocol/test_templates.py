"""The expected prompts are what Ollama's own renderer and templates wrote for the same requests."""

import json

import pytest
from hypothesis import given

from llmctl.protocol.dialogue import Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode_for_count
from llmctl.protocol.templates import (
    CHATML,
    LLAMA3,
    QWEN3_CODER,
    QWEN3_CODER_TEXT,
    QWEN_OLLAMA,
    TEXT,
    go_json,
    markup_of,
    segments,
    system_segment,
    tools_segment,
)
from tests.unit.protocol.conversations import conversations, some

READ = {
    "name": "Read",
    "description": "Read a file.",
    "input_schema": {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where <it> is"},
            "lines": {"type": "array", "items": {"type": "integer", "minimum": 1}},
            "mode": {"enum": ["a", "b & c"]},
            "options": {
                "type": "object",
                "properties": {"deep": {"type": "boolean"}},
                "required": ["deep"],
            },
        },
        "required": ["path"],
    },
}
STOP = {"name": "Stop", "input_schema": {"type": "object"}}
ASK = {"role": "user", "content": "Read two files"}
CALLS = {
    "role": "assistant",
    "content": [
        {"type": "text", "text": "Sure."},
        {
            "type": "tool_use",
            "id": "1",
            "name": "Read",
            "input": {"path": "/a", "lines": [1, 2], "options": {"deep": True}, "n": 5},
        },
        {"type": "tool_use", "id": "2", "name": "Stop", "input": {}},
    ],
}
RESULTS = {
    "role": "user",
    "content": [
        {"type": "tool_result", "tool_use_id": "1", "content": "A"},
        {"type": "tool_result", "tool_use_id": "2", "content": "B", "is_error": True},
        {"type": "text", "text": "And now?"},
    ],
}

QWEN3_CODER_TOOLS = """\
<function>
<name>Read</name>
<description>Read a file.</description>
<parameters>
<parameter>
<name>path</name>
<type>string</type>
<description>Where <it> is</description>
</parameter>
<parameter>
<name>lines</name>
<type>array</type>
<items>{"type":"integer"}</items>
</parameter>
<parameter>
<name>mode</name>
<type>string</type>
<enum>["a","b \\u0026 c"]</enum>
</parameter>
<parameter>
<name>options</name>
<type>object</type>
<description>(required: deep)</description>
<properties>{"deep":{"type":"boolean"}}</properties>
</parameter>
<required>["path"]</required>
</parameters>
</function>
<function>
<name>Stop</name>
<parameters>
</parameters>
</function>"""

QWEN3_CODER_MESSAGES = """\
<|im_start|>user
Read two files<|im_end|>
<|im_start|>assistant
Sure.

<tool_call>
<function=Read>
<parameter=path>
/a
</parameter>
<parameter=lines>
[1,2]
</parameter>
<parameter=options>
{"deep":true}
</parameter>
<parameter=n>
5
</parameter>
</function>
</tool_call>
<tool_call>
<function=Stop>
</function>
</tool_call><|im_end|>
<|im_start|>user
<tool_response>
A
</tool_response>
<tool_response>
Error: B
</tool_response><|im_end|>
<|im_start|>user
And now?<|im_end|>
<|im_start|>assistant
"""

QWEN25_MESSAGES = """\
<|im_start|>user
Read two files<|im_end|>
<|im_start|>assistant
Sure.<|im_end|>
<|im_start|>user
<tool_response>
A
</tool_response><|im_end|>
<|im_start|>user
<tool_response>
Error: B
</tool_response><|im_end|>
<|im_start|>user
And now?<|im_end|>
<|im_start|>assistant
"""


def said(*turns, tools=(READ, STOP)) -> list[Entry]:
    body = {"model": "m", "messages": list(turns), "tools": list(tools)}
    model = EngineModel(name="m", digest="d", capabilities=frozenset({"tools"}))
    request = normalise(decode_for_count(json.dumps(body).encode()))
    return entries(ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1))


def prompt(markup, *turns) -> str:
    return "".join(segments(said(*turns), markup))


def test_tools_of_qwen3_coder() -> None:
    tools = normalise(
        decode_for_count(
            json.dumps({"model": "m", "messages": [ASK], "tools": [READ, STOP]}).encode()
        )
    ).tools
    assert tools_segment(tools or [], QWEN3_CODER) == QWEN3_CODER_TOOLS


def test_messages_of_qwen3_coder() -> None:
    assert prompt(QWEN3_CODER, ASK, CALLS, RESULTS) == QWEN3_CODER_MESSAGES


def test_messages_of_qwen25_where_text_hides_calls() -> None:
    assert prompt(QWEN_OLLAMA, ASK, CALLS, RESULTS) == QWEN25_MESSAGES


def test_calls_without_text() -> None:
    calls = {"role": "assistant", "content": CALLS["content"][2:]}
    assert prompt(QWEN_OLLAMA, ASK, calls, RESULTS).startswith(
        "<|im_start|>user\nRead two files<|im_end|>\n"
        '<|im_start|>assistant\n\n<tool_call>\n{"name": "Stop", "arguments": {}}\n</tool_call>'
        "<|im_end|>\n"
    )


def test_messages_of_llama3() -> None:
    assert prompt(LLAMA3, ASK) == (
        "<|start_header_id|>user<|end_header_id|>\n\nRead two files<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n"
    )


def test_an_answer_at_the_end_is_left_open() -> None:
    answer = {"role": "assistant", "content": "It is"}
    assert prompt(CHATML, ASK, answer).endswith("<|im_start|>assistant\nIt is")


def test_results_at_the_end_are_closed_before_the_answer_begins() -> None:
    results = {"role": "user", "content": RESULTS["content"][:2]}
    assert prompt(QWEN3_CODER, ASK, CALLS, results).endswith(
        "Error: B\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_result_with_a_placeholder_in_it_is_itself() -> None:
    results = {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "2", "content": "{text} {role}"}],
    }
    assert "\n{text} {role}\n" in prompt(QWEN3_CODER, ASK, CALLS, results)


def test_system() -> None:
    assert system_segment("Be {brief}.", CHATML) == "<|im_start|>system\nBe {brief}."


@pytest.mark.parametrize("markup", [QWEN3_CODER, QWEN3_CODER_TEXT])
def test_tools_without_a_system_message_bring_the_renderers_own(markup) -> None:
    own = system_segment("", markup)
    assert own.startswith(f"{markup.begin.format(role='system')}You are Qwen")
    assert own.endswith("solve tasks.")
    assert system_segment("Be brief.", markup) == f"{markup.begin.format(role='system')}Be brief."


@pytest.mark.parametrize(
    ("fields", "special", "expected"),
    [
        ({"renderer": "qwen3-coder"}, {"<|im_start|>"}, QWEN3_CODER),
        ({"renderer": "qwen3-coder"}, set(), QWEN3_CODER_TEXT),
        ({"family": "qwen2"}, {"<|im_start|>"}, QWEN_OLLAMA),
        ({"family": "qwen2", "renderer": "qwen3-vl-instruct"}, {"<|im_start|>"}, CHATML),
        ({"family": "llama"}, {"<|im_start|>"}, CHATML),
        ({"family": "llama"}, {"<|start_header_id|>"}, LLAMA3),
        ({"family": "qwen2"}, set(), TEXT),
        ({}, {"<s>"}, TEXT),
    ],
)
def test_markup_is_known_by_renderer_and_special_tokens(fields, special, expected) -> None:
    model = EngineModel(name="m", digest="d", **fields)
    assert markup_of(model, frozenset(special)) is expected


def test_json_as_go_writes_it() -> None:
    assert go_json({"b": "<&>é", "a": [1, True, None]}) == (
        '{"a":[1,true,null],"b":"\\u003c\\u0026\\u003eé"}'
    )


@some
@given(conversations())
def test_earlier_segments_stay_the_same_as_a_conversation_grows(turns) -> None:
    """Which is why their counts can be kept."""
    now = list(segments(said(*turns), QWEN3_CODER))
    later = list(segments(said(*turns, {"role": "assistant", "content": "Yes."}, ASK), QWEN3_CODER))
    if turns[-1]["role"] == "user":
        assert later[: len(now) - 1] == now[:-1]
