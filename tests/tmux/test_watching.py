"""Commands that draw the same screen again and again, in a real terminal."""

import asyncio
import json
import os
import signal
import sys

import aiohttp
import pytest

from tests.e2e.processes import Proxy, llmctl_command
from tests.emulators.ollama import Answer, Hold, OllamaEmulator
from tests.tmux.screens import screen

PROMPT = "ready>"
ASK = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 99,
    "stream": True,
    "messages": [{"role": "user", "content": "Hello"}],
}


@pytest.fixture
async def engine():
    """Says three words and then nothing, until it is let go."""
    go_on = asyncio.Event()
    answer = Answer("Once ", "upon ", "a ", Hold(go_on), "time.")
    async with OllamaEmulator(answer) as emulator:
        emulator.go_on = go_on
        yield emulator
        go_on.set()


@pytest.fixture
async def proxy(engine, tmp_path):
    found = Proxy(tmp_path / "home", ("--backend", f"ollama:{engine.url}"), {})
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def stream(proxy, engine):
    """A client that has heard the three words."""
    token = (await proxy.client_variables())["ANTHROPIC_AUTH_TOKEN"]
    async with aiohttp.ClientSession(headers={"x-api-key": token}) as session:
        async with session.post(f"{proxy.url}/v1/messages", json=ASK) as response:
            heard = b""
            while b"upon" not in heard:
                heard += await response.content.readany()
            yield response
            engine.go_on.set()
            await response.read()


@pytest.fixture
async def terminal(proxy, tmp_path):
    """A shell in a terminal of 100 × 30, in which ``llmctl`` finds the proxy."""
    command = " ".join(llmctl_command())
    environment = {
        **proxy.environment,
        "PS1": PROMPT,
        "COMMAND": command,
        "TERM": "screen-256color",
    }
    environment.pop("NO_COLOR")
    async with screen(tmp_path) as found:
        await found.start(["bash", "--norc", "--noprofile"], environment, tmp_path)
        await found.until(PROMPT)
        await found.resize(100, 30)
        yield found


async def back_at_the_prompt(terminal):
    """Assert that the shell has its terminal as it was, and works."""
    await terminal.until_it(lambda lines: [line for line in lines if line][-1] == PROMPT)
    assert await terminal.cursor_is_shown()
    assert not await terminal.is_in_its_own_screen()
    await terminal.press("C-l")
    await terminal.say("echo status=$? size=$(stty size) $(stty -a | grep -ow echo)")
    await terminal.until("\nstatus=")
    answers = [line for line in await terminal.lines() if line.startswith("status=")]
    assert answers == [f"status=0 size={await size(terminal)} echo"]


async def size(terminal):
    return (await terminal._do("display-message", "-p", "#{pane_height} #{pane_width}")).strip()


async def test_stats_draws_resizes_and_leaves(terminal, stream, engine):
    await terminal.say("$COMMAND stats --watch --every 0.2")
    await terminal.until("1 open, 0 queued")
    await terminal.until("answering")
    assert not await terminal.cursor_is_shown()
    await terminal.resize(50, 12)
    await terminal.until_it(lambda lines: lines[0].startswith("llmctl ") and len(lines) <= 12)
    await terminal.until_it(lambda lines: "1 open, 0 queued" in lines)
    await terminal.resize(120, 40)
    await terminal.until_it(lambda lines: any(line.startswith("engine") for line in lines))
    await terminal.until_it(lambda lines: sum("1 open, 0 queued" in line for line in lines) == 1)
    engine.go_on.set()
    await terminal.until("0 open, 0 queued")
    await terminal.press("C-c")
    await back_at_the_prompt(terminal)


async def test_typing_changes_neither_the_screen_nor_the_next_prompt(terminal):
    await terminal.say("$COMMAND stats --watch --every 0.2")
    await terminal.until("0 open, 0 queued")
    before = await terminal.lines()
    for key in ("q", "Enter", "Enter", "x", "Up"):
        await terminal.press(key)
    await terminal.until_it(lambda lines: lines[1] != before[1])  # drawn again
    assert (await terminal.lines())[2:] == before[2:]
    await terminal.press("C-c")
    await back_at_the_prompt(terminal)


@pytest.mark.parametrize("command", ["stats", "health"])
async def test_a_screen_without_colours(terminal, command):
    """In what NO_COLOR leaves there are no attributes but those of the shell."""
    await terminal.say(f"NO_COLOR=1 $COMMAND {command} --watch")
    await terminal.until_it(lambda lines: any("ollama" in line for line in lines))
    drawn = await terminal._do("capture-pane", "-p", "-e")
    assert "\033[1m" not in drawn
    assert "\033[3" not in drawn
    await terminal.press("C-c")
    await back_at_the_prompt(terminal)


async def test_a_proxy_that_hangs_is_told_and_found_again(terminal, proxy):
    await terminal.say("$COMMAND stats --watch --every 0.2")
    await terminal.until("0 open, 0 queued")
    os.kill(proxy.pid, signal.SIGSTOP)
    try:
        await terminal.until("no proxy answers at")
    finally:
        os.kill(proxy.pid, signal.SIGCONT)
    await terminal.until("0 open, 0 queued")
    await terminal.press("C-c")
    await back_at_the_prompt(terminal)


async def test_programs_get_a_document_a_look(proxy, stream):
    process = await asyncio.create_subprocess_exec(
        *llmctl_command(),
        *("stats", "--watch", "--json", "--every", "0.2"),
        env=proxy.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    looks = [json.loads(await process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    rest, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")
    assert all(json.loads(line) for line in rest.splitlines())
    assert [look["proxy"]["open"][0]["stage"] for look in looks] == ["answering"] * 2
    assert looks[0]["proxy"]["open"][0]["age_s"] < looks[1]["proxy"]["open"][0]["age_s"]


async def test_logs_get_lines(proxy):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llmctl", "stats", "--watch", "--every", "0.2"),
        env=proxy.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    line = (await process.stdout.readline()).decode()
    assert line.rstrip("\n").partition(" ")[2].startswith("ok, 0 open, 0 queued")
    process.send_signal(signal.SIGTERM)
    rest, errors = await process.communicate()
    assert (process.returncode, rest, errors) == (0, b"", b"")
