"""The content blocks of one answer while it is made: what was said, and the events that say it."""

from io import StringIO
from typing import Any

import msgspec

from llmctl.protocol.anthropic import AnswerBlock, TextBlock, ThinkingBlock, ToolUseBlock
from llmctl.protocol.events import (
    BlockStopped,
    Event,
    InputAdded,
    TextAdded,
    TextStarted,
    ThinkingAdded,
    ThinkingStarted,
    ToolUseStarted,
)

Kind = type[TextAdded] | type[ThinkingAdded]
"""A kind of block, named by the event that adds to it."""


class Blocks:
    """Opens, extends and closes blocks; every method adds the events it causes to ``events``.

    White space alone never opens a block: it waits for what it leads up to, and is dropped where
    nothing follows, because a blank block in the history is refused by some servers.
    """

    def __init__(self) -> None:
        self._blocks: list[_Prose | _Call] = []
        self._open: _Prose | None = None
        self._space = ""
        self._space_kind: Kind = TextAdded

    def say(self, kind: Kind, text: str, events: list[Event]) -> None:
        """Add text or thinking, in a block of its own where another kind was being said."""
        block = self._open
        if block is None or block.kind is not kind:
            if self._space_kind is not kind:
                self._space, self._space_kind = "", kind
            text = self._space + text
            if text.isspace():
                self._space = text
                return
            block = self._begin(kind, events)
        block.written.write(text)
        events.append(kind(block.index, text))

    def call(self, name: str, arguments: dict[str, Any], events: list[Event]) -> None:
        """Add a whole tool call; clients run it as soon as its block is closed."""
        self.close(events)
        self._space = ""
        block = _Call(len(self._blocks), name, arguments)
        self._blocks.append(block)
        events += block.events()

    def keep_open(self, events: list[Event]) -> None:
        """Add nothing to the open block, opening one for text if there is none."""
        if self._open is None:
            space = self._space if self._space_kind is TextAdded else ""
            self._begin(TextAdded, events).written.write(space)
            events.append(TextAdded(len(self._blocks) - 1, space))
        else:
            events.append(self._open.kind(self._open.index, ""))

    def trim(self) -> None:
        """Drop white space that still waits: nothing of the model's own follows."""
        self._space = ""

    def close(self, events: list[Event]) -> None:
        """Close the open block, if there is one."""
        if self._open is not None:
            events.append(BlockStopped(self._open.index))
            self._open = None

    def _begin(self, kind: Kind, events: list[Event]) -> "_Prose":
        self.close(events)
        self._space = ""
        self._open = _Prose(len(self._blocks), kind)
        self._blocks.append(self._open)
        events.append(self._open.started())
        return self._open

    @property
    def begun(self) -> bool:
        """Whether anything was said, signs of life aside."""
        return any(block.size for block in self._blocks)

    @property
    def calls(self) -> int:
        """Number of tool calls."""
        return sum(isinstance(block, _Call) for block in self._blocks)

    @property
    def answer(self) -> bool:
        """Whether there is something that a reader sees or a client runs."""
        return any(not isinstance(block, ThinkingBlock) for block in self.content())

    @property
    def size(self) -> int:
        """Bytes of all that was said."""
        return sum(block.size for block in self._blocks)

    def content(self) -> list[AnswerBlock]:
        """Return what was said, without blocks that stayed blank."""
        content = (block.content() for block in self._blocks)
        return [block for block in content if block is not None]

    def events(self) -> list[Event]:
        """Return events that lead a newcomer to the present state."""
        events: list[Event] = []
        for block in self._blocks:
            events += block.events()
            if block is not self._open and isinstance(block, _Prose):
                events.append(BlockStopped(block.index))
        return events


class _Prose:
    """A block of text or thinking."""

    def __init__(self, index: int, kind: Kind) -> None:
        self.index = index
        self.kind = kind
        self.written = StringIO()  # one growing buffer: a list of tokens takes ten times as much

    @property
    def size(self) -> int:
        return len(self.written.getvalue().encode())

    def started(self) -> Event:
        return (TextStarted if self.kind is TextAdded else ThinkingStarted)(self.index)

    def events(self) -> list[Event]:
        return [self.started(), self.kind(self.index, self.written.getvalue())]

    def content(self) -> AnswerBlock | None:
        text = self.written.getvalue()
        if not text.strip():
            return None
        return TextBlock(text=text) if self.kind is TextAdded else ThinkingBlock(thinking=text)


class _Call:
    """A tool call, complete from the beginning."""

    def __init__(self, index: int, name: str, arguments: dict[str, Any]) -> None:
        self.index = index
        self.name = name
        self.arguments = arguments
        self._json = msgspec.json.encode(arguments)

    @property
    def size(self) -> int:
        return len(self._json)

    def events(self) -> list[Event]:
        whole = self._json.decode()
        return [
            ToolUseStarted(self.index, self.name),
            InputAdded(self.index, whole),
            BlockStopped(self.index),
        ]

    def content(self) -> AnswerBlock:
        return ToolUseBlock(id="", name=self.name, input=self.arguments)
