"""Finished answers as bytes: rendered once, given again any number of times under fresh ids."""

from collections.abc import Iterable, Sequence

import msgspec

from llmctl.protocol import ids, sse
from llmctl.protocol.anthropic import (
    AnswerBlock,
    Message,
    TextBlock,
    ThinkingBlock,
    TokenUsage,
    ToolUseBlock,
)
from llmctl.protocol.events import (
    BlockStopped,
    Event,
    Finished,
    InputAdded,
    TextAdded,
    TextStarted,
    ThinkingAdded,
    ThinkingStarted,
    ToolUseStarted,
)

_json = msgspec.json.Encoder().encode

# Stands where an id goes: JSON never contains this byte itself.
_SLOT = "\0"


class Replay:
    """A finished answer, ready to be sent.

    Every ``sse()`` and ``json()`` carries a message id and tool call ids that were never used
    before: Claude Code merges messages that share an id and does not run a tool call whose id it
    has seen.
    """

    def __init__(self, message: Message) -> None:
        self.message = message
        self._sse = _render_sse(message).split(_SLOT.encode())
        self._json = _render_json(message).split(_SLOT.encode())

    @property
    def size(self) -> int:
        """Bytes it keeps in memory, roughly: both renderings and the message itself."""
        rendered = sum(map(len, self._json))
        return sum(map(len, self._sse)) + 2 * rendered

    def sse(self) -> bytes:
        """Return the answer as a whole stream, from ``message_start`` to ``message_stop``."""
        return self._fill(self._sse)

    def json(self) -> bytes:
        """Return the answer as the body of an answer without stream."""
        return self._fill(self._json)

    def _fill(self, segments: Sequence[bytes]) -> bytes:
        """Join segments with fresh ids between them: the message's first, then the tools'."""
        filled = [segments[0], ids.message_id().encode(), segments[1]]
        for segment in segments[2:]:
            filled += (ids.tool_use_id().encode(), segment)
        return b"".join(filled)


def _events(content: Iterable[AnswerBlock]) -> list[Event]:
    """Return the events of finished blocks, each block's content in one piece."""
    events: list[Event] = []
    for index, block in enumerate(content):
        if isinstance(block, TextBlock):
            events += (TextStarted(index), TextAdded(index, block.text))
        elif isinstance(block, ThinkingBlock):
            events += (ThinkingStarted(index), ThinkingAdded(index, block.thinking))
        else:
            whole = _json(block.input).decode()
            events += (ToolUseStarted(index, block.name), InputAdded(index, whole))
        events.append(BlockStopped(index))
    return events


def _render_sse(message: Message) -> bytes:
    usage = message.usage
    known = TokenUsage(
        input_tokens=usage.input_tokens,
        output_tokens=0,
        cache_creation_input_tokens=usage.cache_creation_input_tokens,
        cache_read_input_tokens=usage.cache_read_input_tokens,
    )
    finished = Finished(
        stop_reason=message.stop_reason, stop_sequence=message.stop_sequence, usage=usage
    )
    start = sse.message_start(_SLOT, model=message.model, usage=known)
    frames = sse.encode([*_events(message.content), finished])
    return start + sse.join(frames, mint=lambda: _SLOT)


def _render_json(message: Message) -> bytes:
    content = b",".join(map(_render_block, message.content))
    return (
        b'{"id":"\0","type":"message","role":"assistant","model":%b,"content":[%b],'
        b'"stop_reason":%b,"stop_sequence":%b,"usage":%b}'
    ) % (
        _json(message.model),
        content,
        _json(message.stop_reason),
        _json(message.stop_sequence),
        _json(message.usage),
    )


def _render_block(block: AnswerBlock) -> bytes:
    if not isinstance(block, ToolUseBlock):
        return _json(block)
    name, tool_input = _json(block.name), _json(block.input)
    return b'{"type":"tool_use","id":"\0","name":%b,"input":%b}' % (name, tool_input)
