"""``health --watch`` in a real terminal, and for programs."""

import asyncio
import json
import os
import signal

from tests.e2e.processes import llmctl_command
from tests.tmux.test_watching import back_at_the_prompt, engine, proxy, terminal

__all__ = ["engine", "proxy", "terminal"]


async def test_what_goes_wrong_shows_up_with_its_fix_and_goes_away(terminal, proxy):
    await terminal.say("$COMMAND health --watch --every 0.5")
    await terminal.until("\nhealthy")
    assert not await terminal.cursor_is_shown()
    os.kill(proxy.pid, signal.SIGSTOP)
    try:
        await terminal.until("fix: llmctl serve")
        await terminal.until("are not well")
    finally:
        os.kill(proxy.pid, signal.SIGCONT)
    await terminal.until("\nhealthy")
    await terminal.resize(60, 30)
    await terminal.until_it(lambda lines: max(map(len, lines)) <= 60)
    await terminal.until_it(lambda lines: sum("proxy" in line for line in lines) == 1)
    await terminal.resize(100, 30)
    await terminal.press("C-c")
    await back_at_the_prompt(terminal)


async def test_programs_get_a_line_a_look(proxy):
    process = await asyncio.create_subprocess_exec(
        *llmctl_command(),
        *("health", "--watch", "--json", "--every", "0.5"),
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
    assert [look["healthy"] for look in looks] == [True, True]
    assert looks[0]["at"] < looks[1]["at"]
