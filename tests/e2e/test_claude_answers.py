"""Claude Code, headless, on a scripted engine: answers and conversations."""

import re

import pytest

from tests.e2e.claude_code import ClaudeCode
from tests.e2e.conftest import Serve
from tests.e2e.conversations import in_turn, messages, scripted
from tests.emulators.ollama import Answer

pytestmark = pytest.mark.e2e


async def test_a_plain_answer_through_llmctl_claude(serve: Serve, claude: ClaudeCode) -> None:
    answer = Answer("Hello", " from", " the engine", prompt_tokens=20_123, completion_tokens=7)
    async with scripted(answer) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask_through_llmctl(proxy, "Say hello")

        assert result.ok, result
        assert result.text == "Hello from the engine"
        assert result.value["stop_reason"] == "end_turn"
        assert result.value["usage"]["input_tokens"] == 20_123
        assert result.value["usage"]["output_tokens"] == 7
        assert len(engine.chats) == 1
    # the client believes what `llmctl claude` says about model and window
    assert list(result.value["modelUsage"]) == ["qwen3-coder:30b"]
    assert result.value["modelUsage"]["qwen3-coder:30b"]["contextWindow"] == 86_728


async def test_what_the_client_hears_is_a_whole_stream(serve: Serve, claude: ClaudeCode) -> None:
    async with scripted(Answer("One ", "two ", "three")) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Count to three", stream=True)

    assert result.ok, result
    heard = result.streamed()
    kinds = [event["type"] for event in heard if event["type"] != "content_block_delta"]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert heard[0]["message"]["usage"]["input_tokens"] > 0
    deltas = [event["delta"]["text"] for event in heard if event["type"] == "content_block_delta"]
    assert "".join(deltas) == result.text == "One two three"


async def test_continue_appends_to_what_the_engine_has_seen(
    serve: Serve, claude: ClaudeCode
) -> None:
    async with scripted(in_turn(Answer("The first."), Answer("The second."))) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        first = await claude.ask(proxy, "Remember the word lemon")
        second = await claude.ask(proxy, "Which word was it?", "--continue")

        assert (first.text, second.text) == ("The first.", "The second.")
        assert first.value["session_id"] == second.value["session_id"]
        before, after = engine.chats
        # byte for byte, so that the engine's own prefix cache holds
        assert after.body["tools"] == before.body["tools"]
        assert messages(after)[: len(messages(before))] == messages(before)
        answer, prompt = messages(after)[len(messages(before)) :]
        assert (answer["role"], answer["content"]) == ("assistant", "The first.")
        assert prompt["role"] == "user" and "Which word was it?" in prompt["content"]


async def test_context_is_counted_without_asking_the_model(
    serve: Serve, claude: ClaudeCode
) -> None:
    async with scripted(Answer("Never asked.")) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "/context")

        assert result.ok, result
        assert engine.chats == []
    assert "**Model:** qwen3-coder:30b" in result.text
    assert "/ 86.7k" in result.text
    (tools,) = re.findall(r"\| System tools \| ([0-9.]+)k", result.text)
    assert 10 < float(tools) < 25
