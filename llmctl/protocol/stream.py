"""From what an engine says to what an Anthropic answer says: the composer of one message."""

from collections.abc import Iterable

import msgspec

from llmctl.protocol.anthropic import (
    Message,
    MessagesRequest,
    StopReason,
    TokenUsage,
)
from llmctl.protocol.blocks import Blocks
from llmctl.protocol.calls import UNPARSED, OfferedTools
from llmctl.protocol.engine import UNSAID, EngineChunk, EngineDone, EngineToolCall
from llmctl.protocol.errors import ApiError
from llmctl.protocol.events import Event, Failed, Finished, Ping, TextAdded, ThinkingAdded
from llmctl.protocol.remembered import Remembered
from llmctl.protocol.salvage import Piece, Salvager
from llmctl.protocol.stops import StopMatcher

QUIET_LIMIT_S = 120.0
"""Silence in seconds from which a ping is not enough.

Claude Code gives up after 300 s without a real event, and to it a ping is none; an empty delta in
an open block is.
"""

# Said where a model said nothing: Claude Code would ask again, at the price of a whole turn.
NOTHING_SAID = "(The model gave an empty answer.)"
ONLY_THOUGHT = "(The model thought about this, but gave no answer.)"
NOTHING_YET = "(The model used up its output tokens before it came to an answer.)"
CALL_LOST = "(The model's tool call was incomplete and could not be used.)"

_DOUBTFUL = frozenset({"content_filter", UNSAID})
"""Ends after which an answer is given, but not again."""
_offered = Remembered(OfferedTools)
_NO_TOOLS = OfferedTools(())


