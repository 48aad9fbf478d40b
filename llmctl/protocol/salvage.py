"""Tool calls that a model wrote as text, taken out of the text while it streams.

qwen3-coder forgets the opening ``<tool_call>`` and Ollama then passes the whole call on as text;
qwen2.5-coder answers with bare JSON; templates without tool support get any of it. Text is held
back only from where a call may begin, and comes through untouched as soon as it cannot be one.
Nothing inside a code fence or a code span is a call.
"""

import re
from collections.abc import Callable

from llmctl.protocol.calls import OfferedTools
from llmctl.protocol.engine import EngineToolCall
from llmctl.protocol.written_calls import (
    FUNCTION,
    TOOL_CALL,
    NotACall,
    Parser,
    Reader,
    whole_message,
    written_call,
)

Piece = str | EngineToolCall


_STRIDE = 4096
"""Characters looked at in one go: what is put back and read again stays short."""


class Salvager:
    """Splits text that arrives in pieces into text and the calls written in it.

    ``bare`` says whether a message that is JSON and nothing else may be a call.
    """

    def __init__(self, offered: OfferedTools, *, bare: bool = True) -> None:
        self._offered = offered
        self._at_start = bare
        self._code = _CodeMarks()
        self._reader = Reader()
        self._parser: Parser | None = None

    def feed(self, text: str) -> list[Piece]:
        """Return the text and the calls that are certain now, in their order."""
        if "<" not in text and self._parser is None and not self._at_start:
            self._code.add(text)
            return [text]
        out: list[Piece] = []
        for start in range(0, len(text), _STRIDE):
            self._read(text[start : start + _STRIDE], out)
        return out

    def finish(self) -> list[Piece]:
        """Return what was held back: nothing follows, or nothing that belongs to it."""
        out: list[Piece] = []
        self._at_start = False
        while self._parser is not None:
            self._reader.ended = True
            self._read(self._parse("", self._parser, out), out)
        return out

    def _read(self, text: str, out: list[Piece]) -> None:
        while text:
            if self._parser is not None:
                text = self._parse(text, self._parser, out)
            elif self._at_start:
                text = self._begin(text, out)
            else:
                text = self._scan(text, out)

    def _begin(self, text: str, out: list[Piece]) -> str:
        """Look at the first character of the message; returns what is left to look at."""
        body = text.lstrip()
        if space := text[: len(text) - len(body)]:
            out.append(space)
        if body:
            self._at_start = False
            if body[0] in "{[`":
                self._try(whole_message)
        return body

    def _scan(self, text: str, out: list[Piece]) -> str:
        """Pass text on up to where a call may begin; returns the text from there."""
        done = 0
        while (at := text.find("<", done)) >= 0:
            self._code.add(text[done:at])
            if _may_open(text, at) and not self._code.inside():
                if at:
                    out.append(text[:at])
                self._try(written_call)
                return text[at:]
            self._code.add("<")
            done = at + 1
        self._code.add(text[done:])
        out.append(text)
        return ""

    def _try(self, grammar: "Callable[[Reader, OfferedTools], Parser]") -> None:
        self._reader = Reader()
        self._parser = grammar(self._reader, self._offered)

    def _parse(self, text: str, parser: "Parser", out: list[Piece]) -> str:
        """Let the parser go on with ``text``; returns what it leaves when it is through."""
        reader = self._reader
        reader.add(text)
        try:
            while (call := next(parser)) is not None:
                out.append(call)
        except StopIteration:
            self._parser = None
            return reader.text
        except NotACall:
            self._parser = None
            return self._release(reader, out)
        return ""

    def _release(self, reader: "Reader", out: list[Piece]) -> str:
        """Pass on what the parser has read; what it has not may still hold a call.

        What was read is not searched again: a call that a broken one quotes is an example.
        """
        raw = reader.raw()
        read = len(raw) if reader.ended else max(1, len(raw) - len(reader.text))
        self._code.add(raw[:read])
        out.append(raw[:read])
        return raw[read:]


def _may_open(text: str, at: int) -> bool:
    beginning = text[at : at + len(TOOL_CALL)]
    return _starts(beginning, TOOL_CALL) or _starts(beginning, FUNCTION)


def _starts(text: str, word: str) -> bool:
    """Tell whether the text begins with the word, or with more text may come to."""
    return text.startswith(word) or word.startswith(text)


class _CodeMarks:
    """Whether the text so far ends inside a code fence or a code span, after CommonMark."""

    _MARGIN = " \t>*+-.0123456789)"
    """What may stand before a fence: indentation, quote and list marks."""
    _PIECES = re.compile(r"`+|\n|[^`\n]+")

    def __init__(self) -> None:
        self._fence = 0
        self._span = 0
        self._run = 0
        self._in_margin = True

    def add(self, text: str) -> None:
        if "`" in text:
            for piece in self._PIECES.findall(text):
                if piece[0] == "`":
                    self._run += len(piece)
                else:
                    self._add_plain(piece)
        elif text:
            self._add_plain(text)

    def inside(self) -> bool:
        """Tell whether a ``<`` that follows is code."""
        self._end_run("<")
        return bool(self._fence or self._span)

    def _add_plain(self, text: str) -> None:
        if self._run:
            self._end_run(text[0])
        line_end = text.rfind("\n")
        if line_end >= 0:
            self._span = 0
            self._in_margin = True
            text = text[line_end + 1 :]
        if self._in_margin and text.strip(self._MARGIN):
            self._in_margin = False

    def _end_run(self, following: str) -> None:
        run, self._run = self._run, 0
        if not run:
            return
        if self._fence:
            if self._in_margin and run >= self._fence and following.isspace():
                self._fence = 0
        elif self._span:
            self._span = 0 if run == self._span else self._span
        elif self._in_margin and run >= 3:
            self._fence = run
        else:
            self._span = run
        self._in_margin = False
