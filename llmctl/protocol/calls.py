"""Tool calls as data: names matched with the tools offered, arguments read and typed.

Models misspell names, quote JSON twice and write numbers as text; what is unambiguous is put
right here, the rest is left for the client to refuse.
"""

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from llmctl.protocol.anthropic import Tool
from llmctl.protocol.engine import EngineToolCall

UNPARSED = "__unparsedToolInput"
"""Key under which Claude Code itself keeps a tool input that is not JSON; it asks the model to
try again."""


def parse_json(text: str) -> Any:
    """Parse JSON, raw line breaks in strings allowed; raises ``ValueError``.

    What it returns can be encoded again.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = json.loads(text, strict=False)
        msgspec.json.encode(value)  # a lone surrogate cannot be
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def arguments_of(raw: str) -> dict[str, Any]:
    """Read a tool call's arguments; what is no JSON object comes back under ``UNPARSED``."""
    value = _object(raw) if raw.strip() else {}
    return {UNPARSED: {"raw": raw, "len": len(raw)}} if value is None else value


def _object(raw: Any) -> dict[str, Any] | None:
    """Return the object, which may be quoted JSON, None if it is none."""
    for _ in range(2):
        if not isinstance(raw, str):
            break
        try:
            raw = parse_json(raw)
        except ValueError:
            return None
    return raw if isinstance(raw, dict) else None


class OfferedTools:
    """The tools of a request, to recognise calls by."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._schemas = {tool.name: tool.input_schema or {} for tool in tools}
        plain: dict[str, str | None] = {}
        for name in self._schemas:
            plain[_plain(name)] = None if _plain(name) in plain else name
        self._plain = plain

    def __bool__(self) -> bool:
        return bool(self._schemas)

    def name(self, said: str) -> str | None:
        """Return the tool that was meant, forgiving case and white space; None if none was."""
        return said if said in self._schemas else self._plain.get(_plain(said))

    def may_become(self, beginning: str) -> bool:
        """Tell whether more text could make this the name of a tool."""
        plain = _plain(beginning)
        return any(name.startswith(plain) for name in self._plain)

    def typed(self, name: str, values: dict[str, str]) -> dict[str, Any]:
        """Give arguments that were written as text the types of the tool's schema."""
        properties = self._schemas[name].get("properties")
        if not isinstance(properties, dict):
            return dict(values)
        return {key: _typed(text, _types(properties.get(key))) for key, text in values.items()}

    def calls(self, text: str, *, bare: bool) -> list[EngineToolCall]:
        """Read JSON that is one call or a list of calls; empty if any of it is something else.

        ``bare`` JSON stands for itself, so it has to have arguments to count as a call.
        """
        try:
            value = parse_json(text)
        except ValueError:
            return []
        items = value if isinstance(value, list) else [value]
        calls = [self._call(item, bare=bare) for item in items]
        return [call for call in calls if call is not None] if None not in calls else []

    def _call(self, item: Any, *, bare: bool) -> EngineToolCall | None:
        if isinstance(item, dict) and isinstance(item.get("function"), dict):
            item = item["function"]
        if not isinstance(item, dict) or not item.keys() <= CALL_KEYS:
            return None
        said = item.get("name")
        name = self.name(said) if isinstance(said, str) else None
        empty: dict[str, Any] | None = None if bare else {}
        arguments = _object(item.get("arguments", item.get("parameters", empty)))
        if name is None or arguments is None:
            return None
        return EngineToolCall(name=name, arguments=arguments)


CALL_KEYS = {"name", "arguments", "parameters", "id", "type", "function"}
"""Keys of a call in JSON; an object with another key is something else."""


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()


def _types(schema: Any) -> set[str]:
    """Collect the JSON types a schema allows, empty where it does not say."""
    if not isinstance(schema, dict):
        return set()
    said = schema.get("type")
    types = {word for word in _items(said) if isinstance(word, str)}
    if isinstance(said, str):
        types.add(said)
    for option in [*_items(schema.get("anyOf")), *_items(schema.get("oneOf"))]:
        types |= _types(option)
    return types


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_CLASSES: dict[str, tuple[type, ...]] = {
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def _typed(text: str, types: set[str]) -> Any:
    """Return the text as a value of one of the types, or as it is."""
    if not types - {"string"}:
        return text
    literal = text.strip()
    if "boolean" in types and literal in {"True", "False"}:
        literal = literal.lower()
    try:
        value = parse_json(literal)
    except ValueError:
        return text
    if type(value) is float and value.is_integer() and "number" not in types:
        value = int(value)
    # Where text is allowed too, digits may well be meant as text; brackets and null are not.
    kinds = types & {"array", "object", "null"} if "string" in types else types
    return (
        value if type(value) in {cls for kind in kinds for cls in _CLASSES.get(kind, ())} else text
    )
