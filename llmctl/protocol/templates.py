"""What chat templates write around a conversation, as far as it matters for counting.

Text comes in segments that begin at special tokens or line breaks, so that engines tokenize one
apart from the next and its count stays good while a conversation grows. Fixed instructions of a
template are given as a number of tokens. What is not known is left to ``calibration``.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.protocol.anthropic import Tool
from llmctl.protocol.dialogue import Call, Entry
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.toolschema import Schema, steady_parameters

_encode = msgspec.json.Encoder(order="sorted").encode


class Markup(Struct, frozen=True, kw_only=True):
    """One template."""

    exact: bool = False
    """Whether this is all that the engine writes, to within a few tokens."""
    begin: str = ""
    """Before a message; ``{role}`` is its role."""
    end: str = ""
    default_system: str = ""
    """Written as the system message where there are tools and none is given."""
    result_role: str = "user"
    result: str = "{text}"
    """A tool result within its message."""
    results_share: bool = False
    """Whether results in a row are one message."""
    tool: Callable[[Tool], str]
    tool_instructions: int = 0
    """Tokens that are written beside the tools."""
    call: Callable[[Call], str]
    before_calls: str = ""
    """Between the text of an answer and its calls."""
    text_hides_calls: bool = False
    """Whether calls are left out of an answer that also has text."""


def markup_of(model: EngineModel, special_tokens: frozenset[str]) -> Markup:
    """Return what is known of a model's template, by its renderer and special tokens.

    Without special tokens, that is without a vocabulary, there are no markers: the characters of
    one say nothing about its tokens.
    """
    if model.renderer == "qwen3-coder":
        return QWEN3_CODER if special_tokens else QWEN3_CODER_TEXT
    if "<|im_start|>" in special_tokens:
        by_ollama = model.family.startswith(("qwen2", "qwen3")) and not model.renderer
        return QWEN_OLLAMA if by_ollama else CHATML
    return LLAMA3 if "<|start_header_id|>" in special_tokens else TEXT


def system_segment(text: str, markup: Markup) -> str:
    """Return the beginning of the system message, up to where tools are written."""
    return markup.begin.format(role="system") + (text or markup.default_system)


def tools_segment(tools: list[Tool], markup: Markup) -> str:
    """Return the tool definitions without the instructions around them."""
    return "\n".join(markup.tool(tool) for tool in tools)


def segments(said: list[Entry], markup: Markup) -> Iterator[str]:
    """Yield what follows the system message, the beginning of the answer included."""
    last = len(said) - 1
    for index, entry in enumerate(said):
        if entry.role == "tool":
            alone = not markup.results_share
            if alone or index == 0 or said[index - 1].role != "tool":
                yield markup.begin.format(role=markup.result_role).removesuffix("\n")
            yield "\n" + markup.result.replace("{text}", entry.text, 1)
            if alone or index == last or said[index + 1].role != "tool":
                yield markup.end
        else:
            # an answer at the end is one to continue
            open_end = index == last and entry.role == "assistant"
            yield _message(entry, markup, end="" if open_end else markup.end)
    if not said or said[last].role != "assistant":
        yield markup.begin.format(role="assistant")


def _message(entry: Entry, markup: Markup, *, end: str) -> str:
    calls = () if entry.text and markup.text_hides_calls else entry.calls
    begin = markup.begin.format(role=entry.role)
    between = markup.before_calls if entry.text and calls else ""
    return "".join((begin, entry.text, between, *map(markup.call, calls), end))


def go_json(value: Any) -> str:
    """Return compact JSON as Ollama writes it: keys sorted, ``<``, ``>`` and ``&`` escaped."""
    written = _encode(value)
    for char in b"<>&":
        written = written.replace(b"%c" % char, b"\\u%04x" % char)
    return written.decode()


# -- JSON templates ------------------------------------------------------------------------------


def _json_tool(tool: Tool) -> str:
    function = {
        "name": tool.name,
        "description": tool.description or "",
        "parameters": steady_parameters(tool.input_schema),
    }
    return f'{{"type": "function", "function": {go_json(function)}}}'


def _json_call(call: Call) -> str:
    return f'\n{{"name": "{call.name}", "arguments": {go_json(call.arguments)}}}'


def _tagged_call(call: Call) -> str:
    return f"\n<tool_call>{_json_call(call)}\n</tool_call>"


TEXT = Markup(tool=_json_tool, call=_json_call)
"""Nothing known: the text alone."""

CHATML = Markup(
    begin="<|im_start|>{role}\n",
    end="<|im_end|>\n",
    result="<tool_response>\n{text}\n</tool_response>",
    tool=_json_tool,
    tool_instructions=112,
    call=_tagged_call,
)

QWEN_OLLAMA = msgspec.structs.replace(CHATML, text_hides_calls=True)
"""qwen2, qwen2.5 and their like from Ollama's library.

Not exact: some versions of Ollama write tools as JSON, others the way Go prints a struct, which is
6 % shorter for a whole prompt of Claude Code's.
"""

LLAMA3 = Markup(
    begin="<|start_header_id|>{role}<|end_header_id|>\n\n",
    end="<|eot_id|>",
    result_role="ipython",
    tool=_json_tool,
    tool_instructions=98,
    call=_json_call,
)

# -- Ollama's renderer for Qwen3-Coder (model/renderers/qwen3coder.go) ----------------------------


def _xml_tool(tool: Tool) -> str:
    parameters = steady_parameters(tool.input_schema)
    described = f"\n<description>{tool.description}</description>" if tool.description else ""
    properties = "".join(map(_xml_parameter, parameters["properties"].items()))
    return (
        f"<function>\n<name>{tool.name}</name>{described}\n<parameters>{properties}"
        f"{_xml_keys(parameters, ('required',))}\n</parameters>\n</function>"
    )


def _xml_parameter(item: tuple[str, Schema]) -> str:
    name, schema = item
    return (
        f"\n<parameter>\n<name>{name}</name>"
        f"{_xml_keys(schema, ('type', 'description', *_KEPT))}\n</parameter>"
    )


_KEPT = ("anyOf", "items", "enum", "properties", "required")
"""What Ollama keeps of a parameter beside its type and description."""


def _xml_keys(schema: Schema, keys: tuple[str, ...]) -> str:
    return "".join(f"\n<{key}>{_xml_value(schema[key])}</{key}>" for key in keys if schema.get(key))


def _xml_value(value: Any) -> str:
    return value if isinstance(value, str) else go_json(value)


def _xml_call(call: Call) -> str:
    arguments = "".join(
        f"\n<parameter={name}>\n{_xml_value(value)}\n</parameter>"
        for name, value in call.arguments.items()
    )
    return f"\n<tool_call>\n<function={call.name}>{arguments}\n</function>\n</tool_call>"


_QWEN3_CODER_SYSTEM = (
    "You are Qwen, a helpful AI assistant that can interact with a computer to solve tasks."
)

QWEN3_CODER = msgspec.structs.replace(
    CHATML,
    exact=True,
    default_system=_QWEN3_CODER_SYSTEM,
    results_share=True,
    tool=_xml_tool,
    tool_instructions=186,
    call=_xml_call,
    before_calls="\n",
)

QWEN3_CODER_TEXT = msgspec.structs.replace(
    TEXT, default_system=_QWEN3_CODER_SYSTEM, tool=_xml_tool, call=_xml_call
)
"""The same without a vocabulary."""
