import json

import pytest
from hypothesis import given

from llmctl.protocol.anthropic import (
    Base64Source,
    ImageBlock,
    TextBlock,
    ToolResultBlock,
    ToolUseBlock,
    Turn,
)
from llmctl.protocol.errors import ApiError
from llmctl.protocol.normal import MAX_TOKENS, normalise
from llmctl.protocol.request import decode
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import body, conversations, many, odd_conversations, some


def normal(request, **options):
    return normalise(decode(json.dumps(request).encode()), **options)


def messages(*turns):
    return normal(body(list(turns))).messages


def user(content):
    return {"role": "user", "content": content}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def system(content):
    return {"role": "system", "content": content}


def text(words):
    return {"type": "text", "text": words}


def use(call_id, name="Bash", **arguments):
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def result(call_id, content="ok", **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def texts(turn):
    return [block.text for block in turn.content]


# -- system --------------------------------------------------------------------------------------


def test_system_blocks_become_one_string_without_the_billing_block():
    request = shapes.main_request()
    kept = [block["text"] for block in request["system"][1:]]
    assert normal(request).system == "\n\n".join(kept)


def test_the_billing_block_stays_where_the_prefix_need_not_be_stable():
    system = normal(shapes.main_request(), stable_prefix=False).system
    assert system.startswith("x-anthropic-billing-header: cc_version")


def test_a_billing_line_before_other_text_goes_alone():
    header = "x-anthropic-billing-header: cc_version=3;\nYou are brief."
    assert normal(body([user("x")], system=header)).system == "You are brief."


@pytest.mark.parametrize("empty", [None, "", [], [text("")]])
def test_no_system(empty):
    assert normal(body([user("x")], system=empty)).system is None


def test_system_messages_before_the_first_user_message_join_the_system_prompt():
    request = normal(body([system("b"), system([text("c"), text("d")]), user("x")], system="a"))
    assert request.system == "a\n\nb\n\nc\n\nd"
    assert [turn.role for turn in request.messages] == ["user"]


# -- system messages in the conversation ---------------------------------------------------------


def test_a_system_message_becomes_a_reminder_before_the_words_it_follows():
    [said] = messages(user("do it"), system("agents: one"))
    assert said.role == "user"
    assert texts(said) == ["<system-reminder>\nagents: one\n</system-reminder>", "do it"]


def test_a_reminder_that_is_one_already_is_not_wrapped_again():
    [said] = messages(user("x"), system("<system-reminder>\nfew tokens left\n</system-reminder>"))
    assert texts(said)[0] == "<system-reminder>\nfew tokens left\n</system-reminder>"


def test_reminders_come_after_tool_results():
    said = messages(user("x"), assistant(use("a")), user([result("a"), text("go on")]), system("s"))
    results, reminder, words = said[2].content
    assert isinstance(results, ToolResultBlock)
    assert "s" in reminder.text
    assert words.text == "go on"


def test_a_system_message_between_answer_and_question_joins_the_question():
    said = messages(user("x"), assistant(text("y")), system("s"), user("z"))
    assert [turn.role for turn in said] == ["user", "assistant", "user"]
    assert texts(said[2])[1] == "z"


def test_a_system_message_at_the_end_is_a_users():
    said = messages(user("x"), assistant(text("y")), system("summarise"))
    assert said[-1].role == "user"
    assert "summarise" in texts(said[-1])[0]


# -- content -------------------------------------------------------------------------------------


def test_a_string_is_one_block_of_text():
    assert messages(user("x")) == messages(user([text("x")]))


def test_empty_text_and_no_content_are_skipped():
    said = messages(
        user([text(""), text("x")]),
        assistant(text("(no content)"), text("y")),
        user("(no content)"),
    )
    assert [texts(turn) for turn in said] == [["x"], ["y"], ["(no content)"]]


def test_thinking_goes():
    said = messages(
        user("x"),
        assistant(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "e"},
            text("y"),
        ),
        user("z"),
    )
    assert texts(said[1]) == ["y"]


def test_turns_of_one_side_become_one_message():
    said = messages(user("a"), user("b"), assistant(text("c")), assistant(text("d")), user("e"))
    assert [texts(turn) for turn in said] == [["a", "b"], ["c", "d"], ["e"]]


def test_an_empty_answer_still_separates_but_is_never_the_last():
    thinking = {"type": "thinking", "thinking": "hm"}
    said = messages(user("a"), assistant(thinking), user("b"), assistant(thinking))
    assert said == [
        Turn(role="user", content=[TextBlock(text="a")]),
        Turn(role="assistant", content=[]),
        Turn(role="user", content=[TextBlock(text="b")]),
    ]


def test_an_answer_begun_by_the_client_stays_last():
    said = messages(user("a"), assistant(text("{")))
    assert said[-1] == Turn(role="assistant", content=[TextBlock(text="{")])


@pytest.mark.parametrize("empty", [[user("")], [user([])], [user([text("")]), assistant()]])
def test_nothing_to_answer(empty):
    with pytest.raises(ApiError, match="messages: every message is empty"):
        messages(*empty)


# -- tools ---------------------------------------------------------------------------------------