class Composer:
    """Turns the chunks of one answer into the events of one message.

    ``request`` is in normal form; ``input_tokens`` is the estimate of its prompt, reported where
    the engine does not count; it may be set until ``finish``. Feed it chunks until the engine is
    done or ``stop_matched``, then call ``finish`` (or, at any time, ``fail``) once.
    """

    def __init__(self, request: MessagesRequest, *, input_tokens: int = 0) -> None:
        choice = request.tool_choice
        thinking = request.thinking
        formatted = request.output_config is not None and request.output_config.format is not None
        self.input_tokens = input_tokens
        declined = choice is not None and choice.type == "none"
        self._offered = _offered(request.tools) if request.tools and not declined else _NO_TOOLS
        self._shows_thinking = thinking is not None and thinking.type != "disabled"
        self._one_call = choice is not None and choice.disable_parallel_tool_use
        self._stops = StopMatcher(request.stop_sequences) if request.stop_sequences else None
        self._salvager = Salvager(self._offered, bare=not formatted) if self._offered else None
        self._forced: list[str] | None = None
        """The text, where it has to be a tool call in JSON: engines are made to write one."""
        if self._offered and choice is not None and choice.type in {"any", "tool"}:
            self._forced = []
        self._blocks = Blocks()
        self._pieces = 0
        self._unshown = 0
        self._unsound = False
        self._done: EngineDone | None = None
        self._end: Finished | Failed | None = None
        self._excused = False

    @property
    def stop_matched(self) -> bool:
        """A stop sequence was met: the caller stops the engine and calls ``finish``."""
        return self._stops is not None and self._stops.matched is not None

    @property
    def first_content(self) -> bool:
        """Whether anything of the answer itself has been said."""
        return self._blocks.begun

    @property
    def complete(self) -> bool:
        """Whether the answer is whole and good enough to be given again from a cache."""
        ended = self.stop_matched or (self._done is not None and not self._ran_out())
        if not ended or self._excused or self._unsound or not isinstance(self._end, Finished):
            return False
        if self._done is not None and self._done.reason in _DOUBTFUL:
            return False
        return self._end.stop_reason != "max_tokens" and self._blocks.begun

    @property
    def tokens(self) -> int:
        """Tokens said so far, as well as can be told without the engine's own count.

        Engines send a token a chunk, or several, which then are no longer than six bytes on
        average.
        """
        return max(self._pieces, self._bytes_said() // 6)

    def feed(self, chunks: Iterable[EngineChunk]) -> list[Event]:
        """Return the events of what the engine said now."""
        events: list[Event] = []
        for chunk in chunks:
            if self.stop_matched:
                break
            if chunk.thinking:
                self._think(chunk.thinking, events)
            if chunk.text:
                self._pieces += 1
                self._hear(chunk.text, events)
            if chunk.tool_calls:
                self._flush(events)
                for call in chunk.tool_calls:
                    self._call(call, events)
            if chunk.done is not None:
                self._done = chunk.done
        return events

    def finish(self) -> list[Event]:
        """Return the events that end the message."""
        events: list[Event] = []
        self._flush(events)
        reason, usage = self._stop_reason(), self._usage()
        if reason != "stop_sequence" and not self._blocks.answer:
            self._blocks.trim()
            self._blocks.say(TextAdded, self._excuse(), events)
            self._excused = True
        self._blocks.close(events)
        self._end = Finished(
            stop_reason=reason,
            stop_sequence=self._stops.matched
            if self._stops and reason == "stop_sequence"
            else None,
            usage=usage,
        )
        return [*events, self._end]

    def fail(self, error: ApiError) -> list[Event]:
        """Return the event that ends the stream without ending the message.

        An open block stays open: a closed one would pass for complete.
        """
        self._end = Failed(error.type, error.message)
        return [self._end]

    def keep_alive(self, silent_s: float) -> list[Event]:
        """Return a sign of life for ``silent_s`` seconds without any content."""
        events: list[Event] = [Ping()]
        if silent_s >= QUIET_LIMIT_S and self._end is None:
            self._blocks.keep_open(events)
        return events

    def snapshot(self) -> list[Event]:
        """Return events that say what was said so far, for a listener who joins now."""
        events = self._blocks.events()
        if self._end is not None:
            events.append(self._end)
        return events

    def message(self, model: str) -> Message:
        """Return the finished answer of ``model``; only after ``finish``."""
        assert isinstance(self._end, Finished)
        return Message(
            model=model,
            content=self._blocks.content(),
            stop_reason=self._end.stop_reason,
            stop_sequence=self._end.stop_sequence,
            usage=self._end.usage,
        )

    # -- what is said ----------------------------------------------------------------------------

    def _think(self, thinking: str, events: list[Event]) -> None:
        self._pieces += 1
        if self._shows_thinking:
            self._blocks.say(ThinkingAdded, thinking, events)
        else:
            self._unshown += len(thinking.encode())

    def _hear(self, text: str, events: list[Event]) -> None:
        if self._stops is not None:
            text = self._stops.feed(text)
        if text:
            self._pass_on(text, events)

    def _pass_on(self, text: str, events: list[Event]) -> None:
        if self._forced is not None:
            self._forced.append(text)
        elif self._salvager is not None:
            self._tell(self._salvager.feed(text), events)
        else:
            self._blocks.say(TextAdded, text, events)

    def _tell(self, pieces: Iterable[Piece], events: list[Event]) -> None:
        for piece in pieces:
            if isinstance(piece, str):
                self._blocks.say(TextAdded, piece, events)
            else:
                self._call(piece, events)

    def _call(self, call: EngineToolCall, events: list[Event]) -> None:
        if self._one_call and self._blocks.calls:
            return
        if UNPARSED in call.arguments or not _storable(call.arguments):
            self._unsound = True
        self._blocks.call(self._offered.name(call.name) or call.name, call.arguments, events)

    def _flush(self, events: list[Event]) -> None:
        """Say what was held back: what it might have become is not coming any more."""
        if self._stops is not None and (held := self._stops.flush()):
            self._pass_on(held, events)
        if self._salvager is None:
            return
        if self._forced:
            text = "".join(self._forced)
            self._forced.clear()
            self._tell(self._offered.calls(text, bare=False) or self._salvager.feed(text), events)
        self._tell(self._salvager.finish(), events)

    # -- how it ends -----------------------------------------------------------------------------

    def _stop_reason(self) -> StopReason:
        if self._blocks.calls:
            return "tool_use"
        if self.stop_matched:
            return "stop_sequence"
        if self._ran_out() or self._lost_call():
            return "max_tokens"
        return "end_turn"

    def _ran_out(self) -> bool:
        return self._done is not None and self._done.reason == "length"

    def _lost_call(self) -> bool:
        """Tell whether the engine made far more than it gave: a tool call it could not parse.

        Ollama swallows one that the output limit, or the model, ends in the middle.
        """
        done = self._done
        if not self._offered or self._blocks.calls or done is None or not done.completion_tokens:
            return False
        # A chunk holds a token or a few; two bytes a token is less than any ordinary text has.
        seen = max(2 * self._pieces, self._bytes_said() // 2)
        return done.completion_tokens - done.hidden_tokens > seen + 32

    def _excuse(self) -> str:
        if self._lost_call():
            return CALL_LOST
        if self._ran_out():
            return NOTHING_YET
        return ONLY_THOUGHT if self._bytes_said() else NOTHING_SAID

    def _bytes_said(self) -> int:
        return self._unshown + self._blocks.size

    def _usage(self) -> TokenUsage:
        done = self._done or EngineDone(reason="stop")
        prompt = self.input_tokens if done.prompt_tokens is None else done.prompt_tokens
        cached = min(done.cached_prompt_tokens or 0, prompt)
        output = done.completion_tokens
        if output is None:
            # nobody has counted, as when a stop sequence cut the engine off
            output = self.tokens
        return TokenUsage(
            input_tokens=prompt - cached, output_tokens=output, cache_read_input_tokens=cached
        )


def _storable(arguments: object) -> bool:
    """Tell whether a cache can hold the arguments: integers beyond 64 bits it cannot."""
    try:
        msgspec.msgpack.encode(arguments)
    except OverflowError:
        return False
    return True
