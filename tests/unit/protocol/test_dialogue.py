import json

from hypothesis import given

from llmctl.protocol.dialogue import Call, Entry, entries, numbered
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode
from tests.unit.protocol.conversations import body, conversations, some

EVERYTHING = ("tools", "vision")
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


def plan(*turns, can=EVERYTHING, **fields):
    return ChatPlan(
        request=normalise(decode(json.dumps(body(list(turns), **fields)).encode())),
        model=EngineModel(name="m", digest="d", capabilities=frozenset(can)),
        num_ctx=None,
        max_tokens=1,
    )


def user(content):
    return {"role": "user", "content": content}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(words):
    return {"type": "text", "text": words}


def use(call_id, **arguments):
    return {"type": "tool_use", "id": call_id, "name": "Bash", "input": arguments}


def result(call_id, content="ok", **more):
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def said(*turns, **options):
    return [(entry.role, entry.text) for entry in entries(plan(*turns, **options))]


TOOL_TURN = [
    user("list"),
    assistant(text("both"), use("toolu_x", command="ls"), use("toolu_y")),
    user([result("toolu_y", "2"), result("toolu_x", "1", is_error=True), text("and now?")]),
]


def test_system_comes_first():
    assert said(user("x"), system="s") == [("system", "s"), ("user", "x")]


def test_calls_and_results():
    found = entries(plan(*TOOL_TURN))
    first = Call(id="call00001", name="Bash", arguments={"command": "ls"})
    second = Call(id="call00002", name="Bash", arguments={})
    assert found[1:] == [
        Entry(role="assistant", text="both", calls=(first, second)),
        Entry(role="tool", text="Error: 1", call=first),
        Entry(role="tool", text="2", call=second),
        Entry(role="user", text="and now?"),
    ]


def test_results_alone_have_no_message_of_the_user_after_them():
    found = said(user("x"), assistant(use("a")), user([result("a")]))
    assert [role for role, _ in found] == ["user", "assistant", "tool"]


def test_a_model_without_tools_reads_them_as_text():
    assert said(*TOOL_TURN, can=()) == [
        ("user", "list"),
        (
            "assistant",
            "both\n\n"
            '<tool_call>\n{"name":"Bash","arguments":{"command":"ls"}}\n</tool_call>\n\n'
            '<tool_call>\n{"name":"Bash","arguments":{}}\n</tool_call>',
        ),
        (
            "user",
            "<tool_response>\nError: 1\n</tool_response>\n\n"
            "<tool_response>\n2\n</tool_response>\n\nand now?",
        ),
    ]


def test_images_go_with_their_message():
    turns = [user([PNG, text("look")]), assistant(use("a")), user([result("a", [PNG, text("r")])])]
    shown = entries(plan(*turns))
    assert [len(entry.images) for entry in shown] == [1, 0, 1]
    assert [entry.text for entry in shown] == ["look", "", "r"]
    plain = entries(plan(*turns, can=()))
    assert [len(entry.images) for entry in entries(plan(*turns, can=("vision",)))] == [1, 0, 1]
    assert not any(entry.images for entry in plain)


def test_a_model_without_vision_reads_what_the_image_was():
    note = "[image not shown: image/png, 2 bytes]"
    turns = [user([PNG]), assistant(use("a")), user([result("a", [PNG], is_error=True)])]
    assert [words for _, words in said(*turns, can=("tools",))] == [note, "", f"Error: \n\n{note}"]


def test_empty_messages_of_the_user_still_separate():
    found = said(user("x"), assistant(text("y")), user(""))
    assert found == [("user", "x"), ("assistant", "y"), ("user", "")]


def test_repeated_ids_are_told_apart():
    turns = [
        user("x"),
        assistant(use("a")),
        user([result("a")]),
        assistant(use("a")),
        user([result("a")]),
    ]
    calls = [entry.call.id for entry in entries(plan(*turns)) if entry.call]
    assert calls == ["call00001", "call00002"]


def test_numbering_leaves_what_it_does_not_know():
    request = plan(user("x"), assistant(text("y"))).request
    assert numbered(request.messages) == request.messages


@some
@given(conversations())
def test_appending_only_appends(turns):
    for can in (EVERYTHING, ("tools",), ()):
        whole = entries(plan(*turns, can=can))
        for end in range(1, len(turns)):
            if turns[end]["role"] == "assistant":
                part = entries(plan(*turns[:end], can=can))
                assert whole[: len(part)] == part
