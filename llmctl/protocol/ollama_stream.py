"""Ollama's ``/api/chat`` stream: one JSON object a line, the last one with ``done``."""

from typing import Any

import msgspec
from msgspec import Struct

from llmctl.protocol.calls import arguments_of
from llmctl.protocol.engine import EngineChunk, EngineDone, EngineToolCall, counted
from llmctl.protocol.errors import broken_stream, from_engine
from llmctl.protocol.lines import StreamDecoder


class _Function(Struct):
    name: str = ""
    arguments: dict[str, Any] | str | None = None


class _ToolCall(Struct):
    function: _Function


class _Message(Struct, gc=False):
    content: str | None = ""
    thinking: str | None = ""
    tool_calls: list[_ToolCall] | None = None


class _Line(Struct, gc=False):
    """The part of a line that matters; zero metrics are left out on the wire."""

    message: _Message | None = None
    done: bool = False
    done_reason: str | None = None
    error: Any = None
    prompt_eval_count: Any = None
    prompt_eval_duration: Any = None
    eval_count: Any = None


_decode = msgspec.json.Decoder(_Line).decode


class OllamaDecoder(StreamDecoder):
    """Decodes the answer to ``POST /api/chat`` with ``stream``.

    Raises ``ApiError`` for a line ``{"error": …}``, for anything that is not a line of this
    protocol, and for an end without ``done``: Ollama drops the connection without a word when its
    runner does, and when a model repeats itself.
    """

    def _read(self, lines: list[bytes], chunks: list[EngineChunk]) -> None:
        decode = _decode
        for raw in lines:
            try:
                line = decode(raw)
            except (ValueError, RecursionError):
                if not raw or raw.isspace():
                    continue
                raise self._garbled(raw) from None
            message = line.message
            if message is None or message.tool_calls or line.done or line.error is not None:
                self._read_rare(raw, line, chunks)
                if self.ended:
                    return
            elif message.content or message.thinking:
                chunks.append(
                    EngineChunk(text=message.content or "", thinking=message.thinking or "")
                )

    def _read_rare(self, raw: bytes, line: _Line, chunks: list[EngineChunk]) -> None:
        if line.error is not None:
            raise from_engine(500, raw, model=self.model, num_ctx=self.num_ctx)
        message = line.message
        if message is None:
            if not line.done:
                raise self._garbled(raw)
            message = _Message()
        self.ended = line.done
        chunks.append(
            EngineChunk(
                text=message.content or "",
                thinking=message.thinking or "",
                tool_calls=tuple(_call(call) for call in message.tool_calls or ()),
                done=_done(line) if line.done else None,
            )
        )


def _call(call: _ToolCall) -> EngineToolCall:
    if not call.function.name:
        raise broken_stream("the engine called a tool without saying which")
    arguments = call.function.arguments or {}
    if isinstance(arguments, str):
        arguments = arguments_of(arguments)
    return EngineToolCall(name=call.function.name, arguments=arguments)


def _done(line: _Line) -> EngineDone:
    duration_ns = counted(line.prompt_eval_duration)
    return EngineDone(
        reason=line.done_reason or "stop",
        prompt_tokens=counted(line.prompt_eval_count),
        completion_tokens=counted(line.eval_count),
        prompt_ms=None if duration_ns is None else duration_ns / 1e6,
    )
