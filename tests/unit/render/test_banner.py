import json
import shlex

import msgspec
import pytest

from llmctl.core.model import BackendState, ServeBanner
from llmctl.render.banner import banner_document, banner_text, curl_command

NEW = "llmctl_" + "a" * 43


@pytest.fixture
def banner():
    return ServeBanner(
        version="0.1.0",
        url="http://127.0.0.1:8000",
        backends=[BackendState(name="ollama:http://127.0.0.1:11434", healthy=True)],
        model="qwen3-coder:30b",
        context_tokens=65536,
        cache="sqlite",
        cache_location="/home/me/.cache/llmctl/answers.db",
        semantic="shadow",
        token_command="$(cat '/home/my me/token')",
        environment={
            "ANTHROPIC_BASE_URL": "http://127.0.0.1:8000",
            "ANTHROPIC_AUTH_TOKEN": "left over",
            "ANTHROPIC_API_KEY": "",
            "ANTHROPIC_MODEL": "qwen3-coder:30b",
        },
    )


def changed(banner, **changes):
    return msgspec.structs.replace(banner, **changes)


def test_what_is_served_and_what_to_type(banner):
    assert (
        banner_text(banner)
        == """
llmctl 0.1.0 serves http://127.0.0.1:8000

  backend  ollama:http://127.0.0.1:11434, ready
  model    qwen3-coder:30b, 65,536 tokens of context
  cache    sqlite /home/me/.cache/llmctl/answers.db, in other words: shadow

Claude Code, in another terminal:

  llmctl claude

or with these variables, which `llmctl env` prints for other shells too:

  export ANTHROPIC_BASE_URL=http://127.0.0.1:8000
  export ANTHROPIC_AUTH_TOKEN="$(cat '/home/my me/token')" ANTHROPIC_API_KEY=''
  export ANTHROPIC_MODEL=qwen3-coder:30b

or without it:

  curl -sS http://127.0.0.1:8000/v1/messages -H x-api-key:"$(cat '/home/my me/token')" -H content-type:application/json -d '{"model":"qwen3-coder:30b","max_tokens":64,"messages":[{"role":"user","content":"Say hello"}]}'
"""
    )


def test_a_new_token_is_shown_and_used(banner):
    text = banner_text(changed(banner, token=NEW))
    assert f"token    {NEW} (new, shown once; `llmctl env` prints it again)" in text
    assert f"export ANTHROPIC_AUTH_TOKEN={NEW}\n" in text
    assert f"-H x-api-key:{NEW} " in text
    assert json.loads(banner_document(changed(banner, token=NEW)))["token"] == NEW


def test_an_old_token_is_shown_nowhere(banner):
    document = json.loads(banner_document(banner))
    assert document["token"] is None
    assert "ANTHROPIC_AUTH_TOKEN" not in document["environment"]
    assert "left over" not in banner_text(banner)


def test_without_authentication_it_says_so_loudly(banner):
    text = banner_text(changed(banner, auth=False))
    assert "WARNING: no token is asked for." in text
    assert "x-api-key" not in text
    assert "ANTHROPIC_AUTH_TOKEN='left over'" in text


def test_what_is_not_ready_says_why(banner):
    down = BackendState(name="ollama:http://gpu:11434", healthy=False, detail="connection refused")
    text = banner_text(changed(banner, backends=[down], model=None, context_tokens=None))
    assert "backend  ollama:http://gpu:11434, not ready: connection refused\n" in text
    assert "model    none yet; requests are answered as soon as a backend is ready\n" in text
    assert '"model":"claude-sonnet-5"' in text


def test_the_request_survives_any_model_name(banner):
    name = """it's "odd" $HOME"""
    words = shlex.split(curl_command(changed(banner, model=name)))
    assert json.loads(words[-1])["model"] == name
