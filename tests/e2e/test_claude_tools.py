"""Claude Code, headless, on a scripted engine: tools that really run."""

import base64

import pytest

from tests.e2e.claude_code import ClaudeCode, plain_variables
from tests.e2e.conftest import Serve
from tests.e2e.conversations import in_turn, messages, says, scripted, tool_results, turns, words
from tests.emulators.ollama import Answer, Call, Model, Recorded

pytestmark = pytest.mark.e2e

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


async def test_write_bash_read_and_edit_change_the_disk(serve: Serve, claude: ClaudeCode) -> None:
    path = str(claude.work / "notes.txt")
    script = in_turn(
        Answer("I write it. ", Call("Write", {"file_path": path, "content": "alpha\nbeta\n"})),
        Answer(Call("Bash", {"command": "wc -l < notes.txt", "description": "Count lines"})),
        Answer(Call("Read", {"file_path": path})),
        Answer(Call("Edit", {"file_path": path, "old_string": "beta", "new_string": "gamma"})),
        Answer("All four are done."),
    )
    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Write notes, count, read and edit them")

        assert result.ok, result
        assert result.text == "All four are done."
        assert result.value["num_turns"] == 5
        assert (claude.work / "notes.txt").read_text() == "alpha\ngamma\n"
        written, counted, read, edited = tool_results(engine.chats[-1])
        assert "created successfully" in written
        assert counted.strip() == "2"
        assert "beta" in read
        assert "has been updated" in edited
        assert len(engine.chats) == 5
        assert_appended(engine.chats)


def assert_appended(chats: list[Recorded]) -> None:
    """Each request of a conversation begins with all of the one before it."""
    for before, after in zip(chats, chats[1:], strict=False):
        assert messages(after)[: len(messages(before))] == messages(before)
        assert after.body["tools"] == before.body["tools"]
        assert after.body["options"] == before.body["options"]


async def test_four_tools_at_once_answer_in_the_order_of_their_calls(
    serve: Serve, claude: ClaudeCode
) -> None:
    (claude.work / "file.txt").write_text("what the file says\n")
    calls = [
        Call("Bash", {"command": "sleep 0.7; echo one", "description": "The slowest"}),
        Call("Bash", {"command": "echo two", "description": "Quick"}),
        Call("Read", {"file_path": str(claude.work / "file.txt")}),
        Call("Bash", {"command": "exit 3", "description": "One that fails"}),
    ]
    async with scripted(in_turn(Answer(*calls), Answer("All four ended."))) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Run four tools at once")

        assert result.ok, result
        assert result.text == "All four ended."
        assert len(engine.chats) == 2
        one, two, read, failed = tool_results(engine.chats[1])
    assert one.strip() == "one"
    assert two.strip() == "two"
    assert "what the file says" in read
    assert "3" in failed


async def test_the_explore_agent_asks_for_haiku_and_gets_the_default_model(
    serve: Serve, claude: ClaudeCode
) -> None:
    (claude.work / "needle.txt").write_text("here it is\n")
    task = "Find the file that holds the needle."
    ask_agent = Call(
        "Agent",
        {"description": "Find it", "prompt": task, "subagent_type": "Explore"},
    )

    def script(request: Recorded) -> Answer:
        if any("subagent_type" in str(tool) for tool in request.body["tools"]):
            return Answer(ask_agent) if turns(request) == 0 else Answer("It is needle.txt.")
        look = Call("Bash", {"command": "ls", "description": "List files"})
        return Answer(look) if turns(request) == 0 else Answer("The agent saw needle.txt")

    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")
        plain = plain_variables(await proxy.client_variables())

        result = await claude.ask(proxy, "Where is it?", variables=plain)

        assert result.ok, result
        assert result.text == "It is needle.txt."
        ledger = await proxy.ledger(rows=4)
        asked = [row["model_asked"] for row in ledger]
        assert asked.count("claude-haiku-4-5-20251001") == 2
        assert asked.count("qwen3-coder:30b") == 2
        assert {row["model_used"] for row in ledger} == {"qwen3-coder:30b"}
        agent = [chat for chat in engine.chats if task in words(chat)]
        assert [turns(chat) for chat in agent] == [0, 1]
        assert "needle.txt" in tool_results(agent[1])[0]
        assert says(engine.chats[-1], "The agent saw needle.txt")


async def test_a_tool_call_written_as_text_is_run(serve: Serve, claude: ClaudeCode) -> None:
    path = claude.work / "from-text.txt"
    written = (
        "I will write the file.\n\n<function=Write>\n<parameter=file_path>\n",
        f"{path}\n</parameter>\n<parameter=content>\nline one\nline <two>\n</parameter>\n",
        "</function>\n</tool_call>",
    )
    async with scripted(in_turn(Answer(*written), Answer("Written."))) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Write a file", stream=True)

        assert result.ok, result
        assert result.text == "Written."
        assert path.read_text() in {"line one\nline <two>", "line one\nline <two>\n"}
        shown = [
            event["delta"]["text"]
            for event in result.streamed()
            if event["type"] == "content_block_delta" and event["delta"]["type"] == "text_delta"
        ]
        assert "<function" not in "".join(shown)
        assert "I will write the file." in "".join(shown)
        assert len(engine.chats) == 2


@pytest.mark.parametrize("sees", [True, False])
async def test_a_picture_reaches_only_a_model_that_sees(
    serve: Serve, claude: ClaudeCode, sees: bool
) -> None:
    (claude.work / "pixel.png").write_bytes(PIXEL)
    read = Call("Read", {"file_path": str(claude.work / "pixel.png")})
    engine = scripted(in_turn(Answer(read), Answer("A dot.")))
    more = ("vision",) if sees else ()
    engine.models = (Model(capabilities=("completion", "tools", *more)),)
    async with engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "What is in the picture?")

        assert result.ok, result
        shown = messages(engine.chats[1])[-1]
        assert shown["role"] == "tool"
        if sees:
            assert base64.b64decode(shown["images"][0]) == PIXEL
        else:
            assert "images" not in shown
            assert "image/png" in shown["content"]


async def test_a_web_search_is_answered_by_the_model_itself(
    serve: Serve, claude: ClaudeCode
) -> None:
    def script(request: Recorded) -> Answer:
        if "tools" not in request.body:
            return Answer("I found nothing newer than what I know.")
        search = Call("WebSearch", {"query": "llama.cpp release"})
        return Answer("Nothing new.") if turns(request) else Answer(search)

    async with scripted(script) as engine:
        proxy = await serve("--backend", f"ollama:{engine.url}")

        result = await claude.ask(proxy, "Search the web")

        assert result.ok, result
        assert result.text == "Nothing new."
        assert "nothing newer" in tool_results(engine.chats[-1])[0]
