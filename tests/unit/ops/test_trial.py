import json

import httpx
import pytest

from llmctl.core.errors import BackendError
from llmctl.ops.running import Address, NoAnswer, RunningProxy
from llmctl.ops.trial import ask_once


class Ticks:
    """A clock that goes on by a tenth of a second at each look."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        self.at += 0.1
        return self.at


def stream(*events):
    return "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events)


def text(piece):
    return {
        "type": "content_block_delta",
        "index": 0,
        "delta": {"type": "text_delta", "text": piece},
    }


START = {"type": "message_start", "message": {"model": "qwen3-coder:30b"}}
END = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 5}}


def tried(status, body, seen=None):
    def answer(request):
        if seen is not None:
            seen.append(request)
        return httpx.Response(status, text=body)

    transport = httpx.MockTransport(answer)
    with RunningProxy(Address(url="http://x", source=""), None, transport=transport) as proxy:
        return ask_once(proxy, now=Ticks())


def test_times_are_from_the_first_text_to_the_last():
    trial = tried(200, stream(START, text(""), text("one"), text(" two"), text(" three"), END))
    # looks at the clock: begin 0.1, start 0.2, empty 0.3, one 0.4, two 0.5, three 0.6
    assert trial.model == "qwen3-coder:30b"
    assert trial.first_token_ms == pytest.approx(300)
    assert trial.completion_tokens == 5
    assert trial.tokens_per_s == pytest.approx(4 / 0.2)


def test_it_asks_past_every_cache():
    seen = []
    for _ in range(2):
        tried(200, stream(START, text("one"), END), seen)
    assert [each.headers["cache-control"] for each in seen] == ["no-store"] * 2
    questions = {json.loads(each.content)["messages"][0]["content"] for each in seen}
    assert len(questions) == 2
    assert len({question[:8] for question in questions}) == 2


def test_thinking_is_text_too():
    thought = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hm"}}
    assert tried(200, stream(START, thought, END)).tokens_per_s is None


def test_an_answer_without_text():
    with pytest.raises(BackendError, match="holds no text"):
        tried(200, stream(START, END))


def test_an_answer_that_breaks_off():
    error = {"type": "error", "error": {"type": "api_error", "message": "the engine died"}}
    with pytest.raises(BackendError, match="broke off: the engine died"):
        tried(200, stream(START, text("one"), error))


def test_a_refusal_is_told_in_the_proxys_words():
    body = json.dumps({"type": "error", "error": {"message": "no engine has a model"}})
    with pytest.raises(BackendError, match="no engine has a model"):
        tried(404, body)


def test_nobody_there():
    def refuse(request):
        raise httpx.ConnectError("refused", request=request)

    transport = httpx.MockTransport(refuse)
    with RunningProxy(Address(url="http://x", source=""), None, transport=transport) as proxy:
        with pytest.raises(NoAnswer):
            ask_once(proxy)
