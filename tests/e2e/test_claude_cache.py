"""Claude Code runs the same task twice: answers from the cache, tools for real."""

import asyncio

import pytest

from tests.e2e.claude_code import ClaudeCode
from tests.e2e.conftest import Serve
from tests.e2e.conversations import in_turn, scripted
from tests.emulators.ollama import Answer, Call, Delay

pytestmark = pytest.mark.e2e


async def test_the_second_run_is_answered_from_the_cache_and_works_again(
    serve: Serve, claude: ClaudeCode
) -> None:
    made = claude.work / "made.txt"
    script = in_turn(
        Answer(
            "Two things at once. ",
            Call("Bash", {"command": "sleep 0.4; echo slow", "description": "Slow"}),
            Call("Bash", {"command": "echo quick", "description": "Quick"}),
        ),
        Answer(Call("Write", {"file_path": str(made), "content": "made\n"})),
        Answer(Call("Read", {"file_path": str(made)})),
        Answer(
            Call("Edit", {"file_path": str(made), "old_string": "made", "new_string": "remade"})
        ),
        Answer("Made and remade."),
    )
    task = "Make a file and change it"
    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}", home="kept")
        first = await claude.ask(proxy, task)
        assert first.ok, first
        assert made.read_text() == "remade\n"
        made.unlink()
        await proxy.stop()
        asked = len(engine.chats)
        assert asked == 5

        # another process: what it knows is on the disk
        proxy = await serve("--backend", f"ollama:{engine.url}", home="kept")
        for _ in range(2):
            again = await claude.ask(proxy, task)

            assert again.ok, again
            assert again.text == first.text == "Made and remade."
            assert again.value["num_turns"] == first.value["num_turns"]
            assert made.read_text() == "remade\n"
            made.unlink()

        assert len(engine.chats) == asked
        outcomes = [row["cache"] for row in await proxy.ledger(rows=15)]
        assert outcomes == ["miss"] * 5 + ["hit"] * 10
        cache = (await proxy.stats())["total"]["cache"]
        assert cache == {"hit": 10, "semantic": 0, "miss": 5, "shared": 0, "bypass": 0}


async def test_three_clients_with_one_task_at_once_ask_the_engine_once(
    serve: Serve, claude: ClaudeCode
) -> None:
    script = in_turn(
        Answer(Delay(0.3), Call("Bash", {"command": "echo hello", "description": "Greet"})),
        Answer(Delay(0.3), "Greeted."),
    )
    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        variables = await proxy.client_variables()

        async with asyncio.TaskGroup() as tasks:
            asking = [
                tasks.create_task(claude.ask(proxy, "Greet", variables=variables)) for _ in range(3)
            ]

        results = [task.result() for task in asking]
        assert [(result.ok, result.text) for result in results] == [(True, "Greeted.")] * 3
        assert len(engine.chats) == 2
        # shared or hit, as it happens
        outcomes = [row["cache"] for row in await proxy.ledger(rows=6)]
        assert outcomes.count("miss") == 2
