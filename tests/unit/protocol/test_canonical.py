"""Every row of what differs between identical runs, and of what must keep answers apart."""

import copy
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.canonical import ANSWER_TAG, answer_key, raw_key
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode
from tests import claude_shapes as shapes
from tests.unit.protocol.conversations import body, conversations, some

CALLS = [
    shapes.Call(id="toolu_1", name="Bash", input={"command": "ls", "timeout": 5}, result="a"),
    shapes.Call(id="toolu_2", name="Edit", input={"old": "x", "new": "y"}, result="b"),
]
BASE = shapes.tool_turn(shapes.main_request(), CALLS, text="Both at once.")
PARTS = {"tenant": "local", "model_digest": "86c2", "options": {"num_ctx": 65536}}


def key(request, secret=b"secret", **parts):
    raw = request if isinstance(request, bytes) else shapes.encode(request)
    return answer_key(secret, **(PARTS | parts), request=normalise(decode(raw)))


def changed(change):
    request = copy.deepcopy(BASE)
    change(request)
    return request


def drop(*names):
    return lambda request: [request.pop(name) for name in names]


def put(**fields):
    return lambda request: request.update(fields)


def calls(*names, **more):
    """Return the base conversation with other call ids."""
    renamed = [
        shapes.Call(**{**{f: getattr(c, f) for f in ("name", "input", "result")}, "id": n, **more})
        for n, c in zip(names, CALLS, strict=True)
    ]
    return shapes.tool_turn(shapes.main_request(), renamed, text="Both at once.")


def no_cache_control(request):
    def strip(value):
        if isinstance(value, dict):
            value.pop("cache_control", None)
        for inner in value.values() if isinstance(value, dict) else value:
            if isinstance(inner, dict | list):
                strip(inner)

    strip(request["messages"])
    strip(request["system"])


def content_as_string(request):
    request["messages"][0]["content"].pop(0)
    request["messages"][0]["content"] = request["messages"][0]["content"][0]["text"]


def shuffled(value, rng):
    if isinstance(value, dict):
        items = [(name, shuffled(inner, rng)) for name, inner in value.items()]
        rng.shuffle(items)
        return dict(items)
    return [shuffled(inner, rng) for inner in value] if isinstance(value, list) else value


THINKING = {"type": "thinking", "thinking": "hm", "signature": ""}

SAME = {
    "session": put(metadata={"user_id": "another"}),
    "no metadata": drop("metadata"),
    "billing suffix": lambda r: r.update(shapes.with_billing(r, "fff")),
    "no billing": lambda r: r["system"].pop(0),
    "cache_control": no_cache_control,
    "cache_control on tools": lambda r: r["tools"][-1].update(cache_control={"type": "ephemeral"}),
    "stream absent": drop("stream"),
    "stream false": put(stream=False),
    "context_management": drop("context_management"),
    "service_tier": put(service_tier="standard_only"),
    "thinking in history": lambda r: r["messages"][2]["content"].insert(0, THINKING),
    "empty text in history": lambda r: r["messages"][2]["content"].insert(
        0, {"type": "text", "text": ""}
    ),
    "is_error said": lambda r: r["messages"][3]["content"][0].update(is_error=False),
    "result as blocks": lambda r: r["messages"][3]["content"][0].update(
        content=[{"type": "text", "text": "a"}]
    ),
    "results in another order": lambda r: r["messages"][3]["content"].reverse(),
    "tool_choice auto": put(tool_choice={"type": "auto"}),
    "no stop sequences": put(stop_sequences=[]),
    "thinking display": put(thinking={"type": "adaptive", "display": "omitted"}),
    "a name for the model": put(model="claude-haiku-4-5-20251001"),
    "a server tool": lambda r: r["tools"].append({"type": "web_search_20250305", "name": "w"}),
    "system in one block": lambda r: r.update(
        system="\n\n".join(block["text"] for block in r["system"][1:])
    ),
}


def nth(request, *path):
    for step in path[:-1]:
        request = request[step]
    return request, path[-1]


def edit(*path, to):
    def change(request):
        parent, last = nth(request, *path)
        parent[last] = to

    return change


SCHEMA = {"type": "object", "properties": {"title": {"type": "string"}}}

