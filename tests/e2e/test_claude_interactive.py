"""Claude Code as a person sees it, in a terminal."""

import json

import pytest

from tests.e2e.claude_code import ClaudeCode
from tests.e2e.conftest import Serve
from tests.e2e.conversations import in_turn, scripted, words
from tests.e2e.terminal import terminal
from tests.emulators.ollama import Answer, Recorded, Stall

pytestmark = pytest.mark.e2e

TITLE = "A question about colours"


def titled(request: Recorded) -> Answer:
    if "format" in request.body:
        return Answer(json.dumps({"title": TITLE}))
    return in_turn(Answer("Blue, I would say."))(request)


async def test_a_question_and_its_title_at_once(serve: Serve, claude: ClaudeCode) -> None:
    claude.settle_in()
    async with scripted(titled) as engine, terminal(claude.home) as screen:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        variables = await proxy.client_variables()
        await screen.start(
            [str(claude.binary), "--dangerously-skip-permissions"],
            claude.environment(variables),
            claude.work,
        )
        await screen.until("❯")

        await screen.say("Which colour is best?")
        await screen.until("Blue, I would say.")
        rows = await proxy.ledger(rows=2)

        assert {row["status"] for row in rows} == {200}
        title, main = sorted(engine.chats, key=lambda chat: "tools" in chat.body)
        assert title.body["format"]["properties"]["title"]["type"] == "string"
        assert "tools" not in title.body
        assert "Which colour is best?" in words(title)
        assert len(main.body["tools"]) > 20
        # both keep the same window loaded
        assert title.body["options"]["num_ctx"] == main.body["options"]["num_ctx"]


async def test_escape_stops_the_engine(serve: Serve, claude: ClaudeCode) -> None:
    def script(request: Recorded) -> Answer:
        if "format" in request.body:
            return titled(request)
        return Answer("I begin.\n\n", "And then ", Stall())

    claude.settle_in()
    async with scripted(script) as engine, terminal(claude.home) as screen:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        await screen.start(
            [str(claude.binary), "--dangerously-skip-permissions"],
            claude.environment(await proxy.client_variables()),
            claude.work,
        )
        await screen.until("❯")
        await screen.say("Tell me something long")
        await screen.until("I begin.")

        await screen.press("Escape")

        await engine.until(lambda: any("tools" in chat.body for chat in engine.closed))
        await screen.until("nterrupted")
        assert engine.active == []
