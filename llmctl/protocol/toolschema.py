"""JSON Schemas of tools in the small dialect that engines, templates and grammars all take.

Kept are ``type``, ``description``, ``enum``, ``items``, ``properties``, ``required``, ``anyOf`` and
schemas for additional properties, always in that order. References are put in place; limits such
as ``maxLength`` go, because Ollama drops them anyway and llama.cpp refuses to compile large ones.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import msgspec

Schema = dict[str, Any]

MAX_DEPTH = 24
MAX_NODES = 5000
"""Sub-schemas of one tool, so that references to references cannot multiply without end."""
MAX_REMEMBERED_BYTES = 16 * 1024
ANYTHING = ["string", "number", "boolean", "object", "array"]
"""Type of a parameter that says none: engines that parse by type would read it as a string."""

_TYPES = frozenset({*ANYTHING, "integer", "null"})
_PYTHON_TYPES = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    dict: "object",
    list: "array",
}
_ORDER = (
    "type",
    "description",
    "enum",
    "items",
    "properties",
    "required",
    "anyOf",
    "additionalProperties",
)
_UNORDERED = ("properties", "items", "enum", "anyOf", "required")
"""Keys that Ollama's qwen3-coder renderer writes in random order when a parameter has several."""

_encode = msgspec.json.Encoder(order="sorted").encode


def simplified(schema: object) -> Schema:
    """Return any JSON Schema in the dialect above; a boolean one allows anything."""
    return _Simplifier(schema).schema(schema, 0)


def parameters(input_schema: object) -> Schema:
    """Return a tool's parameters: simplified, and an object with ``properties`` in any case."""
    schema = simplified(input_schema)
    found: Schema = {"type": "object", "properties": schema.get("properties", {})}
    if "required" in schema:
        found["required"] = schema["required"]
    return found


def steady_parameters(input_schema: object) -> Schema:
    """Return a tool's parameters such that Ollama renders them the same every time.

    No parameter keeps two of the keys its renderer takes from a Go map; the others move into the
    description, so that the model still reads them.
    """
    schema = parameters(input_schema)
    steady = {name: _steady(prop) for name, prop in schema["properties"].items()}
    return schema | {"properties": steady}


def written(convert: Callable[[object], Schema], input_schema: object) -> msgspec.Raw:
    """Return ``convert(input_schema)`` as JSON, remembered: clients send the same tools always."""
    source = msgspec.json.encode(input_schema)
    if len(source) > MAX_REMEMBERED_BYTES:
        return _written.__wrapped__(convert, source)
    return _written(convert, source)


@lru_cache(maxsize=256)
def _written(convert: Callable[[object], Schema], source: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(convert(msgspec.json.decode(source))))


def _steady(schema: Schema) -> Schema:
    moved = [key for key in _UNORDERED if key in schema][1:]
    if "additionalProperties" in schema:  # Ollama drops it
        moved.append("additionalProperties")
    if not moved:
        return schema
    notes = [schema["description"]] if "description" in schema else []
    for key in moved:
        value = schema[key]
        notes.append(f"({key}: {', '.join(value) if key == 'required' else _json(value)})")
    kept = {key: value for key, value in schema.items() if key not in moved}
    return _ordered(kept | {"description": " ".join(notes)})


def _json(value: object) -> str:
    return _encode(value).decode()


def _ordered(schema: Schema) -> Schema:
    return {key: schema[key] for key in _ORDER if key in schema}


class _Simplifier:
    """One pass over one root, against which references are resolved."""

    def __init__(self, root: object) -> None:
        self._root = root
        self._nodes = 0
        self._open: list[str] = []
        """References that are being put in place: one inside itself allows anything."""

    def schema(self, source: object, depth: int = 0) -> Schema:
        already_open = len(self._open)
        source = self._merged(source, depth)
        found: Schema = {}
        description = source.get("description")
        if isinstance(description, str) and description:
            found["description"] = description
        found |= self._parts(source, depth)
        found = self._alternatives(source, depth) | found
        del self._open[already_open:]
        return _ordered(_types(source, found) | found)

    def _merged(self, source: object, depth: int) -> Schema:
        """Return a schema with what its ``$ref`` names and its ``allOf`` lists put into it."""
        self._nodes += 1
        if not isinstance(source, dict) or depth > MAX_DEPTH or self._nodes > MAX_NODES:
            return {}
        merged = source
        reference = source.get("$ref")
        if isinstance(reference, str) and reference not in self._open:
            self._open.append(reference)
            merged = _beside(merged, self._merged(self._target(reference), depth + 1))
        for part in _listed(source.get("allOf")):
            merged = _beside(merged, self._merged(part, depth + 1))
        return merged

    def _target(self, reference: str) -> object:
        """Follow a JSON pointer into the root; anything else allows anything."""
        if not reference.startswith("#"):
            return {}
        found = self._root
        for step in reference[1:].split("/")[1:]:
            if not isinstance(found, dict):
                return {}
            found = found.get(step.replace("~1", "/").replace("~0", "~"))
        return found

    def _parts(self, source: Schema, depth: int) -> Schema:
        found: Schema = {}
        values = [source["const"]] if "const" in source else _listed(source.get("enum"))
        if values:
            found["enum"] = values
        for key in ("items", "additionalProperties"):
            if isinstance(source.get(key), dict) and source[key]:
                found[key] = self.schema(source[key], depth + 1)
        properties = source.get("properties")
        if isinstance(properties, dict):
            found["properties"] = {
                name: self.schema(part, depth + 1)
                for name, part in properties.items()
                if part is not False
            }
            required = [n for n in _strings(source.get("required")) if n in found["properties"]]
            found |= {"required": required} if required else {}
        return found

    def _alternatives(self, source: Schema, depth: int) -> Schema:
        listed = _listed(source.get("anyOf")) or _listed(source.get("oneOf"))
        branches = [self.schema(part, depth + 1) for part in listed if part is not False]
        if any(branch.get("type") == ANYTHING for branch in branches):
            return {}
        if len(branches) == 1:
            return branches[0]
        if branches and all(branch.keys() == {"type", "enum"} for branch in branches):
            types = {_json(branch["type"]) for branch in branches}
            if len(types) == 1:
                values = [value for branch in branches for value in branch["enum"]]
                return {"type": branches[0]["type"], "enum": values}
        return {"anyOf": branches} if branches else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    return [entry for entry in _listed(value) if isinstance(entry, str)]


def _beside(own: Schema, other: Schema) -> Schema:
    """Return both schemas in one; what is ``own`` wins, properties and requirements add up."""
    both = other | own
    properties, more = own.get("properties"), other.get("properties")
    if isinstance(properties, dict) and isinstance(more, dict):
        both["properties"] = more | properties
    required = [*_listed(own.get("required")), *_listed(other.get("required"))]
    return both | ({"required": required} if required else {})


def _types(source: Schema, found: Schema) -> Schema:
    """Return the ``type`` a schema states, or else the one its other keys tell."""
    stated = source.get("type")
    named = [name for name in _strings([stated]) or _strings(stated) if name in _TYPES]
    if not named and "enum" in found:
        named = list(dict.fromkeys(_PYTHON_TYPES[type(value)] for value in found["enum"]))
    if not named and ("properties" in found or "additionalProperties" in found):
        named = ["object"]
    if not named and "items" in found:
        named = ["array"]
    if not named:
        return {} if "anyOf" in found or "type" in found else {"type": ANYTHING}
    return {"type": named[0] if len(named) == 1 else named}
