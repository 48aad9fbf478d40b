import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.protocol.errors import ApiError, body, from_engine


def ollama(message):
    return json.dumps({"error": message}).encode()


def openai(message, **fields):
    return json.dumps({"error": {"message": message, **fields}}).encode()


LLAMA_OVERFLOW = {
    "error": {
        "code": 400,
        "message": "request (1531 tokens) exceeds the available context size (512 tokens), "
        "try increasing it",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 1531,
        "n_ctx": 512,
    }
}
IS = "This model's maximum context length is"


def test_what_a_client_can_do_about_it_is_in_the_details():
    plain, told = ApiError(404, "no"), ApiError(404, "no", error_code="thread_not_found")
    assert "details" not in json.loads(body(plain, "req_1"))["error"]
    assert json.loads(body(told, "req_1"))["error"] == {
        "type": "not_found_error",
        "message": "no",
        "details": {"error_code": "thread_not_found"},
    }


@pytest.mark.parametrize(
    ("said", "tokens", "maximum"),
    [
        (json.dumps(LLAMA_OVERFLOW).encode(), 1531, 512),
        (ollama(json.dumps(LLAMA_OVERFLOW)), 1531, 512),
        (ollama("request (1531 tokens) exceeds the available context size (512 tokens)"), 1531, 512),
        (
            openai(f"{IS} 16384 tokens. However, you requested 122946 tokens (112946 in the "
                   "messages, 10000 in the completion)."),
            112946, 16384,
        ),
        (openai(f"{IS} 4096 tokens. However, your request has 5000 input tokens."), 5000, 4096),
        (ollama("request (512 tokens) exceeds the available context size (512 tokens)"), 512, 512),
        (
            openai(f"{IS} 4096 tokens. However, you requested 100 output tokens and your prompt "
                   "contains at least 4097 input tokens, for a total of at least 4197 tokens."),
            4097, 4096,
        ),
        (
            openai(f"{IS} 128000 tokens. However, your messages resulted in 130000 tokens.",
                   type="invalid_request_error", code="context_length_exceeded"),
            130000, 128000,
        ),
        (
            openai("Requested token count exceeds the model's maximum context length of 4096 "
                   "tokens. You requested a total of 6000 tokens: 5000 tokens from the input "
                   "messages and 1000 tokens for the completion."),
            5000, 4096,
        ),
        (
            openai("The input (5000 tokens) is longer than the model's context length "
                   "(4096 tokens)."),
            5000, 4096,
        ),
        (
            openai("The decoder prompt (length 5000) is longer than the maximum model length of "
                   "4096."),
            5000, 4096,
        ),
        (openai("Input prompt (5000 tokens) is too long and exceeds limit of 4096"), 5000, 4096),
        (
            openai("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 `inputs` "
                   "tokens and 20 `max_new_tokens`"),
            5000, 4096,
        ),
        (
            openai(f"{IS} 4096 tokens, however you requested 6000 tokens. Please reduce."),
            6000, 4096,
        ),
        (
            json.dumps({"object": "error", "code": 400, "message":
                        f"{IS} 4096 tokens. However, your request has 5000 input tokens."}).encode(),
            5000, 4096,
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [400, 500])
def test_every_wording_of_an_overflow_makes_the_client_compact(said, tokens, maximum, status):
    error = from_engine(status, said, model="m")
    assert error.message == f"prompt is too long: {tokens} tokens > {maximum} maximum"
    assert (error.status, error.type) == (400, "invalid_request_error")
    assert not error.another_backend


@pytest.mark.parametrize(
    "said",
    [
        f"{IS} 4096 tokens. However, you requested 6000 tokens (4000 in the messages, 2000 in the "
        "completion).",
        f"'max_tokens' or 'max_completion_tokens' is too large: 2000. {IS} 4096 tokens and your "
        "request has 4000 input tokens (2000 > 4096 - 4000).",
        f"{IS} 4096 tokens. However, your request has 4000 input tokens plus 2000 'max_tokens'.",
        f"{IS} 4096 tokens. However, you requested 2000 output tokens and your prompt contains at "
        "least 4000 input tokens, for a total of at least 6000 tokens.",
    ],
)
def test_where_only_the_output_is_too_long_the_client_is_told_to_ask_for_less(said):
    error = from_engine(400, openai(said), model="m")
    assert error.message == (
        "input length and `max_tokens` exceed context limit: 4000 + 2000 > 4096"
    )


LONGER = (
    "the prompt is longer than the context length currently available to the model; shorten the "
    "prompt, adjust the context length in settings, or use a model with a longer context length"
)


@pytest.mark.parametrize(
    ("said", "num_ctx", "limit"),
    [
        (ollama(LONGER), 4096, "for 4096 tokens of context, says"),
        (ollama(LONGER), None, "for the context, says"),
        (openai("Your input exceeds the context window of this model."), 4096, "4096 tokens"),
        (openai("x", code="context_length_exceeded"), None, "for the context, says"),
        (openai("The number of tokens to keep from the initial prompt is greater than the context "
                "length"), 8192, "8192 tokens"),
    ],
)  # fmt: skip
def test_an_overflow_without_numbers_still_says_so(said, num_ctx, limit):
    error = from_engine(400, said, model="m", num_ctx=num_ctx)
    assert error.status == 400
    assert error.message.startswith("prompt is too long for ")
    assert limit in error.message


@pytest.mark.parametrize(
    ("status", "said", "mapped", "kind", "words"),
    [
        (404, ollama("model 'nope' not found"), 404, "not_found_error", "ollama pull nope"),
        (404, ollama('model "nope" not found, try pulling it first'), 404, "not_found_error",
         "model: nope is not on the engine"),
        (404, openai("The model `nope` does not exist.", type="NotFoundError", code=404), 404,
         "not_found_error", "load it on the engine"),
        (404, b"404 page not found", 502, "api_error", "check the backend's URL"),
        (404, b'{"detail":"Not Found"}', 502, "api_error", "check the backend's URL"),
        (404, openai("File Not Found", type="not_found_error", code=404), 502, "api_error",
         "no chat endpoint at this address (HTTP 404: File Not Found)"),
        (400, ollama("m does not support tools"), 400, "invalid_request_error", "support tools"),
        (422, b'{"detail":[{"loc":["body"],"msg":"bad"}]}', 400, "invalid_request_error", "bad"),
        (500, ollama('{"error":{"code":500,"message":"image input is not supported - hint: x"}}'),
         400, "invalid_request_error", "image input is not supported"),
        (413, b"", 413, "request_too_large", "no reason given"),
        (401, openai("Invalid API key"), 403, "permission_error", "HTTP 401: Invalid API key"),
        (403, b"", 403, "permission_error", "configured for this backend"),
        (503, ollama("server busy, please try again.  maximum pending requests exceeded"), 529,
         "overloaded_error", "server busy, please"),
        (503, openai("Loading model", type="unavailable_error", code=503), 529,
         "overloaded_error", "Loading model"),
        (503, b"<html><body><h1>503 Service Unavailable</h1></body></html>", 529,
         "overloaded_error", "busy: 503 Service Unavailable"),
        (408, b"", 529, "overloaded_error", "busy"),
        (429, openai("slow down"), 429, "rate_limit_error", "slow down"),
        (500, ollama("XML syntax error on line 5: element <parameter> closed by </function>"), 500,
         "api_error", "XML syntax error on line 5: element <parameter> closed by </function>"),
        (500, ollama("llama-server process has terminated: cudaMalloc failed: out of memory"), 500,
         "api_error", "cannot run m"),
        (500, ollama("llama-server process has terminated: error loading model: bad magic"), 500,
         "api_error", "cannot run m"),
        (500, ollama("this device does not support flash attention"), 500, "api_error",
         "failed on m"),
        (500, ollama("unexpected EOF"), 500, "api_error", "failed on m: unexpected EOF"),
        (502, b"\xff\xfe", 500, "api_error", "failed on m"),
        (500, b"[" * 100_000, 500, "api_error", "[[["),
        (500, b"7", 500, "api_error", "7"),
        (500, b'{"error":null}', 500, "api_error", "error"),
        (500, ollama('{"error": "{\\"error\\": \\"{cut\\"}"}'), 500, "api_error", "{cut"),
        (500, ollama("{not json"), 500, "api_error", "failed on m: {not json"),
    ],
)  # fmt: skip
def test_engine_errors_in_anthropics_terms(status, said, mapped, kind, words):
    error = from_engine(status, said, model="nope" if b"nope" in said else "m")
    assert (error.status, error.type) == (mapped, kind)
    assert words in error.message


def test_what_may_be_tried_again_and_where():
    parser = from_engine(500, ollama("XML syntax error on line 1: unexpected EOF"), model="m")
    memory = from_engine(500, ollama("model requires more system memory (9 GiB)"), model="m")
    busy = from_engine(503, ollama("server busy"), model="m")
    loading = from_engine(503, openai("Loading model"), model="m")
    refused = from_engine(400, ollama("invalid message"), model="m")
    assert parser.retry_once and parser.another_backend
    assert memory.retry_after_s == 30 and memory.another_backend and not memory.retry_once
    assert (busy.retry_after_s, loading.retry_after_s) == (2, 5)
    assert not refused.another_backend and not refused.retry_once


def test_long_reasons_are_cut():
    assert len(from_engine(500, ollama("word " * 10_000), model="m").message) < 500


@given(
    st.integers(400, 599),
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["error", "message", "code", "type", "n_ctx", "detail"]), inner
            )
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_no_answer_of_an_engine_is_too_odd(status, said):
    error = from_engine(status, said, model="m")
    assert 400 <= error.status < 600
    assert error.message


def test_bodies_have_anthropics_shape():
    assert json.loads(body(ApiError(404, 'model: "x" – no'), "req_1")) == {
        "type": "error",
        "error": {"type": "not_found_error", "message": 'model: "x" – no'},
        "request_id": "req_1",
    }
