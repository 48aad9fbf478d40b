"""Claude Code on the embedded engine: a real model, small and slow.

What the model says is its own affair; it is asked for few words, and often wants to say more.
"""

import json
from pathlib import Path

import pytest

from tests.e2e.claude_code import ClaudeCode, Result, plain_variables
from tests.e2e.conftest import Serve
from tests.e2e.processes import Proxy

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

ANSWER_TOKENS = 32
FEW_WORDS = {
    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(ANSWER_TOKENS),
    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "200000",
    "CLAUDE_CODE_AUTO_COMPACT_WINDOW": "200000",
}
"""Where an answer is longer the client asks for more, three times, and does not compact first."""
MANNERS = (
    "You are a helpful assistant, friendly, honest and brief. You answer in one sentence. " * 18
)
"""A system prompt of some 350 tokens; the model answers it with about 20."""


async def test_bare_claude_hears_the_models_own_words(
    serve: Serve, claude: ClaudeCode, small_model: Path
) -> None:
    proxy = await serve("--backend", "embedded", "--gguf", str(small_model))
    brief = ("--settings", json.dumps({"env": FEW_WORDS}))

    # so small a model does not always come to an end
    for prompt in ("Say hello", "Say goodbye", "What is two plus two?"):
        result = await claude.ask_through_llmctl(proxy, prompt, "--bare", *brief)
        if result.ok:
            break

    assert result.ok, result
    assert result.text.strip()
    assert "(The model" not in result.text, "llmctl says that for a model that says nothing"
    row = (await proxy.rows(at_least=1))[-1]
    assert row["backend"] == f"embedded:{proxy.banner['model']}"
    assert 0 < row["completion_tokens"] <= ANSWER_TOKENS


class Turns:
    """Prompts to one proxy, and what the engine read anew for each."""

    def __init__(self, claude: ClaudeCode, proxy: Proxy, variables: dict[str, str]) -> None:
        self._claude = claude
        self._proxy = proxy
        self._variables = variables

    async def ask(self, prompt: str, *arguments: str) -> tuple[int, int]:
        """Return prompt tokens, and how many of them the engine did not have to read."""
        result = await self._claude.ask(
            self._proxy,
            prompt,
            *("--bare", "--append-system-prompt", MANNERS, *arguments),
            variables=self._variables,
            stream=True,
        )
        return engine_counters(result)


def engine_counters(result: Result) -> tuple[int, int]:
    """What the engine counted for the first answer of a run."""
    ends = [event for event in result.streamed() if event["type"] == "message_delta"]
    usage = ends[0]["usage"]
    cached = usage["cache_read_input_tokens"]
    return usage["input_tokens"] + cached, cached


async def serve_and_ask(
    serve: Serve, claude: ClaudeCode, model: Path, *, stable_prefix: bool
) -> Turns:
    setting = str(stable_prefix).lower()
    proxy = await serve(
        "--backend", "embedded", "--gguf", str(model), LLMCTL_MODEL_STABLE_PREFIX=setting
    )
    # not what `llmctl env` prints: that has the client leave its billing header out by itself
    return Turns(claude, proxy, plain_variables(await proxy.client_variables()) | FEW_WORDS)


async def test_the_engine_reads_a_conversation_once(
    serve: Serve, claude: ClaudeCode, small_model: Path
) -> None:
    turns = await serve_and_ask(serve, claude, small_model, stable_prefix=True)

    first, _ = await turns.ask("Say hello")
    second, cached = await turns.ask("Say goodbye", "--continue")
    other_session, cached_there = await turns.ask("What is two plus two?")

    assert second > first > 400
    assert cached >= 0.95 * first
    assert cached_there >= 0.8 * other_session


async def test_without_the_normal_form_it_reads_each_session_anew(
    serve: Serve, claude: ClaudeCode, small_model: Path
) -> None:
    """The client's billing header comes first and depends on the first prompt of the session.

    Within a session of this version of the client it does not change, so that the second turn is
    no dearer; newer ones write another with each request.
    """
    turns = await serve_and_ask(serve, claude, small_model, stable_prefix=False)

    first, _ = await turns.ask("Say hello")
    _, cached = await turns.ask("Say goodbye", "--continue")
    other_session, cached_there = await turns.ask("What is two plus two?")

    assert cached >= 0.95 * first
    assert cached_there <= 0.1 * other_session
