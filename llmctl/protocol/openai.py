"""The request to ``POST /v1/chat/completions`` of llama.cpp's server, vLLM and their like.

Always streamed, with usage at the end. ``stop`` is never sent: these servers do not say which stop
sequence they met, so the composer matches them.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from llmctl.protocol.anthropic import Base64Source, MessagesRequest, Tool
from llmctl.protocol.constrain import answer_schema, forced_tools
from llmctl.protocol.dialogue import Call, Entry, entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.toolschema import Schema, parameters, written

_encode = msgspec.json.Encoder().encode

Part = dict[str, Any]


class _CalledFunction(Struct, frozen=True, kw_only=True):
    name: str
    arguments: str


class _ToolCall(Struct, frozen=True, kw_only=True):
    id: str
    type: str = "function"
    function: _CalledFunction


class _Message(Struct, frozen=True, kw_only=True):
    role: str
    content: str | list[Part]
    tool_calls: list[_ToolCall] | UnsetType = UNSET
    tool_call_id: str | UnsetType = UNSET


class _Function(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    description: str = ""
    parameters: msgspec.Raw


class _Tool(Struct, frozen=True, kw_only=True):
    type: str = "function"
    function: _Function


class _StreamOptions(Struct, frozen=True):
    include_usage: bool = True


class _Chat(Struct, frozen=True, kw_only=True):
    model: str
    messages: list[_Message]
    tools: list[_Tool] | UnsetType = UNSET
    tool_choice: Literal["required"] | UnsetType = UNSET
    parallel_tool_calls: bool | UnsetType = UNSET
    response_format: Schema | UnsetType = UNSET
    max_tokens: int
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    chat_template_kwargs: dict[str, bool] | UnsetType = UNSET
    continue_final_message: bool | UnsetType = UNSET
    add_generation_prompt: bool | UnsetType = UNSET
    stream: bool = True
    stream_options: _StreamOptions = _StreamOptions()


def encode_chat(plan: ChatPlan) -> bytes:
    """Return the JSON body for a plan; the same plan always gives the same bytes.

    A forced tool call is ``tool_choice: required`` with only the tools in question offered, since
    llama.cpp takes a named choice for ``auto``. Where the model's template has no tools, llama.cpp
    ignores them all without a word, so the call is then forced by ``response_format``.
    """
    request = plan.request
    offered = _offered(request, plan.model)
    required = bool(offered and forced_tools(request))
    schema = None if required else answer_schema(request)
    messages = list(_messages(entries(plan)))
    continued = True if messages[-1].role == "assistant" else UNSET
    return _encode(
        _Chat(
            model=plan.model.name,
            messages=messages,
            tools=[_tool(tool) for tool in offered] or UNSET,
            tool_choice="required" if required else UNSET,
            parallel_tool_calls=_parallel(request) if offered else UNSET,
            response_format=UNSET if schema is None else _response_format(schema),
            max_tokens=plan.max_tokens,
            temperature=_given(request.temperature),
            top_p=_given(request.top_p),
            top_k=_given(request.top_k),
            chat_template_kwargs=_template_kwargs(request, plan.model),
            # vLLM needs both to go on with an answer; llama.cpp does so by itself
            continue_final_message=continued,
            add_generation_prompt=UNSET if continued is UNSET else False,
        )
    )


def _given(value: Any) -> Any:
    return UNSET if value is None else value


def _offered(request: MessagesRequest, model: EngineModel) -> list[Tool]:
    if "tools" not in model.capabilities:
        return []
    return forced_tools(request) or request.tools or []


def _parallel(request: MessagesRequest) -> bool:
    """Say whether several calls may come at once; said always, as servers' defaults differ."""
    choice = request.tool_choice
    return choice is None or not choice.disable_parallel_tool_use


def _response_format(schema: Schema) -> Schema:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def _template_kwargs(request: MessagesRequest, model: EngineModel) -> dict[str, bool] | UnsetType:
    if "thinking" not in model.capabilities:
        return UNSET
    asked = request.thinking is not None and request.thinking.type != "disabled"
    return {"enable_thinking": asked and not forced_tools(request)}


def _messages(said: Iterable[Entry]) -> Iterator[_Message]:
    """Yield the messages; images of tool results, which no tool message can hold, come after them.

    Tool messages must follow their calls without a gap, so the images wait for the last of them.
    """
    waiting: list[Part] = []
    for entry in said:
        images = [_image(source) for source in entry.images]
        if entry.role == "tool":
            yield _message(entry, [])
            waiting += images
            continue
        if waiting and entry.role == "assistant":
            yield _Message(role="user", content=waiting)
            waiting = []
        yield _message(entry, [*waiting, *images])
        waiting = []
    if waiting:
        yield _Message(role="user", content=waiting)


def _message(entry: Entry, images: list[Part]) -> _Message:
    text: list[Part] = [{"type": "text", "text": entry.text}] if entry.text else []
    return _Message(
        role=entry.role,
        content=[*text, *images] if images else entry.text,
        tool_calls=[_tool_call(call) for call in entry.calls] or UNSET,
        tool_call_id=UNSET if entry.call is None else entry.call.id,
    )


def _image(source: Base64Source) -> Part:
    url = f"data:{source.media_type};base64,{source.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _tool_call(call: Call) -> _ToolCall:
    arguments = _encode(call.arguments).decode()
    return _ToolCall(id=call.id, function=_CalledFunction(name=call.name, arguments=arguments))


def _tool(tool: Tool) -> _Tool:
    return _Tool(
        function=_Function(
            name=tool.name,
            description=tool.description or "",
            parameters=written(parameters, tool.input_schema),
        )
    )