DIFFERENT = {
    "prompt": edit("messages", 0, "content", 1, "text", to="Please run three commands"),
    "date": edit("messages", 0, "content", 0, "text", to="# currentDate 2026-11-23"),
    "system prompt": edit("system", 2, "text", to="Working directory: /elsewhere"),
    "system message": edit("messages", 1, "content", to="skills: none"),
    "answer": edit("messages", 2, "content", 0, "text", to="One by one."),
    "tool input": edit("messages", 2, "content", 1, "input", "command", to="ls -la"),
    "tool input type": edit("messages", 2, "content", 1, "input", "timeout", to="5"),
    "tool called": edit("messages", 2, "content", 1, "name", to="Read"),
    "result": edit("messages", 3, "content", 0, "content", to="c"),
    "result failed": edit("messages", 3, "content", 0, "is_error", to=True),
    "results swapped": lambda r: [
        block.update(content=other)
        for block, other in zip(r["messages"][3]["content"], "ba", strict=True)
    ],
    "one turn more": lambda r: r["messages"].append({"role": "assistant", "content": "So"}),
    "tool description": edit("tools", 0, "description", to="Start an agent"),
    "tool schema": edit("tools", 1, "input_schema", "required", to=[]),
    "tool order": lambda r: r["tools"].reverse(),
    "tool gone": lambda r: r["tools"].pop(),
    "no tools": drop("tools"),
    "tool_choice": put(tool_choice={"type": "any"}),
    "tool_choice name": put(tool_choice={"type": "tool", "name": "Bash"}),
    "one tool at a time": put(tool_choice={"type": "auto", "disable_parallel_tool_use": True}),
    "max_tokens": put(max_tokens=9000),
    "temperature": put(temperature=0),
    "temperature one": put(temperature=1),
    "top_p": put(top_p=0.5),
    "top_k": put(top_k=5),
    "stop sequence": put(stop_sequences=["END"]),
    "thinking": put(thinking={"type": "enabled", "budget_tokens": 9}),
    "no thinking": drop("thinking"),
    "effort": put(output_config={"effort": "low"}),
    "format": put(
        output_config={"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}}
    ),
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_shares_the_answer(change):
    assert key(changed(change)) == key(BASE)


@pytest.mark.parametrize("change", DIFFERENT.values(), ids=DIFFERENT)
def test_has_an_answer_of_its_own(change):
    assert key(changed(change)) != key(BASE)


def test_every_change_has_a_key_of_its_own():
    keys = [key(changed(change)) for change in DIFFERENT.values()]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("ids", [("toolu_a", "toolu_b"), ("toolu_2", "toolu_1")])
def test_call_ids_count_by_position(ids):
    assert key(calls(*ids)) == key(BASE)


def test_a_prompt_is_the_same_as_string_or_block():
    as_string = changed(content_as_string)
    as_block = copy.deepcopy(as_string)
    prompt = as_string["messages"][0]["content"]
    as_block["messages"][0]["content"] = [{"type": "text", "text": prompt}]
    assert isinstance(prompt, str)
    assert key(as_string) == key(as_block)


def test_images_count_by_content():
    def with_image(data):
        source = {"type": "base64", "media_type": "image/png", "data": data}
        return body([{"role": "user", "content": [{"type": "image", "source": source}]}])

    assert key(with_image("aGk=")) == key(with_image("aGk="))
    assert key(with_image("aGk=")) != key(with_image("aG8="))


@some
@given(st.randoms(use_true_random=False), st.sampled_from([None, 1]))
def test_key_order_and_white_space_do_not_count(rng: random.Random, indent):
    small = {**BASE, "tools": BASE["tools"][-2:]}
    other = json.dumps(shuffled(small, rng), indent=indent).encode()
    assert key(other) == key(small)


@some
@given(conversations())
def test_fresh_ids_never_count(turns):
    renamed = json.loads(json.dumps(turns).replace("toolu_", "toolu_replayed_"))
    assert key(body(turns)) == key(body(renamed))


@some
@given(conversations())
def test_a_turn_more_is_another_key(turns):
    assert key(body([*turns, {"role": "user", "content": "go on"}])) != key(body(turns))


# -- what is not in the request ------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        {"tenant": "someone else"},
        {"model_digest": "86c3"},
        {"options": {"num_ctx": 32768}},
        {"options": {}},
        {"secret": b"another"},
        {"tenant": "local86", "model_digest": "c2"},
    ],
)
def test_other_circumstances(other):
    assert key(BASE, **other) != key(BASE)


def test_options_count_by_value_only():
    assert key(BASE, options={"a": 1, "b": 2}) == key(BASE, options={"b": 2, "a": 1})


def test_the_layout_is_the_one_that_its_tag_names():
    """Where this fails, stored answers are no longer found: change ``ANSWER_TAG`` with it."""
    pinned = "87b3b45d8fed8dc31bb912dcb3a952fc0a0df6aa09fcc5bd34e09bf89551850f"
    tools = [{"name": "Read", "input_schema": {"type": "object"}}]
    assert ANSWER_TAG == b"llmctl answer 2"
    assert key(body([{"role": "user", "content": "hi"}], tools=tools)).hex() == pinned


def test_raw_keys_know_bytes_and_tenant():
    raw = shapes.encode(BASE)
    keys = {
        raw_key(b"s", tenant="a", body=raw),
        raw_key(b"s", tenant="b", body=raw),
        raw_key(b"t", tenant="a", body=raw),
        raw_key(b"s", tenant="a", body=raw + b" "),
        raw_key(b"s", tenant="a" + raw[:1].decode(), body=raw[1:]),
    }
    assert len(keys) == 5
    assert raw_key(b"s", tenant="a", body=raw) in keys
    assert {len(one) for one in keys} == {32}