def test_results_stand_in_the_order_of_their_calls():
    request = shapes.tool_turn(
        shapes.main_request(),
        [shapes.Call(id=name, name="Bash", input={}, result=name) for name in "abc"],
        finished=[2, 0, 1],
    )
    ordered = [block.tool_use_id for block in normal(request).messages[-1].content]
    arrived = normal(request, stable_prefix=False).messages[-1].content
    assert ordered == ["a", "b", "c"]
    assert [block.tool_use_id for block in arrived] == ["c", "a", "b"]


def test_a_result_is_a_list_of_blocks_and_a_boolean():
    said = messages(
        user("x"),
        assistant(use("a"), use("b"), use("c")),
        user([result("a"), result("b", [text("ok"), text("")], is_error=True), result("c", None)]),
    )
    assert said[2].content == [
        ToolResultBlock(tool_use_id="a", content=[TextBlock(text="ok")], is_error=False),
        ToolResultBlock(tool_use_id="b", content=[TextBlock(text="ok")], is_error=True),
        ToolResultBlock(tool_use_id="c", content=[], is_error=False),
    ]


def test_ids_and_inputs_are_left_alone():
    said = messages(user("x"), assistant(use("toolu_9", b=1, a=2)), user([result("toolu_9")]))
    assert said[1].content == [ToolUseBlock(id="toolu_9", name="Bash", input={"b": 1, "a": 2})]


def test_a_result_without_its_call_becomes_text():
    said = messages(user("x"), user([result("gone", "4 files", is_error=True), text("so?")]))
    assert texts(said[0]) == [
        "x",
        "[result of an earlier tool call, which failed]",
        "4 files",
        "so?",
    ]


def test_two_calls_of_one_id_take_the_first_place():
    said = messages(
        user("x"), assistant(use("a"), use("a"), use("b")), user([result("b"), result("a")])
    )
    assert [block.tool_use_id for block in said[2].content] == ["a", "b"]


def test_server_tools_are_not_offered():
    assert normal(shapes.web_search_request()).tools is None
    bare = normal(body([user("x")], tools=[{"name": "go"}, {"type": "custom", "name": "stop"}]))
    assert [tool.input_schema for tool in bare.tools] == [{"type": "object", "properties": {}}] * 2


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        (None, None),
        ({"type": "auto"}, None),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        ({"type": "any"}, "any"),
        ({"type": "tool", "name": "go"}, "tool"),
        ({"type": "tool", "name": "web_search"}, None),
    ],
)
def test_tool_choice(choice, kept):
    tools = [{"name": "go"}, {"type": "web_search_20250305", "name": "web_search"}]
    request = normal(body([user("x")], tools=tools, tool_choice=choice))
    assert (request.tool_choice and request.tool_choice.type) == kept
    assert [tool.name for tool in request.tools] == ["go"]


def test_without_a_choice_there_are_no_tools():
    request = normal(body([user("x")], tools=[{"name": "go"}], tool_choice={"type": "none"}))
    assert request.tools is None
    assert request.tool_choice is None


# -- the rest ------------------------------------------------------------------------------------


def test_options():
    request = normal(
        body(
            [user("x")],
            max_tokens=2**40,
            stream=True,
            stop_sequences=["", "END"],
            thinking={"type": "enabled", "budget_tokens": 9},
            output_config={"format": {"type": "text"}},
        )
    )
    assert request.max_tokens == MAX_TOKENS
    assert request.stream is None
    assert request.stop_sequences == ["END"]
    assert request.thinking.budget_tokens is None
    assert request.output_config is None


def test_output_format_and_effort_stay():
    config = normal(shapes.title_request()).output_config
    assert config.effort == "high"
    assert config.format.schema["required"] == ["title"]


@many
@given(odd_conversations)
def test_the_shape_of_the_normal_form(turns):
    try:
        said = messages(*turns)
    except ApiError:
        return
    roles = [turn.role for turn in said]
    assert all(one != other for one, other in zip(roles, roles[1:], strict=False))
    assert set(roles) <= {"user", "assistant"}
    assert said[-1].role == "user" or said[-1].content
    kinds = {type(block) for turn in said for block in turn.content}
    assert kinds <= {TextBlock, ImageBlock, ToolUseBlock, ToolResultBlock}
    images = (b for turn in said for b in turn.content if isinstance(b, ImageBlock))
    assert all(isinstance(image.source, Base64Source) for image in images)


@many
@given(odd_conversations)
def test_normalising_twice_changes_nothing(turns):
    try:
        once = normal(body(turns, system="s"))
    except ApiError:
        return
    assert normalise(once) == once


def boundaries(turns):
    """Where a model was asked: after each run that is not the assistant's."""
    roles = [turn["role"] == "assistant" for turn in turns]
    return [n for n in range(1, len(turns)) if roles[n] and not roles[n - 1]]


@some
@given(conversations())
def test_appending_never_changes_what_came_before(turns):
    whole = messages(*turns)
    for end in boundaries(turns):
        part = messages(*turns[:end])
        assert whole[: len(part)] == part


@many
@given(odd_conversations)
def test_any_cut_leaves_all_but_the_last_message_as_it_was(turns):
    try:
        whole = messages(*turns)
    except ApiError:
        return
    for end in range(1, len(turns)):
        try:
            part = messages(*turns[:end])
        except ApiError:
            continue
        assert whole[: len(part) - 1] == part[:-1]
