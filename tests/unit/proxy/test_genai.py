"""The line of a finished request."""

import io
import json
import logging

import pytest

from llmctl.core import logs
from llmctl.core.usage import CacheOutcome
from llmctl.proxy.genai import attributes, log_request
from tests.unit.proxy.scraped import OLLAMA, usage

MADE = usage(
    request_id="req_1",
    tenant="ada",
    model_asked="claude-sonnet-5",
    model_used="qwen3-coder:30b",
    backend=OLLAMA,
    stream=True,
    prompt_tokens=100,
    cached_prompt_tokens=60,
    completion_tokens=7,
    cache=CacheOutcome.MISS,
    first_token_ms=250.0,
    total_ms=1500.0,
)


@pytest.fixture
def lines():
    """Give ``lines(level, as_json)`` → what is logged from then on, when called."""
    stream = io.StringIO()
    root, ours = logging.getLogger(), logging.getLogger("llmctl")
    before = root.level, ours.level, root.handlers[:]

    def begin(level: int, *, as_json: bool = True) -> io.StringIO:
        logs.setup(level=level, as_json=as_json, stream=stream)
        return stream

    yield begin
    root.setLevel(before[0])
    ours.setLevel(before[1])
    root.handlers[:] = before[2]


def test_fields_have_the_names_of_the_conventions(lines):
    said = lines(logging.INFO)
    log_request(MADE, "end_turn")
    line = json.loads(said.getvalue())
    assert {
        name: line[name] for name in line if name.startswith(("gen_ai.", "http.", "llmctl."))
    } == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "claude-sonnet-5",
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ["end_turn"],
        "gen_ai.response.model": "qwen3-coder:30b",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "gen_ai.usage.cache_read.input_tokens": 60,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 7,
        "http.response.status_code": 200,
        "llmctl.backend": OLLAMA,
        "llmctl.cache": "miss",
        "llmctl.duration_s": 1.5,
        "llmctl.tenant": "ada",
    }
    assert line["request_id"] == "req_1"
    assert line["message"] == "200 miss qwen3-coder:30b 100+7 tokens in 1500 ms"


def test_what_is_not_known_is_left_out():
    found = attributes(usage(error="overloaded_error", status=529), None)
    assert found["error.type"] == "overloaded_error"
    assert found["gen_ai.provider.name"] == "llmctl"
    for name in ("gen_ai.response.model", "gen_ai.response.finish_reasons", "llmctl.backend"):
        assert name not in found
    assert "gen_ai.response.time_to_first_chunk" not in attributes(
        usage(first_token_ms=3.0, stream=False), None
    )


def test_people_get_the_sentence_and_those_who_do_not_ask_nothing(lines):
    said = lines(logging.INFO, as_json=False)
    log_request(MADE, "end_turn")
    assert said.getvalue() == "info: 200 miss qwen3-coder:30b 100+7 tokens in 1500 ms\n"
    said = lines(logging.WARNING)
    before = said.getvalue()
    log_request(MADE, "end_turn")
    assert said.getvalue() == before


def test_a_secret_in_a_name_is_masked(lines):
    said = lines(logging.INFO)
    log_request(usage(model_asked="llmctl_" + "s" * 40), None)
    assert "ssss" not in said.getvalue()
