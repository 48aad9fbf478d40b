"""The two ways in which models write tool calls as text, as parsers that take text piecemeal.

In tags: ``<function=NAME><parameter=KEY>VALUE</parameter></function>``, with or without
``<tool_call>`` around it, or JSON between ``<tool_call>`` tags. Bare: a whole message of JSON.
"""

import re
from collections.abc import Generator

from llmctl.protocol.calls import CALL_KEYS, OfferedTools
from llmctl.protocol.engine import EngineToolCall

TOOL_CALL, TOOL_CALL_END = "<tool_call>", "</tool_call>"
FUNCTION, FUNCTION_END = "<function=", "</function>"
PARAMETER, PARAMETER_END = "<parameter=", "</parameter>"


class NotACall(Exception):
    """What is being read cannot become a call any more."""


class Reader:
    """The text a parser works on: it takes from the front, the stream adds at the end."""

    def __init__(self) -> None:
        self.text = ""
        self.ended = False
        self._raw: list[str] = []

    def add(self, text: str) -> None:
        self.text += text
        self._raw.append(text)

    def raw(self) -> str:
        """Return everything that was ever added."""
        return "".join(self._raw)

    def take(self, length: int) -> str:
        taken, self.text = self.text[:length], self.text[length:]
        return taken


# A parser is a generator: it yields None when it needs more text, and each call that is certain.
# It ends when the text that follows is not its own, and raises NotACall when it was mistaken.
Parser = Generator[EngineToolCall | None, None, None]


def written_call(reader: Reader, offered: OfferedTools) -> Parser:
    """Parse a call in tags, in qwen3-coder's form or with JSON between ``<tool_call>`` tags."""
    if (yield from _word(reader, TOOL_CALL, FUNCTION)) == TOOL_CALL:
        yield from _space(reader)
        if reader.text.startswith("{"):
            calls = offered.calls((yield from _json(reader, offered)), bare=False)
            if not calls:
                raise NotACall
            yield calls[0]
            yield from _closing_tag(reader)
            return
        yield from _word(reader, FUNCTION)
    name = yield from _name(reader, offered)
    values: dict[str, str] = {}
    while True:
        yield from _space(reader)
        if (yield from _word(reader, PARAMETER, FUNCTION_END)) == FUNCTION_END:
            break
        key = yield from _key(reader)
        values[key] = yield from _value(reader)
    yield EngineToolCall(name=name, arguments=offered.typed(name, values))
    yield from _closing_tag(reader)


def whole_message(reader: Reader, offered: OfferedTools) -> Parser:
    """Parse a message that is calls in JSON and nothing else, in a fence or without."""
    fenced = reader.text.startswith("`")
    if fenced:
        yield from _word(reader, "```")
        yield from _language(reader)
    calls: list[EngineToolCall] = []
    yield from _space(reader)
    while not (calls and reader.ended and not reader.text):
        if fenced and calls and reader.text.startswith("`"):
            yield from _word(reader, "```")
            yield from _nothing_more(reader)
            break
        found = offered.calls((yield from _json(reader, offered)), bare=True)
        if not found:
            raise NotACall
        calls += found
        yield from _space(reader)
    yield from calls


_Step = Generator[None, None, None]
_Read = Generator[None, None, str]


def _more(reader: Reader) -> _Step:
    if reader.ended:
        raise NotACall
    yield


def _word(reader: Reader, *words: str) -> _Read:
    """Read one of the words."""
    while True:
        for word in words:
            if reader.text.startswith(word):
                return reader.take(len(word))
        if not any(word.startswith(reader.text) for word in words):
            raise NotACall
        yield from _more(reader)


def _space(reader: Reader) -> _Step:
    """Read white space; something else follows, or the end."""
    while True:
        reader.text = reader.text.lstrip()
        if reader.text or reader.ended:
            return
        yield


def _nothing_more(reader: Reader) -> _Step:
    yield from _space(reader)
    if reader.text:
        raise NotACall


def _language(reader: Reader) -> _Step:
    """Read what may stand behind the opening fence of a call: nothing or ``json``."""
    while not reader.text or reader.text.isalpha():
        if not "json".startswith(reader.text.lower()):
            raise NotACall
        yield from _more(reader)
    language = re.match(r"[a-zA-Z]*", reader.text)
    assert language is not None
    if language[0].lower() not in {"", "json"}:
        raise NotACall
    reader.take(language.end())


def _name(reader: Reader, offered: OfferedTools) -> _Read:
    """Read ``NAME>``; refuses as soon as no tool on offer begins like this."""
    while (end := reader.text.find(">")) < 0:
        if not offered.may_become(reader.text):
            raise NotACall
        yield from _more(reader)
    name = offered.name(reader.text[:end])
    if name is None:
        raise NotACall
    reader.take(end + 1)
    return name


def _key(reader: Reader) -> _Read:
    """Read the rest of ``<parameter=KEY>``."""
    while (end := reader.text.find(">")) < 0:
        if "\n" in reader.text or "<" in reader.text:
            raise NotACall
        yield from _more(reader)
    key = reader.text[:end].strip()
    if not key or "\n" in key or "<" in key:
        raise NotACall
    reader.take(end + 1)
    return key


