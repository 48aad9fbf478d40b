"""JSON Schemas that force an answer into a form: a tool call, or the client's own format.

An engine without a tool choice of its own is forced by such a schema; the answer is then JSON
text, ``{"name": …, "arguments": …}`` for a tool call, which the composer reads back.
"""

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.toolschema import Schema, parameters, simplified


def forced_tools(request: MessagesRequest) -> list[Tool]:
    """Return the tools of which the answer must call one; none where it may do as it likes."""
    choice = request.tool_choice
    if choice is None or choice.type not in ("any", "tool"):
        return []
    tools = request.tools or []
    return [tool for tool in tools if choice.type == "any" or tool.name == choice.name]


def answer_schema(request: MessagesRequest) -> Schema | None:
    """Return the schema the whole answer must follow, or None.

    A forced call goes before a format: its answer is the call, not text.
    """
    forced = forced_tools(request)
    if forced:
        calls = [_call(tool) for tool in forced]
        return calls[0] if len(calls) == 1 else {"anyOf": calls}
    config = request.output_config
    if config is None or config.format is None:
        return None
    return simplified(config.format.schema)


def _call(tool: Tool) -> Schema:
    name: Schema = {"type": "string", "enum": [tool.name]}
    return {
        "type": "object",
        "properties": {"name": name, "arguments": parameters(tool.input_schema)},
        "required": ["name", "arguments"],
        # Without this a model may go on with keys of its own (seen on Ollama).
        "additionalProperties": False,
    }
