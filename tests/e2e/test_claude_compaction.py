"""Claude Code, headless, when its conversation outgrows the context: it compacts and goes on."""

from collections.abc import Callable

import pytest

from tests.e2e.claude_code import ClaudeCode, plain_variables
from tests.e2e.conftest import Serve
from tests.e2e.conversations import Scripted, messages, says, scripted, turns, words
from tests.emulators.ollama import Answer, Call, Recorded, overflow

pytestmark = pytest.mark.e2e

SUMMARY = "They asked for several things, and the last one is open."


def asks_for_summary(request: Recorded) -> bool:
    return "CRITICAL: Respond with TEXT ONLY" in words(request)


def compacting(then: Callable[[Recorded], Scripted]) -> Callable[[Recorded], Scripted]:
    """Summarise when asked to, go on from the summary, and until then do as ``then`` says."""

    def script(request: Recorded) -> Scripted:
        if asks_for_summary(request):
            return Answer(f"<analysis>Short.</analysis>\n<summary>{SUMMARY}</summary>")
        if says(request, SUMMARY):
            return Answer("Going on.")
        return then(request)

    return script


async def test_the_engines_overflow_makes_the_client_compact(
    serve: Serve, claude: ClaudeCode
) -> None:
    def two_answers_fit(request: Recorded) -> Scripted:
        return overflow(70_001, 65_536) if turns(request) == 2 else Answer("Done.")

    async with scripted(compacting(two_answers_fit)) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        await claude.ask(proxy, "First task")
        await claude.ask(proxy, "Second task", "--continue")
        result = await claude.ask(proxy, "Third task", "--continue")

        assert result.ok, result
        assert result.text == "Going on."
        full, summary, went_on = engine.chats[2:]
        assert turns(full) == 2
        assert asks_for_summary(summary)
        assert says(went_on, SUMMARY) and "Third task" in words(went_on)
        assert not says(went_on, "First task")
        refused = (await proxy.ledger(rows=5))[2]
    assert (refused["status"], refused["error"]) == (400, "invalid_request_error")


async def test_our_own_count_makes_a_client_compact_that_knows_no_limit(
    serve: Serve, claude: ClaudeCode
) -> None:
    """The client takes the window for 200,000 tokens; the engine never sees what is too long."""
    print_much = "yes 'words that fill' | head -c 28000"

    def much_output(request: Recorded) -> Scripted:
        if messages(request)[-1]["role"] == "tool":
            return Answer("Printed.")
        call = Call("Bash", {"command": print_much, "description": "Print"})
        # far too much at last: how near to the limit we refuse is for other tests
        return Answer(call, call) if says(request, "Third") else Answer(call)

    async with scripted(compacting(much_output)) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}", "--num-ctx", "36000")
        plain = plain_variables(await proxy.client_variables())

        for prompt in ("First", "Second"):
            result = await claude.ask(proxy, f"{prompt} task", "--continue", variables=plain)
            assert result.text == "Printed."
        result = await claude.ask(proxy, "Third task", "--continue", variables=plain)

        assert result.ok, result
        assert result.text == "Going on."
        statuses = [row["status"] for row in await proxy.ledger(rows=8)]
        assert statuses.count(400) == 1
        assert len(engine.chats) == 7
        assert len([chat for chat in engine.chats if asks_for_summary(chat)]) == 1


async def test_the_usage_we_report_makes_the_client_compact_in_time(
    serve: Serve, claude: ClaudeCode
) -> None:
    """With what ``llmctl env`` prints no request is ever too long."""

    def grows(request: Recorded) -> Scripted:
        return Answer("Done.", prompt_tokens=(20_000, 64_000)[turns(request)])

    async with scripted(compacting(grows)) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        await claude.ask(proxy, "First task")
        await claude.ask(proxy, "Second task", "--continue")
        result = await claude.ask(proxy, "Third task", "--continue")

        assert result.ok, result
        assert result.text == "Going on."
        summary, went_on = engine.chats[2:]
        assert asks_for_summary(summary)
        assert says(went_on, SUMMARY) and "Third task" in words(went_on)
        assert {row["status"] for row in await proxy.ledger(rows=4)} == {200}
