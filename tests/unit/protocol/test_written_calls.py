import pytest

from llmctl.protocol.written_calls import NotACall, Reader, whole_message, written_call
from tests.unit.protocol.streams import OFFERED, call

READ = "<function=Read>\n<parameter=file_path>\n/a b.txt\n</parameter>\n</function>"


def parse(grammar, text, *, chars=False):
    """Return the calls and the text that is left; NotACall comes through."""
    reader = Reader()
    parser = grammar(reader, OFFERED)
    calls = []
    try:
        for part in text if chars else [text]:
            reader.add(part)
            while (found := next(parser)) is not None:
                calls.append(found)
        reader.ended = True
        calls += list(parser)
    except StopIteration:
        pass
    return calls, reader.text


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (READ, [call("Read", file_path="/a b.txt")]),
        (READ + "\n</tool_call>", [call("Read", file_path="/a b.txt")]),
        (f"<tool_call>\n{READ}\n</tool_call>", [call("Read", file_path="/a b.txt")]),
        ("<function=read>\n</function>", [call("Read")]),
        ("<function=Read><parameter=limit>5</parameter></function>", [call("Read", limit=5)]),
        (
            "<function=Write><parameter=content>\n\n<p>\n\n</parameter>\n"
            "<parameter=file_path>x</parameter></function>",
            [call("Write", content="\n<p>\n", file_path="x")],
        ),
        (
            '<tool_call>{"name": "Read", "arguments": {"file_path": "</tool_call> \\" }"}}'
            "</tool_call>",
            [call("Read", file_path='</tool_call> " }')],
        ),
        ('<tool_call>\n{"name": "Read"}\n</tool_call>', [call("Read")]),
        ('<tool_call>{"name": "Read", "arguments": {}}', [call("Read")]),
    ],
)
def test_calls_in_tags(text, calls, chars):
    assert parse(written_call, text, chars=chars) == (calls, "")


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    "quoted",
    ["say </parameter> and </function> here", f"as in {READ}.", f"{READ}\n{READ}", "</tool_call>"],
)
def test_a_value_may_quote_tags_and_calls(quoted, chars):
    text = f"<function=Bash>\n<parameter=command>\n{quoted}\n</parameter>\n</function>"
    assert parse(written_call, text, chars=chars)[0] == [call("Bash", command=quoted)]


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    "ending",
    ["</function>", "</function>\n</tool_call>", "</parameter>\n</tool_call>", "</tool_call>"],
)
def test_at_the_end_of_the_message_the_last_value_may_lack_its_tags(ending, chars):
    text = f"<tool_call><function=Bash>\n<parameter=command>\nls\n{ending}\n"
    assert parse(written_call, text, chars=chars)[0] == [call("Bash", command="ls")]


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        "<function=Reader>",
        "<function=Read>\nprose",
        "<function=Read><parameter=a\nb>",
        "<function=Read><parameter=>x</parameter></function>",
        "<function=Read><parameter=a>never closed",
        "<function=Read><parameter=a>one\n<parameter=b>two\n</function>",
        "<function=Read><parameter=a>one\n<parameter=b>two</parameter>\n</function>",
        "<function=Read><parameter=a>x</parameter>",
        "<function=Read>",
        "<function=",
        "<tool_call> is a tag",
        '<tool_call>{"name": "Nope", "arguments": {}}</tool_call>',
        '<tool_call>{"title": 1}</tool_call>',
        '<tool_call>{"name": "Read", "arguments": {"a": "cut',
        '<tool_call>{"name": "Read", "arguments": 7}</tool_call>',
        "<tool_call",
    ],
)
def test_what_is_no_call_in_tags(text, chars):
    with pytest.raises(NotACall):
        parse(written_call, text, chars=chars)


def test_text_behind_a_call_is_left_with_its_white_space():
    assert parse(written_call, READ + "\n\nDone.") == (
        [call("Read", file_path="/a b.txt")],
        "\n\nDone.",
    )
    assert parse(written_call, READ + "\n</tool") == (
        [call("Read", file_path="/a b.txt")],
        "\n</tool",
    )
    assert parse(written_call, READ + "\n ")[1] == ""


BARE = '{"name": "Read", "arguments": {"file_path": "a}b"}}'


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (BARE, [call("Read", file_path="a}b")]),
        (BARE + "\n", [call("Read", file_path="a}b")]),
        (f"```json\n{BARE}\n```\n", [call("Read", file_path="a}b")]),
        (f"```JSON\n{BARE}\n```", [call("Read", file_path="a}b")]),
        (f"```\n{BARE}\n```", [call("Read", file_path="a}b")]),
        (f"```json\n{BARE}", [call("Read", file_path="a}b")]),
        (f"[{BARE}, {BARE}]", [call("Read", file_path="a}b")] * 2),
        (f"{BARE}\n{BARE}", [call("Read", file_path="a}b")] * 2),
        ('{"arguments": {"command": "a\\\\"}, "name": "Bash"}', [call("Bash", command="a\\")]),
        ('{"type": "function", "function": {"name": "Bash", "arguments": {}}}', [call("Bash")]),
    ],
)
def test_messages_that_are_calls(text, calls, chars):
    assert parse(whole_message, text, chars=chars) == (calls, "")


@pytest.mark.parametrize("chars", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        '{"title": "x"}',
        '{"name": "Peter"}',
        '{"name": "Peter',
        '{"name": 3}',
        '{"name" 3}',
        '{"name": "Read", "arguments": {}} is what I would call',
        '{"name": "Read", "arguments": {}, "x": 1}',
        '{"name": "Read", "arg',
        "{}",
        "[1, 2]",
        "[]",
        "{ not json",
        "```python\nx\n```",
        "```jsonc\n{}\n```",
        "```json\n[1]\n```",
        f"```json\n{BARE}\n```\nThis reads the file.",
        f"````json\n{BARE}\n````",
        "``",
    ],
)
def test_messages_that_are_no_calls(text, chars):
    with pytest.raises(NotACall):
        parse(whole_message, text, chars=chars)