_BORDER = re.compile(f"{PARAMETER}|{PARAMETER_END}")


def _value(reader: Reader) -> _Read:
    """Read up to the tag that ends the value, which may quote such tags, or whole calls, itself.

    A wrong end would run a call with half an argument, so where quoted tags do not come in pairs
    there is no call.
    """
    parts: list[str] = []
    quoted = 0
    while True:
        border = _BORDER.search(reader.text)
        if border is None:
            if reader.ended:
                return _unclosed_value("".join(parts), reader)
            settled = len(reader.text) - len(PARAMETER_END) + 1
            parts.append(reader.take(max(0, settled)))
            yield
            continue
        parts.append(reader.take(border.start()))
        if border[0] == PARAMETER:
            quoted += 1
        elif quoted:
            quoted -= 1
        elif (yield from _ends_value(reader)):
            reader.take(len(PARAMETER_END))
            return _without_line_ends("".join(parts))
        parts.append(reader.take(len(border[0])))


def _ends_value(reader: Reader) -> Generator[None, None, bool]:
    """Look behind ``</parameter>``: another one or the end of the function has to follow."""
    while True:
        rest = reader.text[len(PARAMETER_END) :].lstrip()
        if rest.startswith((PARAMETER, FUNCTION_END)):
            return True
        if reader.ended or not (PARAMETER.startswith(rest) or FUNCTION_END.startswith(rest)):
            return False
        yield


def _unclosed_value(text: str, reader: Reader) -> str:
    """Take the end of the message for the end of a last value whose tags are not all there."""
    text = (text + reader.text).rstrip()
    value = text
    if text.endswith(TOOL_CALL_END):
        value = text.removesuffix(TOOL_CALL_END).rstrip()
    value = value.removesuffix(FUNCTION_END)
    if len(value) == len(text) or PARAMETER in value:
        raise NotACall
    if value.rstrip().endswith(PARAMETER_END):
        value = value.rstrip().removesuffix(PARAMETER_END)
    reader.text = FUNCTION_END
    return _without_line_ends(value)


def _without_line_ends(value: str) -> str:
    """Drop the line breaks that belong to the tags around a value."""
    return value.removeprefix("\n").removesuffix("\n")


def _closing_tag(reader: Reader) -> _Step:
    """Read ``</tool_call>`` where there is one, and the white space up to it."""
    while True:
        rest = reader.text.lstrip()
        if rest.startswith(TOOL_CALL_END):
            reader.text = rest[len(TOOL_CALL_END) :]
            return
        if reader.ended or not TOOL_CALL_END.startswith(rest):
            reader.text = reader.text if rest else ""
            return
        yield


_HEAD = re.compile(r'\[?\s*\{\s*"(?P<key>[^"\\]*)(?P<quote>")?')
_BEFORE_HEAD = re.compile(r"\[?\s*\{?\s*\Z")
_NAME = re.compile(r'\s*:\s*"(?P<name>[^"\\]*)(?P<quote>")?')
_BEFORE_NAME = re.compile(r"\s*:?\s*\Z")


def _json(reader: Reader, offered: OfferedTools) -> _Read:
    """Read one JSON object or list that may be a call, to its closing bracket."""
    while not _looks_like_call(reader.text, offered):
        yield from _more(reader)
    parts: list[str] = []
    brackets = _Brackets()
    while True:
        parts.append(reader.take(brackets.follow(reader.text)))
        if brackets.closed:
            return "".join(parts)
        yield from _more(reader)


class _Brackets:
    """Finds the end of a JSON object or list without parsing it twice."""

    _MARK = re.compile(r'\\.?|["{}\[\]]', re.DOTALL)

    def __init__(self) -> None:
        self.closed = False
        self._depth = 0
        self._quoted = False

    def follow(self, text: str) -> int:
        """Return how much of the text belongs to the value and needs no second look."""
        for mark in self._MARK.finditer(text):
            sign = mark[0]
            if sign == "\\":  # what it escapes has not arrived
                return mark.start()
            if sign == '"':
                self._quoted = not self._quoted
            elif not self._quoted and len(sign) == 1:
                self._depth += 1 if sign in "{[" else -1
                if self._depth == 0:
                    self.closed = True
                    return mark.end()
        return len(text)


def _looks_like_call(text: str, offered: OfferedTools) -> bool:
    """Tell whether JSON begins like a call, False while that is open; refuses what does not."""
    head = _HEAD.match(text)
    if head is None:
        return _still_open(_BEFORE_HEAD.match(text))
    key = head["key"]
    if not head["quote"]:
        return _still_open(any(known.startswith(key) for known in CALL_KEYS))
    if key not in CALL_KEYS:
        raise NotACall
    if key != "name":
        return True
    name = _NAME.match(text, head.end())
    if name is None:
        return _still_open(_BEFORE_NAME.match(text, head.end()))
    if not name["quote"]:
        return _still_open(offered.may_become(name["name"]))
    if offered.name(name["name"]) is None:
        raise NotACall
    return True


def _still_open(possible: object) -> bool:
    if not possible:
        raise NotACall
    return False
