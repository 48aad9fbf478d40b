"""A request in normal form as the messages every engine understands, before its wire format.

System, user, assistant and tool messages, as chat templates know them. Call ids are numbered by
position, so that the same conversation is the same prompt whatever ids its clients were given.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec
from msgspec import Struct

from llmctl.protocol.anthropic import (
    Base64Source,
    ContentBlock,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from llmctl.protocol.engine import ChatPlan
from llmctl.protocol.inline import blocks, image_note, joined

_encode = msgspec.json.Encoder().encode


class Call(Struct, frozen=True, kw_only=True):
    """A tool call the model made earlier."""

    id: str
    name: str
    arguments: dict[str, Any]


class Entry(Struct, frozen=True, kw_only=True):
    """One message."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    images: tuple[Base64Source, ...] = ()
    calls: tuple[Call, ...] = ()
    """Of an assistant message."""
    call: Call | None = None
    """The call a tool message answers."""


def entries(plan: ChatPlan) -> list[Entry]:
    """Return the messages of a plan.

    Each tool result is a message of its own, and what the user said beside results follows them.
    A model without ``tools`` reads calls and results as text, one without ``vision`` a note in
    place of every image.
    """
    writer = _Writer(plan.model.capabilities)
    system = plan.request.system
    head = [Entry(role="system", text=system)] if isinstance(system, str) else []
    return head + [entry for turn in numbered(plan.request.messages) for entry in writer.turn(turn)]


def numbered(turns: Iterable[Turn]) -> list[Turn]:
    """Return ``turns`` with call ids named by order of appearance: ``call00001``, ``call00002``.

    Nine letters and digits, because some chat templates (Mistral's) refuse anything else.
    """
    names: dict[str, str] = {}
    total = 0
    renamed: list[Turn] = []
    for turn in turns:
        content: list[ContentBlock] = []
        for block in blocks(turn):
            if isinstance(block, ToolUseBlock):
                total += 1
                names[block.id] = f"call{total:05}"
            content.append(_renamed(block, names))
        renamed.append(Turn(role=turn.role, content=content))
    return renamed


def _renamed(block: ContentBlock, names: dict[str, str]) -> ContentBlock:
    if isinstance(block, ToolUseBlock):
        return ToolUseBlock(id=names[block.id], name=block.name, input=block.input)
    if isinstance(block, ToolResultBlock):
        return ToolResultBlock(
            tool_use_id=names.get(block.tool_use_id, block.tool_use_id),
            content=block.content,
            is_error=block.is_error,
        )
    return block


class _Writer:
    """Turns into entries for a model with certain capabilities."""

    def __init__(self, capabilities: frozenset[str]) -> None:
        self._tools = "tools" in capabilities
        self._vision = "vision" in capabilities
        self._calls: dict[str, Call] = {}

    def turn(self, turn: Turn) -> Iterator[Entry]:
        if turn.role == "assistant":
            yield self._answer(blocks(turn))
            return
        said: list[ContentBlock] = []
        for block in blocks(turn):
            if not isinstance(block, ToolResultBlock):
                said.append(block)
            elif self._tools:
                yield self._result(block)
            else:
                said += self._result_as_text(block)
        if said or not turn.content or not self._tools:
            yield self._entry("user", said)

    def _answer(self, content: list[ContentBlock]) -> Entry:
        uses = [block for block in content if isinstance(block, ToolUseBlock)]
        calls = tuple(Call(id=use.id, name=use.name, arguments=use.input) for use in uses)
        if not self._tools:
            return Entry(role="assistant", text=joined([*content, *map(_call_as_text, calls)]))
        self._calls |= {call.id: call for call in calls}
        return Entry(role="assistant", text=joined(content), calls=calls)

    def _result(self, block: ToolResultBlock) -> Entry:
        entry = self._entry("tool", _result_content(block))
        return msgspec.structs.replace(entry, call=self._calls.get(block.tool_use_id))

    def _result_as_text(self, block: ToolResultBlock) -> Iterator[ContentBlock]:
        content = _result_content(block)
        yield TextBlock(text=f"<tool_response>\n{joined(content)}\n</tool_response>")
        yield from (part for part in content if isinstance(part, ImageBlock))

    def _entry(self, role: Literal["user", "tool"], content: list[ContentBlock]) -> Entry:
        if not self._vision:
            content = [_note(part) if isinstance(part, ImageBlock) else part for part in content]
        images = (part.source for part in content if isinstance(part, ImageBlock))
        return Entry(
            role=role,
            text=joined(content),
            images=tuple(source for source in images if isinstance(source, Base64Source)),
        )


def _note(image: ImageBlock) -> TextBlock:
    return TextBlock(text=image_note(image.source))


def _call_as_text(call: Call) -> TextBlock:
    """Write a call the way such models write theirs, so that what they say is read back."""
    written = _encode({"name": call.name, "arguments": call.arguments}).decode()
    return TextBlock(text=f"<tool_call>\n{written}\n</tool_call>")


def _result_content(block: ToolResultBlock) -> list[ContentBlock]:
    parts = [TextBlock(text=block.content)] if isinstance(block.content, str) else block.content
    content: list[ContentBlock] = [*(parts or [])]
    if not block.is_error:
        return content
    return [
        TextBlock(text=f"Error: {joined(content)}"),
        *(p for p in content if isinstance(p, ImageBlock)),
    ]
