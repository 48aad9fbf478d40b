"""Claude Code, headless, while engines fail: it recovers, or says what is wrong."""

import asyncio

import pytest

from tests.e2e.claude_code import ClaudeCode
from tests.e2e.conftest import Serve
from tests.e2e.conversations import Scripted, scripted, turns
from tests.emulators.ollama import (
    Answer,
    Call,
    Cut,
    Delay,
    Recorded,
    Stall,
    busy,
)

pytestmark = pytest.mark.e2e

LET_IT_BE_HEARD = Delay(0.3)
"""Before a cut: what was said has to be read first, or the reset overtakes it."""


async def test_an_answer_cut_in_the_middle_is_asked_for_again_whole(
    serve: Serve, claude: ClaudeCode
) -> None:
    cut = Answer("Half of ", "an", LET_IT_BE_HEARD, Cut())
    async with scripted([cut, Answer("The whole answer.")]) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Say something")

        assert result.ok, result
        assert result.text == "The whole answer."
        assert len(engine.chats) == 2
        broken, whole = await proxy.ledger(rows=2)
    assert (broken["stream"], broken["error"] != "") == (1, True)
    assert (whole["stream"], whole["status"], whole["error"]) == (0, 200, "")


async def test_a_tool_call_is_not_run_before_the_engine_has_finished_it(
    serve: Serve, claude: ClaudeCode
) -> None:
    """The cut comes in the middle of a call written as text; only the second try may run."""
    path = claude.work / "made.txt"
    cut = Answer(
        f"<function=Write>\n<parameter=file_path>\n{path}\n</parameter>\n<parameter=content>\nha",
        LET_IT_BE_HEARD,
        Cut(),
    )
    call = Call("Write", {"file_path": str(path), "content": "whole"})

    def script(request: Recorded) -> Scripted:
        if turns(request):
            return Answer("Written.")
        return cut if len(engine.chats) == 1 else Answer(call)

    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Write a file")

    assert result.ok, result
    assert result.text == "Written."
    assert path.read_text() == "whole"


async def test_an_unknown_model_is_named_in_the_clients_own_words(
    serve: Serve, claude: ClaudeCode
) -> None:
    async with scripted(Answer("Hello.")) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Say hello", "--model", "nope")

        assert result.code == 1
        assert result.value["is_error"] is True
        assert result.value["api_error_status"] == 404
        assert "There's an issue with the selected model (nope)" in result.text
        assert engine.chats == []


async def test_a_busy_engine_is_asked_again(serve: Serve, claude: ClaudeCode) -> None:
    async with scripted([busy(), Answer("Now I have time.")]) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Say hello")

        assert result.ok, result
        assert result.text == "Now I have time."
        assert len(engine.chats) == 2


async def test_an_engine_that_is_away_for_a_while_is_waited_for(
    serve: Serve, claude: ClaudeCode
) -> None:
    async with scripted(Answer("Back again.")) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        variables = await proxy.client_variables()
        await engine.refuse()

        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(claude.ask(proxy, "Say hello", variables=variables))
            await proxy.rows(at_least=1)  # the first try has failed
            await engine.listen()

    result = asking.result()
    assert result.ok, result
    assert result.text == "Back again."


async def test_a_restart_of_the_proxy_in_the_middle_of_an_answer(
    serve: Serve, claude: ClaudeCode
) -> None:
    async with scripted([Answer("Half of ", Stall()), Answer("The whole answer.")]) as engine:
        to_engine = ("--backend", f"ollama:{engine.url}")
        proxy = await serve(*to_engine, home="kept", LLMCTL_SERVE_DRAIN_S="0.1")
        variables = await proxy.client_variables()

        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(claude.ask(proxy, "Say something", variables=variables))
            await engine.until(lambda: len(engine.chats) == 1)
            await proxy.stop()
            await serve(*to_engine, "--port", proxy.url.rpartition(":")[2], home="kept")

        result = asking.result()
        assert result.ok, result
        assert result.text == "The whole answer."
        assert engine.closed == engine.chats[:1], "nobody was left to hear the first"
