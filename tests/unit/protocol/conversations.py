"""Conversations as hypothesis draws them: what a client may send, in any legal and odd order."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

Json = dict[str, Any]

some = settings(max_examples=25, deadline=None)
many = settings(max_examples=100, deadline=None)

words = st.text(alphabet='ab é\n<>&"\\…字', max_size=8)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-2, 2, allow_nan=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
inputs = st.dictionaries(words, json_values, max_size=3)

text_blocks = st.builds(lambda text: {"type": "text", "text": text}, words)
image_blocks = st.just(
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
)
thinking_blocks = st.builds(
    lambda text: {"type": "thinking", "thinking": text, "signature": ""}, words
)
contents = words | st.lists(text_blocks | image_blocks, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Draw ``messages`` as a client builds them, with tools, reminders and thinking."""
    turns: list[Json] = [{"role": "user", "content": "start"}]
    results: list[Json] = []
    for number in range(draw(st.integers(1, 5))):
        turns += _said(draw, results)
        answer, results = _answer(draw, number)
        turns.append({"role": "assistant", "content": answer})
    return turns + (_said(draw, results) if draw(st.booleans()) else [])


def _said(draw: st.DrawFn, results: list[Json]) -> list[Json]:
    turns = [{"role": "system", "content": text} for text in draw(st.lists(words, max_size=1))]
    if results:
        order = draw(st.permutations(results))
        turns.append(
            {"role": "user", "content": [*order, *draw(st.lists(text_blocks, max_size=1))]}
        )
    else:
        turns.append({"role": "user", "content": draw(contents)})
    return turns + [
        {"role": "system", "content": text} for text in draw(st.lists(words, max_size=1))
    ]


def _answer(draw: st.DrawFn, number: int) -> tuple[list[Json], list[Json]]:
    calls = [
        {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": "Bash", "input": inp}
        for place, inp in enumerate(draw(st.lists(inputs, max_size=3)))
    ]
    results = [
        {
            "type": "tool_result",
            "tool_use_id": call["id"],
            "content": draw(contents),
            **draw(st.sampled_from([{}, {"is_error": False}, {"is_error": True}])),
        }
        for call in calls
    ]
    return [*draw(st.lists(thinking_blocks | text_blocks, max_size=2)), *calls], results


stray_blocks = st.sampled_from(
    [
        {"type": "tool_result", "tool_use_id": "toolu_gone", "content": "late"},
        {"type": "tool_reference", "tool_name": "Read"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "document", "source": {"type": "text", "data": "d"}, "title": "t"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u"}]},
        {"type": "search_result", "source": "s", "title": "t", "content": []},
    ]
)
odd_turns = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(["user", "assistant", "system"]),
    words | st.lists(text_blocks | image_blocks | thinking_blocks | stray_blocks, max_size=3),
)
odd_conversations = st.lists(odd_turns, min_size=1, max_size=8)


def body(messages: list[Json], **fields: Any) -> Json:
    """Return a request with ``messages`` and little else."""
    return {"model": "m", "max_tokens": 16, "messages": messages, **fields}
