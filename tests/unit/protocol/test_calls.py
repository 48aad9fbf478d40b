import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.anthropic import Tool
from llmctl.protocol.calls import UNPARSED, OfferedTools, arguments_of, parse_json
from tests.unit.protocol.streams import OFFERED, call


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Read", "Read"),
        (" read\n", "Read"),
        ("BASH", "Bash"),
        ("Re ad", "Read"),
        ("Reader", None),
        ("", None),
    ],
)
def test_names_forgive_case_and_white_space_only(said, meant):
    assert OFFERED.name(said) == meant


def test_an_ambiguous_name_means_nothing_unless_it_is_exact():
    offered = OfferedTools([Tool(name="Read"), Tool(name="read")])
    assert offered.name("read") == "read"
    assert offered.name("READ") is None


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("command", "5", "5"),
        ("command", "null", "null"),
        ("timeout", " 5 ", 5),
        ("timeout", "5.5", 5.5),
        ("timeout", "soon", "soon"),
        ("timeout", "true", "true"),
        ("background", "true", True),
        ("background", "False", False),
        ("background", "1", "1"),
        ("paths", '["a", "b"]', ["a", "b"]),
        ("paths", "a, b", "a, b"),
        ("env", '{"A": {"B": 1}}', {"A": {"B": 1}}),
        ("env", "[1]", "[1]"),
        ("note", "7", "7"),
        ("unknown", "[1]", "[1]"),
        ("label", "null", None),
        ("label", "7", "7"),
        ("count", "7", 7),
        ("count", "7.0", 7),
        ("count", "7.5", "7.5"),
        ("count", "null", None),
        ("count", "[" * 100_000, "[" * 100_000),
    ],
)
def test_written_values_get_the_type_of_the_schema(key, text, value):
    typed = OFFERED.typed("Bash", {key: text})
    assert typed == {key: value}
    assert type(typed[key]) is type(value)


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"properties": None},
        {"properties": []},
        {"properties": {"a": True}},
        {"properties": {"a": {"type": 7, "anyOf": {"type": "integer"}, "oneOf": [3]}}},
    ],
)
def test_schemas_that_say_nothing_leave_text(schema):
    assert OfferedTools([Tool(name="T", input_schema=schema)]).typed("T", {"a": "1"}) == {"a": "1"}


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [
        ("", {}),
        (" \n", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ("null", {UNPARSED: {"raw": "null", "len": 4}}),
        ("[1]", {UNPARSED: {"raw": "[1]", "len": 3}}),
        ('{"a": "cut of', {UNPARSED: {"raw": '{"a": "cut of', "len": 13}}),
        ('{"a": "\\ud83d"}', {UNPARSED: {"raw": '{"a": "\\ud83d"}', "len": 15}}),
    ],
)
def test_arguments_are_read_or_kept_as_the_client_keeps_them(raw, arguments):
    assert arguments_of(raw) == arguments


@pytest.mark.parametrize(
    ("text", "bare", "calls"),
    [
        ('{"name": "Read", "arguments": {"limit": 1}}', True, [call("Read", limit=1)]),
        ('{"name": "read", "parameters": {}}', True, [call("Read")]),
        ('{"name": "Read", "arguments": "{\\"limit\\": 1}"}', True, [call("Read", limit=1)]),
        (
            '{"function": {"name": "Read", "arguments": {}}, "type": "function"}',
            True,
            [call("Read")],
        ),
        (
            '[{"name": "Read", "arguments": {}}, {"name": "Bash", "arguments": {}}]',
            True,
            [call("Read"), call("Bash")],
        ),
        ('{"name": "Read"}', False, [call("Read")]),
        ('{"name": "Read"}', True, []),
        ('{"name": "Nope", "arguments": {}}', True, []),
        ('{"name": "Read", "arguments": [1]}', True, []),
        ('{"name": "Read", "arguments": {}, "age": 3}', True, []),
        ('[{"name": "Read", "arguments": {}}, 3]', True, []),
        ('{"name": 3, "arguments": {}}', True, []),
        ("[]", True, []),
        ("no json", True, []),
    ],
)
def test_json_is_calls_or_none(text, bare, calls):
    assert OFFERED.calls(text, bare=bare) == calls


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    )
)
def test_whatever_is_parsed_can_be_sent_on(value):
    text = msgspec.json.encode(value).decode()
    assert msgspec.json.decode(msgspec.json.encode(parse_json(text))) == msgspec.json.decode(text)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '"\\ud83d"', "nul"])
def test_anything_else_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)
