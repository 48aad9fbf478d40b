"""The request to Ollama's native ``POST /api/chat``.

``truncate`` and ``shift`` are always false: with Ollama's defaults a prompt that is too long loses
its beginning without a word. ``stop`` is never sent, because Ollama does not say which stop
sequence it met; the composer matches them.
"""

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from llmctl.protocol.anthropic import MessagesRequest, Tool
from llmctl.protocol.constrain import answer_schema, forced_tools
from llmctl.protocol.dialogue import Call, Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.remembered import Remembered
from llmctl.protocol.toolschema import Schema, steady_parameters, written

_encode = msgspec.json.Encoder().encode

_LEVELS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
_LEVELLED_FAMILIES = frozenset({"gptoss", "gpt-oss"})
"""Families that know degrees of thinking; the others take a level for ``true``."""


class _CalledFunction(Struct, frozen=True, kw_only=True):
    index: int
    name: str
    arguments: dict[str, Any]


class _ToolCall(Struct, frozen=True, kw_only=True):
    id: str
    function: _CalledFunction


class _Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    role: str
    content: str
    images: tuple[str, ...] = ()
    tool_calls: tuple[_ToolCall, ...] = ()
    tool_name: str = ""
    tool_call_id: str = ""


class _Function(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str = ""
    parameters: msgspec.Raw


class _Tool(Struct, frozen=True, kw_only=True):
    type: str
    function: _Function


class _Chat(Struct, frozen=True, kw_only=True):
    model: str
    messages: list[_Message]
    tools: msgspec.Raw | UnsetType = UNSET
    think: bool | str | UnsetType = UNSET
    format: Schema | UnsetType = UNSET
    stream: bool = True
    truncate: bool = False
    shift: bool = False
    keep_alive: str | int
    options: dict[str, float]


def encode_chat(plan: ChatPlan) -> bytes:
    """Return the JSON body for a plan; the same plan always gives the same bytes.

    Tools and thinking are sent only to models that have the capability, since Ollama refuses them
    otherwise. A forced tool call becomes a ``format``: Ollama has no tool choice.
    """
    request, model = plan.request, plan.model
    offered = request.tools if "tools" in model.capabilities else None
    return _encode(
        _Chat(
            model=model.name,
            messages=[_message(entry) for entry in entries(plan)],
            tools=_tools(offered) if offered else UNSET,
            think=_think(request, model),
            format=answer_schema(request) or UNSET,
            keep_alive=_keep_alive(plan.keep_alive),
            options=_options(plan),
        )
    )


def _message(entry: Entry) -> _Message:
    answered = entry.call
    return _Message(
        role=entry.role,
        content=entry.text,
        images=tuple(source.data for source in entry.images),
        tool_calls=tuple(_tool_call(index, call) for index, call in enumerate(entry.calls)),
        tool_name="" if answered is None else answered.name,
        tool_call_id="" if answered is None else answered.id,
    )


def _tool_call(index: int, call: Call) -> _ToolCall:
    function = _CalledFunction(index=index, name=call.name, arguments=call.arguments)
    return _ToolCall(id=call.id, function=function)


def _tool(tool: Tool) -> _Tool:
    return _Tool(
        type="function",
        function=_Function(
            name=tool.name,
            description=tool.description or "",
            parameters=written(steady_parameters, tool.input_schema),
        ),
    )


def _written(tools: list[Tool]) -> msgspec.Raw:
    return msgspec.Raw(_encode([_tool(tool) for tool in tools]))


_tools = Remembered(_written)


def _think(request: MessagesRequest, model: EngineModel) -> bool | str | UnsetType:
    """Say whether to think: unset, a thinking model would, and any other would refuse ``true``."""
    if "thinking" not in model.capabilities:
        return UNSET
    thinking = request.thinking
    if thinking is None or thinking.type == "disabled" or forced_tools(request):
        return False
    effort = request.output_config.effort if request.output_config else None
    if model.family in _LEVELLED_FAMILIES and effort in _LEVELS:
        return _LEVELS[effort]
    return True


def _keep_alive(text: str) -> str | int:
    """Return seconds as a number: Ollama takes strings only with a unit (``30m``)."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def _options(plan: ChatPlan) -> dict[str, float]:
    """Return the options; ``num_ctx`` must never change, or Ollama loads the model again."""
    request = plan.request
    wanted: dict[str, float | None] = {
        "num_ctx": plan.num_ctx,
        "num_predict": plan.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
    }
    return {name: value for name, value in wanted.items() if value is not None}
