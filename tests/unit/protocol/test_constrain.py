import json

from llmctl.protocol.constrain import answer_schema, forced_tools
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode
from tests.unit.protocol.conversations import body

PATH = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
TOOLS = [{"name": "Read", "input_schema": PATH}, {"name": "Done"}]
FORMAT = {"format": {"type": "json_schema", "schema": {**PATH, "additionalProperties": False}}}


def request(**fields):
    return normalise(
        decode(json.dumps(body([{"role": "user", "content": "x"}], **fields)).encode())
    )


def call(name, parameters):
    return {
        "type": "object",
        "properties": {"name": {"type": "string", "enum": [name]}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def test_nothing_is_forced_by_default():
    free = request(tools=TOOLS)
    assert forced_tools(free) == []
    assert answer_schema(free) is None


def test_one_tool():
    forced = request(tools=TOOLS, tool_choice={"type": "tool", "name": "Read"})
    assert [tool.name for tool in forced_tools(forced)] == ["Read"]
    assert answer_schema(forced) == call("Read", PATH)


def test_any_tool_with_its_own_arguments():
    forced = request(tools=TOOLS, tool_choice={"type": "any"})
    done = call("Done", {"type": "object", "properties": {}})
    assert answer_schema(forced) == {"anyOf": [call("Read", PATH), done]}


def test_a_format():
    assert answer_schema(request(output_config=FORMAT)) == PATH


def test_a_forced_call_wins_over_a_format():
    both = request(tools=TOOLS, tool_choice={"type": "tool", "name": "Read"}, output_config=FORMAT)
    assert answer_schema(both) == call("Read", PATH)
