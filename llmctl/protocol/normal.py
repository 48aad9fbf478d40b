"""The normal form of a request: what the cache key, the token count and every engine go by.

Two requests that mean the same have the same normal form, and appending to a conversation never
changes what its earlier part became, so that an engine can reuse its work on the prefix.
"""

from collections.abc import Iterable, Iterator
from itertools import dropwhile, groupby, takewhile

from llmctl.protocol.anthropic import (
    ContentBlock,
    MessagesRequest,
    OutputConfig,
    TextBlock,
    ThinkingConfig,
    Tool,
    ToolChoice,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from llmctl.protocol.errors import invalid_request
from llmctl.protocol.inline import Plain, blocks, joined, plain
from llmctl.protocol.remembered import Remembered

MAX_TOKENS = 2**31 - 1
BILLING = "x-anthropic-billing-header:"
"""Starts a block of Claude Code's ``system`` that differs between runs, even between requests."""
NO_CONTENT = "(no content)"
"""What Claude Code writes for an answer without text."""


def normalise(request: MessagesRequest, *, stable_prefix: bool = True) -> MessagesRequest:
    """Return the normal form of ``request``; raises ``ApiError`` 400 where nothing is asked.

    In it roles are ``user`` and ``assistant`` in turns and ``content`` is a list of blocks: text,
    inline images, ``tool_use`` and ``tool_result`` (always with a list and a boolean ``is_error``,
    first in their message and in the order of their calls). ``system`` is one string; tools are
    those a model can be given; ``stream`` is gone, ask the original for it.

    Without ``stable_prefix`` the billing block and the order in which tools finished stay in,
    to measure what leaving them out is worth.
    """
    turns = request.messages
    leading = takewhile(_is_system, turns)
    messages = _messages(dropwhile(_is_system, turns), stable_prefix=stable_prefix)
    if not any(message.content for message in messages):
        raise invalid_request("messages: every message is empty")
    tools = _tools(request)
    return MessagesRequest(
        model=request.model,
        messages=messages,
        max_tokens=None if request.max_tokens is None else min(request.max_tokens, MAX_TOKENS),
        system=_system(request, leading, stable_prefix=stable_prefix),
        tools=tools,
        tool_choice=_tool_choice(request.tool_choice, tools),
        temperature=request.temperature,
        top_p=request.top_p,
        top_k=request.top_k,
        stop_sequences=[s for s in request.stop_sequences or () if s] or None,
        thinking=request.thinking and ThinkingConfig(type=request.thinking.type),
        output_config=_output_config(request.output_config),
    )


# -- system, tools, options ----------------------------------------------------------------------


def _is_system(turn: Turn) -> bool:
    return turn.role == "system"


def _system(
    request: MessagesRequest, leading: Iterable[Turn], *, stable_prefix: bool
) -> str | None:
    """Join the system prompt and the system messages before the first user message."""
    system = request.system or []
    texts = [system] if isinstance(system, str) else [block.text for block in system]
    texts += [joined(blocks(turn)) for turn in leading]
    if stable_prefix:
        texts = [_without_billing(text) for text in texts]
    return "\n\n".join(filter(None, texts)) or None


def _without_billing(text: str) -> str:
    return text.partition("\n")[2] if text.startswith(BILLING) else text


def _tools(request: MessagesRequest) -> list[Tool] | None:
    """Keep the tools a model can be given: those whose schema the client sent.

    Server tools have a type and no schema: only Anthropic could run them.
    """
    if request.tool_choice is not None and request.tool_choice.type == "none":
        return None
    return _given(request.tools) if request.tools else None


def _usable(tools: list[Tool]) -> list[Tool] | None:
    usable = [
        Tool(
            name=tool.name,
            description=tool.description or None,
            input_schema=tool.input_schema or {"type": "object", "properties": {}},
        )
        for tool in tools
        if tool.input_schema is not None or tool.type in (None, "custom")
    ]
    return usable or None


_given = Remembered(_usable)


def _tool_choice(choice: ToolChoice | None, tools: list[Tool] | None) -> ToolChoice | None:
    if choice is None or tools is None:
        return None
    if choice.type == "tool" and all(tool.name != choice.name for tool in tools):
        return None
    if choice.type == "auto" and not choice.disable_parallel_tool_use:
        return None
    return choice


def _output_config(config: OutputConfig | None) -> OutputConfig | None:
    if config is None:
        return None
    form = config.format
    usable = form is not None and form.type == "json_schema" and form.schema is not None
    if not usable and config.effort is None:
        return None
    return OutputConfig(effort=config.effort, format=form if usable else None)


# -- messages ------------------------------------------------------------------------------------


def _messages(turns: Iterable[Turn], *, stable_prefix: bool) -> list[Turn]:
    """Merge turns of one side; every message of the user stays, even empty, and separates.

    So does an empty answer, except at the end, where it would be one to continue.
    """
    messages: list[Turn] = []
    calls: dict[str, int] = {}
    for by_assistant, run in groupby(turns, key=lambda turn: turn.role == "assistant"):
        if by_assistant:
            answer = list(_answer(run))
            calls = _places(answer)
            messages.append(Turn(role="assistant", content=answer))
        else:
            said = _Said(calls)
            for turn in run:
                said.add(turn)
            messages.append(Turn(role="user", content=said.content(in_order=stable_prefix)))
    if messages and messages[-1].role == "assistant" and not messages[-1].content:
        messages.pop()
    return messages


def _answer(run: Iterable[Turn]) -> Iterator[ContentBlock]:
    for turn in run:
        for block in blocks(turn):
            if isinstance(block, ToolUseBlock):
                yield block
            elif not (isinstance(block, TextBlock) and block.text == NO_CONTENT):
                yield from plain(block)


def _places(answer: Iterable[ContentBlock]) -> dict[str, int]:
    """Return where each call stands among the calls of an answer, by id."""
    places: dict[str, int] = {}
    for block in answer:
        if isinstance(block, ToolUseBlock):
            places.setdefault(block.id, len(places))
    return places


class _Said:
    """What comes between two answers: results first, then system reminders, then the user.

    Reminders go before the user's words because they are much the same from session to session,
    so a longer prefix is shared, and because a small model best follows what it read last.
    """

    def __init__(self, calls: dict[str, int]) -> None:
        self._calls = calls
        self._results: list[ToolResultBlock] = []
        self._reminders: list[ContentBlock] = []
        self._words: list[ContentBlock] = []

    def add(self, turn: Turn) -> None:
        if _is_system(turn):
            text = joined(blocks(turn))
            if text:
                self._reminders.append(TextBlock(text=_reminder(text)))
            return
        for block in blocks(turn):
            if not isinstance(block, ToolResultBlock):
                self._words.extend(plain(block))
            elif block.tool_use_id in self._calls:
                self._results.append(_result(block))
            else:
                self._words.extend(_stray(block))

    def content(self, *, in_order: bool) -> list[ContentBlock]:
        if in_order:
            self._results.sort(key=lambda result: self._calls[result.tool_use_id])
        return [*self._results, *self._reminders, *self._words]


def _reminder(text: str) -> str:
    if text.startswith("<system-reminder>"):
        return text
    return f"<system-reminder>\n{text}\n</system-reminder>"


def _stray(block: ToolResultBlock) -> Iterator[Plain]:
    """Keep a result whose call is gone from the history; templates would refuse it as one."""
    failed = ", which failed" if block.is_error else ""
    yield TextBlock(text=f"[result of an earlier tool call{failed}]")
    yield from _result_content(block)


def _result(block: ToolResultBlock) -> ToolResultBlock:
    return ToolResultBlock(
        tool_use_id=block.tool_use_id,
        content=[*_result_content(block)],
        is_error=bool(block.is_error),
    )


def _result_content(block: ToolResultBlock) -> Iterator[Plain]:
    content = block.content or []
    parts = [TextBlock(text=content)] if isinstance(content, str) else content
    for part in parts:
        yield from plain(part)
