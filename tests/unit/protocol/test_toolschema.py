import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from llmctl.protocol.toolschema import (
    ANYTHING,
    MAX_NODES,
    parameters,
    simplified,
    steady_parameters,
    written,
)
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import json_values, many, some


class GoProperty(Struct, rename={"any_of": "anyOf"}):
    """Ollama's ``api.ToolProperty``, as strict as Go is in reading it."""

    any_of: "list[GoProperty] | None" = None
    type: str | list[str] | None = None
    items: object = None
    description: str = ""
    enum: list[object] | None = None
    properties: "dict[str, GoProperty] | None" = None
    required: list[str] | None = None


class GoParameters(Struct):
    """Ollama's ``api.ToolFunctionParameters``."""

    type: str
    properties: dict[str, GoProperty]
    required: list[str] | None = None


def as_go_reads(schema):
    return msgspec.json.decode(json.dumps(schema), type=GoParameters)


STRING = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "simple"),
    [
        ({"type": "string", "description": "d"}, {"type": "string", "description": "d"}),
        ({"description": "d", "type": "string"}, {"type": "string", "description": "d"}),
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"type": ["string"]}, STRING),
        ({"type": "string", "maxLength": 9, "format": "uri", "default": ""}, STRING),
        ({"type": "file"}, {"type": ANYTHING}),
        ({"description": 5, "type": "string"}, STRING),
        ({"const": "x"}, {"type": "string", "enum": ["x"]}),
        ({"const": None}, {"type": "null", "enum": [None]}),
        ({"enum": ["a", 1]}, {"type": ["string", "integer"], "enum": ["a", 1]}),
        ({"enum": "a"}, {"type": ANYTHING}),
        ({"items": STRING}, {"type": "array", "items": STRING}),
        ({"type": "array", "items": True}, {"type": "array"}),
        (True, {"type": ANYTHING}),
        (None, {"type": ANYTHING}),
        ({}, {"type": ANYTHING}),
        (
            {"properties": {"a": True, "b": False}, "required": ["a", "b", 5, []]},
            {"type": "object", "properties": {"a": {"type": ANYTHING}}, "required": ["a"]},
        ),
        (
            {"type": "object", "additionalProperties": False, "propertyNames": STRING},
            {"type": "object"},
        ),
        ({"type": "object", "additionalProperties": {}}, {"type": "object"}),
        (
            {"additionalProperties": {"type": "integer", "minimum": 0}},
            {"type": "object", "additionalProperties": {"type": "integer"}},
        ),
        ({"anyOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"oneOf": [STRING, {"type": "null"}]}, {"anyOf": [STRING, {"type": "null"}]}),
        ({"anyOf": [STRING], "description": "d"}, {"type": "string", "description": "d"}),
        (
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "string", "const": "b"}]},
            {"type": "string", "enum": ["a", "b"]},
        ),
        (
            {"anyOf": [{"enum": ["a"]}, {"enum": [1]}]},
            {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "integer", "enum": [1]}]},
        ),
        (
            {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"type": "object"},
        ),
        (
            {
                "properties": {"a": STRING},
                "required": ["a"],
                "allOf": [{"properties": {"b": STRING}, "required": ["b"], "description": "d"}, 7],
            },
            {
                "type": "object",
                "description": "d",
                "properties": {"b": STRING, "a": STRING},
                "required": ["a", "b"],
            },
        ),
    ],
)
def test_simplified(schema, simple):
    assert simplified(schema) == simple
    assert list(simplified(schema)) == list(simple)


# -- references ----------------------------------------------------------------------------------


def test_references_are_put_in_place():
    schema = {
        "$defs": {"a/b": {"type": "string", "description": "theirs"}},
        "properties": {
            "x": {"$ref": "#/$defs/a~1b"},
            "y": {"$ref": "#/$defs/a~1b", "description": "mine"},
        },
    }
    assert simplified(schema)["properties"] == {
        "x": {"type": "string", "description": "theirs"},
        "y": {"type": "string", "description": "mine"},
    }


@pytest.mark.parametrize("reference", ["#/$defs/none", "#/type/x", "https://x/y.json", 5])
def test_references_to_nothing(reference):
    schema = {"type": "object", "properties": {"x": {"$ref": reference}}}
    assert simplified(schema)["properties"]["x"] == {"type": ANYTHING}


def test_a_schema_inside_itself_ends():
    tree = {
        "type": "object",
        "properties": {"children": {"type": "array", "items": {"$ref": "#"}}},
    }
    [inner] = simplified(tree)["properties"].values()
    assert inner["items"]["properties"]["children"] == {
        "type": "array",
        "items": {"type": ANYTHING},
    }


