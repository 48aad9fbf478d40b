"""The ``/v1/chat/completions`` stream of llama.cpp, vLLM and their like: server-sent events."""

from itertools import takewhile
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.protocol.calls import arguments_of, parse_json
from llmctl.protocol.engine import (
    UNSAID,
    EngineChunk,
    EngineDone,
    EngineToolCall,
    counted,
    measured,
)
from llmctl.protocol.errors import broken_stream, from_engine
from llmctl.protocol.lines import MAX_LINE_BYTES, StreamDecoder


class _Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolDelta(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    reasoning_content: str | None = None
    """llama.cpp, DeepSeek, older vLLM."""
    reasoning: str | None = None
    """Newer vLLM, Ollama."""
    tool_calls: list[_ToolDelta] | None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(Struct):
    cached_tokens: Any = None


class _CompletionDetails(Struct):
    reasoning_tokens: Any = None


class _Usage(Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Timings(Struct):
    """llama.cpp's own counters."""

    cache_n: Any = None
    prompt_n: Any = None
    prompt_ms: Any = None
    predicted_n: Any = None


class _Event(Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    timings: _Timings | None = None
    error: Any = None
    object: str | None = None
    """``error`` in older vLLM, whose error events have no ``error`` of their own."""


_decode = msgspec.json.Decoder(_Event).decode
_GIVEN_UP = frozenset({"abort", "error"})
"""How vLLM and SGLang end an answer that they do not finish."""


class OpenAIDecoder(StreamDecoder):
    """Decodes the answer to ``POST /v1/chat/completions`` with ``stream``.

    The end is reported once everything about it is known: the finish reason comes before the
    usage, and the usage before ``[DONE]``. A tool call is whole, and returned, when the next one
    begins or the finish reason has come; one that ``length`` cut off is dropped. Raises
    ``ApiError`` for error events, for anything else that is not this protocol, and for a stream
    that ends without finish reason or ``[DONE]``.
    """

    def __init__(
        self, *, model: str, num_ctx: int | None = None, max_line_bytes: int = MAX_LINE_BYTES
    ) -> None:
        super().__init__(model=model, num_ctx=num_ctx, max_line_bytes=max_line_bytes)
        self._calls: list[_PartialCall] = []
        self._reason = ""
        self._usage = _Usage()
        self._timings = _Timings()

    def _read(self, lines: list[bytes], chunks: list[EngineChunk]) -> None:
        for raw in lines:
            payload = raw[6:] if raw.startswith(b"data: {") else _rare_payload(raw)
            if not payload:
                continue
            if payload == b"[DONE]":
                self._end(chunks)
                return
            try:
                event = _decode(payload)
            except (ValueError, RecursionError):
                raise self._garbled(raw) from None
            if event.error is not None or event.object == "error":
                raise from_engine(500, payload, model=self.model, num_ctx=self.num_ctx)
            self._read_event(event, chunks)

    def _read_event(self, event: _Event, chunks: list[EngineChunk]) -> None:
        if event.usage is not None:
            self._usage = event.usage
        if event.timings is not None:
            self._timings = event.timings
        for choice in event.choices or ():
            delta = choice.delta
            if delta is not None:
                thinking = delta.reasoning_content or delta.reasoning or ""
                if delta.content or thinking:
                    chunks.append(EngineChunk(text=delta.content or "", thinking=thinking))
                for part in delta.tool_calls or ():
                    self._add_part(part, chunks)
            if choice.finish_reason:
                self._finish(choice.finish_reason, chunks)

    def _add_part(self, part: _ToolDelta, chunks: list[EngineChunk]) -> None:
        function = part.function or _Function()
        call = self._call_of(part, function)
        if call is None:
            whole = list(takewhile(_PartialCall.is_whole, self._calls))
            self._yield(chunks, whole)
            del self._calls[: len(whole)]
            call = _PartialCall(part.index, part.id)
            self._calls.append(call)
        call.add(function)

    def _call_of(self, part: _ToolDelta, function: _Function) -> "_PartialCall | None":
        """Return the call a fragment continues, None where it begins one.

        Some servers number every call 0, or none: there a name says that another call begins.
        Others send a new id with every fragment: without a name it says nothing.
        """
        for call in reversed(self._calls):
            if part.index is None or part.index == call.index:
                another = part.id != call.id if part.id else call.is_whole()
                return None if function.name and call.name and another else call
        return None

    def _finish(self, reason: str, chunks: list[EngineChunk]) -> None:
        if reason in _GIVEN_UP:
            message = f"the engine gave up on the answer (finish reason {reason!r})"
            raise broken_stream(message)
        self._reason = reason
        self._finish_calls(chunks)

    def _finish_calls(self, chunks: list[EngineChunk]) -> None:
        calls, self._calls = self._calls, []
        if self._reason == "length" and calls and not calls[-1].is_whole():
            calls.pop()  # cut off: running it would run half of it
        self._yield(chunks, calls)

    def _yield(self, chunks: list[EngineChunk], calls: "list[_PartialCall]") -> None:
        if calls:
            chunks.append(EngineChunk(tool_calls=tuple(call.complete() for call in calls)))

    def _close(self, chunks: list[EngineChunk]) -> None:
        if self._reason:
            self._end(chunks)
        else:
            super()._close(chunks)

    def _end(self, chunks: list[EngineChunk]) -> None:
        self.ended = True
        self._finish_calls(chunks)
        chunks.append(EngineChunk(done=self._done()))

    def _done(self) -> EngineDone:
        usage, timings = self._usage, self._timings
        prompt, completion = counted(usage.prompt_tokens), counted(usage.completion_tokens)
        prompt_n, cache_n = counted(timings.prompt_n), counted(timings.cache_n)
        if prompt is None and prompt_n is not None:
            prompt = prompt_n + (cache_n or 0)
        details, hidden = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = None if details is None else counted(details.cached_tokens)
        return EngineDone(
            reason=self._reason or UNSAID,
            prompt_tokens=prompt,
            cached_prompt_tokens=cache_n if cached is None else cached,
            completion_tokens=counted(timings.predicted_n) if completion is None else completion,
            hidden_tokens=0 if hidden is None else counted(hidden.reasoning_tokens) or 0,
            prompt_ms=measured(timings.prompt_ms),
        )


def _rare_payload(raw: bytes) -> bytes:
    """Return the data of a line, empty for comments, other fields and event borders."""
    if raw.startswith(b"data:"):
        return raw[5:].strip()
    if raw.startswith(b"error:"):  # llama.cpp, before its errors became data
        return b'{"error":%b}' % raw[6:].strip()
    if raw.startswith(b"{"):  # a plain JSON answer, as some proxies give for errors
        return raw.strip()
    return b""


class _PartialCall:
    """A tool call while its fragments arrive."""

    def __init__(self, index: int | None, call_id: str | None) -> None:
        self.index = index
        self.id = call_id
        self.name = ""
        self._arguments: dict[str, Any] | None = None
        self._fragments: list[str] = []

    def add(self, function: _Function) -> None:
        if function.name and not self.name:
            self.name = function.name
        if isinstance(function.arguments, dict):
            self._arguments = function.arguments
        elif function.arguments:
            self._fragments.append(function.arguments)

    def is_whole(self) -> bool:
        """Whether the arguments so far are a JSON object."""
        if self._arguments is None:
            try:
                value = parse_json("".join(self._fragments))
            except ValueError:
                return False
            return isinstance(value, dict)
        return True

    def complete(self) -> EngineToolCall:
        if not self.name:
            raise broken_stream("the engine called a tool without saying which")
        arguments = self._arguments
        if arguments is None:
            arguments = arguments_of("".join(self._fragments))
        return EngineToolCall(name=self.name, arguments=arguments)
