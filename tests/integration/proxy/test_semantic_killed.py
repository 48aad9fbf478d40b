"""``serve`` killed while it writes what was asked to Redis: readable, nothing wrong, little lost."""

import asyncio
import os
import random
import re
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

pytest.importorskip("numpy")

from llmctl.semantic.redis import PREFIX
from tests.e2e.processes import Proxy
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.emulators.server import Recorded
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask
from tests.integration.proxy.test_semantic import CHAT, EMBEDDER
from tests.integration.valkey import Valkey, valkey

__all__ = ["valkey"]

ROUNDS = 6
CLIENTS = 8
UNWRITTEN = 64
"""A pipeline of rows may be on its way when the process dies."""
SHAPES = (
    "How do I get to station {} from the harbour?",
    "how do I get to station {} from the harbour ?",
    "How do I get to  station {} from the harbour?",
)
TOKEN = "llmctl_" + "k" * 43


def replies(recorded: Recorded) -> Answer:
    """Name the station that was asked for, so that an answer to another question shows."""
    return Answer(f"Station {station(str(recorded.body['messages'][-1]['content']))} is near.")


def station(text: str) -> str:
    found = re.search(r"[Ss]tation (\d+)", text)
    return found[1] if found else "none"


@asynccontextmanager
async def serving(home: Path, engine: OllamaEmulator, server: Valkey):
    settings = {
        "LLMCTL_AUTH_TOKEN": TOKEN,
        "LLMCTL_REDIS_URL": server.url,
        "LLMCTL_CACHE_SEMANTIC_MODE": "on",
        "LLMCTL_CACHE_SEMANTIC_ERROR_RATE": "0.5",
        "LLMCTL_CACHE_MEMORY_BYTES": "0",
    }
    proxy = Proxy(home, ("--backend", f"ollama:{engine.url}"), settings)
    await proxy.start()
    async with aiohttp.ClientSession(headers={"x-api-key": TOKEN}) as session:
        try:
            yield proxy, session
        finally:
            await proxy.stop()


async def semantic(proxy: Proxy, session: aiohttp.ClientSession) -> dict[str, Any]:
    async with session.get(f"{proxy.url}/health") as response:
        return (await response.json())["semantic"]


async def ready(proxy: Proxy, session: aiohttp.ClientSession) -> dict[str, Any]:
    """Wait until it knows all that is in the journal."""
    async with asyncio.timeout(60):
        while True:
            found = await semantic(proxy, session)
            if found["healthy"] and found["embedder"]:
                return found
            await asyncio.sleep(0.02)


async def say(proxy: Proxy, session: aiohttp.ClientSession, text: str) -> str:
    """Ask; returns where the answer came from, after a look at whose answer it is."""
    async with session.post(f"{proxy.url}/v1/messages", json=ask(text)) as response:
        message = await response.json()
        assert response.status == 200, message
    assert station(message["content"][0]["text"]) == station(text)
    return response.headers["x-llmctl-cache"]


async def keep_asking(proxy, session, numbers, answered: list[str]) -> None:
    try:
        for number in numbers:
            text = random.Random(number).choice(SHAPES).format(number)
            await say(proxy, session, text)
            answered.append(text)
    except aiohttp.ClientError:
        pass  # it was killed


async def killed_while_it_learns(
    proxy: Proxy, session: aiohttp.ClientSession, lap: int, dice: random.Random
) -> list[str]:
    """Ask with several clients and kill it at some moment; returns what was answered."""
    answered: list[str] = []
    base, enough = lap * 10_000, dice.randint(20, 250)
    async with asyncio.TaskGroup() as group:
        for client in range(CLIENTS):
            numbers = range(base + client, base + 10_000, CLIENTS)
            group.create_task(keep_asking(proxy, session, numbers, answered))
        await eventually(lambda: len(answered) >= enough)
        await asyncio.sleep(dice.uniform(0, 0.01))
        os.kill(proxy.pid, signal.SIGKILL)
    await proxy.ended(within_s=10)
    return answered


def rows(server: Valkey) -> int:
    keys = f"return redis.call('KEYS', '{PREFIX}*:entries')[1]"
    name = server.command("EVAL", keys, "0").decode()
    return int(server.command("XLEN", name))


async def test_whatever_moment_it_is_killed_the_journal_in_redis_is_whole(tmp_path, valkey):
    dice, asked, home = random.Random(7), list[str](), tmp_path / "home"
    async with OllamaEmulator(replies, models=(CHAT, EMBEDDER)) as engine:
        for lap in range(ROUNDS):
            async with serving(home, engine, valkey) as (proxy, session):
                await ready(proxy, session)
                asked += await killed_while_it_learns(proxy, session, lap, dice)
            assert len(asked) - rows(valkey) <= (lap + 1) * (UNWRITTEN + CLIENTS)
        async with serving(home, engine, valkey) as (proxy, session):
            await ready(proxy, session)
            async with asyncio.timeout(60):
                while (found := await semantic(proxy, session))["entries"] < rows(valkey):
                    await asyncio.sleep(0.05)
            assert found["entries"] == rows(valkey)
            assert found["counts"].get("damaged", 0) == 0
            assert found["journal"]["detail"] == ""
            outcomes = [await say(proxy, session, text) for text in asked]
            assert outcomes.count("hit") >= len(asked) - ROUNDS * (UNWRITTEN + CLIENTS)
            others = [text.replace("harbour", "Harbour") for text in dice.sample(asked, 50)]
            assert "semantic" in [await say(proxy, session, text) for text in others]
            assert "Traceback" not in proxy.stderr