def test_a_reference_used_twice_is_no_schema_inside_itself():
    schema = {
        "$defs": {"s": STRING},
        "properties": {"a": {"$ref": "#/$defs/s"}, "b": {"items": {"$ref": "#/$defs/s"}}},
    }
    found = simplified(schema)["properties"]
    assert found == {"a": STRING, "b": {"type": "array", "items": STRING}}


def test_references_cannot_multiply_without_end():
    wide = {f"p{n}": {"$ref": "#/$defs/l1"} for n in range(10)}
    levels = {
        f"l{n}": {"properties": {f"p{m}": {"$ref": f"#/$defs/l{n + 1}"} for m in range(10)}}
        for n in range(1, 9)
    }
    schema = simplified({"$defs": levels, "properties": wide})
    assert json.dumps(schema).count('"type"') < 3 * MAX_NODES


def test_circles_of_references():
    schema = {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    }
    assert simplified(schema) == {"type": ANYTHING}


# -- parameters ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema", [None, {}, {"type": "array"}, {"$schema": "x", "type": "object"}]
)
def test_parameters_are_an_object_in_any_case(schema):
    assert parameters(schema) == {"type": "object", "properties": {}}


def test_order_of_parameters_is_the_clients():
    schema = {"properties": {"b": STRING, "a": STRING}, "required": ["b", "a"]}
    assert list(parameters(schema)["properties"]) == ["b", "a"]
    assert parameters(schema)["required"] == ["b", "a"]


@pytest.mark.parametrize(
    ("parameter", "steady"),
    [
        (
            {"type": "object", "properties": {"a": STRING}, "required": ["a"], "description": "d"},
            {"type": "object", "description": "d (required: a)", "properties": {"a": STRING}},
        ),
        (
            {"type": "array", "items": STRING, "enum": [["a"]]},
            {"type": "array", "description": '(enum: [["a"]])', "items": STRING},
        ),
        (
            {"properties": {"a": STRING}, "additionalProperties": STRING},
            {
                "type": "object",
                "description": '(additionalProperties: {"type":"string"})',
                "properties": {"a": STRING},
            },
        ),
        (
            {"type": "object", "additionalProperties": STRING},
            {"type": "object", "description": '(additionalProperties: {"type":"string"})'},
        ),
        ({"type": "array", "items": STRING}, {"type": "array", "items": STRING}),
    ],
)
def test_one_unordered_key_a_parameter(parameter, steady):
    assert steady_parameters({"properties": {"p": parameter}})["properties"]["p"] == steady


def unordered(parameter):
    return parameter.keys() & {"enum", "items", "properties", "required", "anyOf"}


@pytest.mark.parametrize("tool", shapes.tools(), ids=lambda tool: tool["name"])
def test_tools_of_claude_code(tool):
    steady = steady_parameters(tool["input_schema"])
    as_go_reads(steady)
    assert list(steady["properties"]) == list(tool["input_schema"]["properties"])
    assert steady.get("required", []) == tool["input_schema"].get("required", [])
    assert all(len(unordered(part)) <= 1 for part in steady["properties"].values())


KEYWORDS = st.sampled_from(
    "type description enum const items properties required anyOf oneOf allOf $ref $defs "
    "additionalProperties format default maxLength".split()
)
POINTERS = st.sampled_from(["#", "#/$defs/a", "#/properties/a", "#/items"])
NAMES = st.sampled_from(["a", "string", "object", "array"])
schemas = st.recursive(
    json_values | POINTERS | NAMES | st.lists(NAMES, max_size=2),
    lambda inner: (
        st.dictionaries(KEYWORDS, inner, max_size=5)
        | st.dictionaries(NAMES, inner, max_size=2)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=30,
)


@many
@given(st.dictionaries(KEYWORDS, schemas, max_size=6))
def test_any_schema_is_one_that_ollama_reads_and_renders_steadily(schema):
    steady = steady_parameters(schema)
    as_go_reads(steady)
    assert all(len(unordered(part)) <= 1 for part in steady["properties"].values())


@some
@given(st.dictionaries(KEYWORDS, schemas, max_size=6))
def test_simplifying_twice_changes_nothing(schema):
    once = simplified(schema)
    assert simplified(once) == once


@some
@given(st.dictionaries(KEYWORDS, schemas, max_size=6))
def test_written_is_the_conversion_as_json(schema):
    expected = msgspec.json.encode(parameters(schema))
    assert bytes(written(parameters, schema)) == expected
    assert bytes(written(parameters, schema)) == expected


def test_large_schemas_are_written_without_being_remembered():
    schema = {"properties": {"a": {"type": "string", "description": "x" * 20_000}}}
    assert json.loads(bytes(written(parameters, schema))) == parameters(schema)
