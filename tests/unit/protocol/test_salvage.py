import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from llmctl.protocol.salvage import Salvager
from tests.unit.protocol.streams import OFFERED, call, cuts, pieces

READ = "<function=Read><parameter=file_path>/a</parameter></function>"
BARE = '{"name": "Read", "arguments": {"limit": 1}}'


def salvage(parts, **settings):
    """Return text and calls in order, neighbouring text joined."""
    salvager = Salvager(OFFERED, **settings)
    found = [piece for part in parts for piece in salvager.feed(part)]
    found += salvager.finish()
    joined = []
    for piece in found:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"I read.\n\n{READ}\n</tool_call>", ["I read.\n\n", call("Read", file_path="/a")]),
        (f"{READ}\n{READ}", [call("Read", file_path="/a"), "\n", call("Read", file_path="/a")]),
        (f"<tool_call>{READ}</tool_call> Done.", [call("Read", file_path="/a"), " Done."]),
        (f"a < b <{READ}", ["a < b <", call("Read", file_path="/a")]),
        (f"<tool_call>{{x}} {READ}", ["<tool_call>{x} ", call("Read", file_path="/a")]),
        (f" \n{BARE}\n", [" \n", call("Read", limit=1)]),
        (f"```json\n{BARE}\n```", [call("Read", limit=1)]),
        (f"{{x}} {READ}", ["{x} ", call("Read", file_path="/a")]),
        (f"```\nx\n```\n{READ}", ["```\nx\n```\n", call("Read", file_path="/a")]),
        (f"`code` {READ}", ["`code` ", call("Read", file_path="/a")]),
        (f"it`s\n{READ}", ["it`s\n", call("Read", file_path="/a")]),
    ],
)
def test_calls_are_taken_out_of_the_text(text, found):
    assert salvage([text]) == found
    assert salvage(text) == found


UNTOUCHED = [
    "The form is `<function=Read>` with `<parameter=a>` inside.",
    f"Write it so: `{READ}`.",
    f"An example:\n```xml\n{READ}\n```\nThat is all.",
    f"An example:\n\n   ````\n```\n{READ}\n```\n````\n",
    f"- item\n- ```xml\n  {READ}\n  ```\n",
    f"```\n```python\n{READ}\n```\n",
    f"``two `ticks {READ}``",
    "<function=Unknown><parameter=a>1</parameter></function>",
    "<tool_call> is how a call begins, </tool_call> how it ends.",
    '<tool_call>{"name": "Unknown", "arguments": {}}</tool_call>',
    f"<function=Write><parameter=content>an example: {READ} cut here",
    f"<function=Write><parameter=content>x</parameter>{READ} no end</function> ",
    f"Call it with:\n```json\n{BARE}\n```\n",
    f"```json\n{BARE}\n```\nis how it looks.",
    f"{BARE} is how it looks.",
    '{"title": "A <b>bold</b> thing", "n": [1, {"x": "<tool_call>"}]}',
    '{"name": "Read", "arguments": {"limit": 1',
    "[1, 2, 3]",
    "[link](x) and {braces}",
    "```python\nprint('<tool_call>')\n```",
    "```json\n{}\n```",
    "<",
    "<tool_call>",
    "a <function",
    " \n ",
    "",
]


@pytest.mark.parametrize("text", UNTOUCHED)
def test_prose_and_examples_come_through_untouched(text):
    whole = [text] if text else []
    assert salvage([text]) == whole
    assert salvage(text) == whole


@pytest.mark.parametrize("text", [BARE, f"```json\n{BARE}\n```"])
def test_where_json_was_asked_for_json_is_text(text):
    assert salvage(text, bare=False) == [text]


FRAGMENTS = [
    READ, BARE, "<tool_call>", "</tool_call>", "<function=", "Read>", "<parameter=limit>", "3",
    "</parameter>", "</function>", "`", "```", "```json\n", "\n", " ", "<", "{", "}", '"', "\\",
    '{"name": "', "prose", "é😀", "- ",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join), cuts)
@example(text="{x} <function=Read></function>", where=[3])
@example(text=f"````{READ}", where=[1, 2, 3])
def test_any_split_gives_the_same(text, where):
    found = salvage([text]) if text else []
    assert salvage(pieces(text, where)) == found
    assert salvage(text) == found


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=9).map("".join))
def test_text_is_only_ever_replaced_by_calls(text):
    found = salvage([text])
    rest = text
    for piece in found:
        if isinstance(piece, str):
            assert piece in rest
            rest = rest[rest.index(piece) + len(piece) :]
    if all(isinstance(piece, str) for piece in found):
        assert "".join(found) == text


@given(st.text(alphabet="ab <tolcf_=>&\n`{}", max_size=60))
def test_nothing_but_the_beginning_of_an_opener_is_held_back(text):
    text = "x" + text  # so that it cannot be JSON as a whole
    salvager = Salvager(OFFERED)
    shown = ""
    for end, char in enumerate(text, 1):
        shown += "".join(salvager.feed(char))
        held = text[len(shown) : end]
        assert shown + held == text[:end]
        assert any(opener.startswith(held) for opener in ("<tool_call>", "<function=")) or (
            held.startswith("<tool_call>") and held.removeprefix("<tool_call>").isspace()
        )
    assert shown + "".join(salvager.finish()) == text


@given(st.text(alphabet='ab >/=\n`"}]', max_size=60), cuts)
def test_text_without_an_opener_is_passed_on_at_once(text, where):
    text = "x" + text
    salvager = Salvager(OFFERED)
    for piece in pieces(text, where):
        assert salvager.feed(piece) == [piece]
    assert salvager.finish() == []


def test_an_answer_in_json_is_released_at_its_first_foreign_key():
    salvager = Salvager(OFFERED)
    assert "".join(salvager.feed('{"ti') + salvager.feed("tle")) == '{"title'
    salvager = Salvager(OFFERED)
    assert salvager.feed('{"na') == []
    assert "".join(salvager.feed('me": "Pe')) == '{"name": "Pe'


def test_many_openers_at_once_need_no_stack():
    text = "<function=" * 20_000
    assert "".join(salvage([text])) == text


def test_a_long_value_in_tokens_costs_no_more_than_its_length():
    value = "<b>x</b>\n" * 30_000
    text = f"<function=Write><parameter=content>{value}</parameter></function>"
    found = salvage(text[at : at + 4] for at in range(0, len(text), 4))
    assert found == [call("Write", content=value.removesuffix("\n"))]
