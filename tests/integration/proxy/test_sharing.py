"""Who shares answers with whom: proxies of one installation do, tenants never."""

import asyncio
import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.emulators.ollama import Answer, Hold, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask, text_of
from tests.integration.valkey import PATIENT_S, Valkey, valkey

__all__ = ["valkey"]


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture(params=["sqlite", "redis"])
def store(request) -> dict[str, str]:
    """Settings of a store that two proxies can share."""
    if request.param == "sqlite":
        return {}
    server: Valkey = request.getfixturevalue("valkey")
    return {"redis_url": server.url, "redis_budget_s": str(PATIENT_S)}


async def found(proxy, text: str) -> None:
    """Ask until the answer comes from the store: what another has written may be on its way."""
    async with asyncio.timeout(20):
        while (await proxy.json(ask(text)))[1]["x-llmctl-cache"] != "hit":
            await asyncio.sleep(0.005)


async def test_two_proxies_share_what_either_has_made(engine, start, store):
    async with (
        start(f"ollama:{engine.url}", **store) as one,
        start(f"ollama:{engine.url}", **store) as other,
    ):
        for proxy in (one, other):
            await eventually(lambda proxy=proxy: proxy.app.health()["cache"].healthy)
        for number in range(10):
            maker, taker = (one, other) if number % 2 else (other, one)
            _, headers, made = await maker.json(ask(f"question {number}"))
            assert headers["x-llmctl-cache"] == "miss"
            await found(taker, f"question {number}")
            _, _, taken = await taker.json(ask(f"question {number}"))
            assert taken["content"] == made["content"]
            assert taken["id"] != made["id"]


def tenants(home: Path, *names: str) -> dict[str, str]:
    """Let these in; returns their tokens."""
    tokens = {name: f"llmctl_token_of_{name}" for name in names}
    digests = {sha256(token.encode()).hexdigest(): name for name, token in tokens.items()}
    data = home / "data"
    data.mkdir(parents=True, mode=0o700)
    file = os.open(data / "tokens.json", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(file, "w") as stream:
        json.dump(digests, stream)
    return tokens


async def test_tenants_share_nothing(llmctl_home, engine, start, store):
    engine.script = lambda asked: Answer(f"answer {len(engine.chats)}")
    tokens = tenants(llmctl_home, "anna", "bert")
    async with start(f"ollama:{engine.url}", **store) as proxy:
        seen: dict[str, set[str]] = {name: set() for name in tokens}
        for number in range(30):
            for name, token in tokens.items():
                proxy.token = token
                body = ask(f"question {number % 10}", stream=bool(number % 3))
                if body["stream"]:
                    seen[name].add(text_of(await proxy.events(body)))
                else:
                    seen[name].add((await proxy.json(body))[2]["content"][0]["text"])
        await proxy.app._parts.ledger.flush()
        _, stats = await proxy.get("/stats")
    assert not seen["anna"] & seen["bert"]
    assert {name: len(answers) for name, answers in seen.items()} == {"anna": 10, "bert": 10}
    assert len(engine.chats) == 20
    assert {name: total["requests"] for name, total in stats["by_tenant"].items()} == {
        "anna": 30,
        "bert": 30,
    }


async def test_tenants_share_no_answer_in_flight(llmctl_home, engine, start):
    gate = asyncio.Event()
    engine.script = lambda asked: Answer(f"answer {len(engine.chats)} ", Hold(gate), "end")
    tokens = tenants(llmctl_home, "anna", "bert")
    async with start(f"ollama:{engine.url}") as proxy:
        asking = []
        for token in [*tokens.values()] * 3:
            proxy.token = token
            asking.append(asyncio.create_task(proxy.events(ask())))
            await asyncio.sleep(0)
        await engine.until(lambda: len(engine.chats) == 2)
        await eventually(lambda: proxy.app.health()["streams"] == 6)
        gate.set()
        texts = [text_of(events) for events in await asyncio.gather(*asking)]
    assert len(set(texts[0::2])) == len(set(texts[1::2])) == 1
    assert texts[0] != texts[1]


async def test_guessing_gets_slower_and_disturbs_nobody(engine, proxy):
    """All come from one address: who has a token is not made to wait."""
    await proxy.json(ask())
    loop = asyncio.get_running_loop()
    waits = []

    async def guess(number: int) -> None:
        begun = loop.time()
        status, _, body = await proxy.json(ask(), x_api_key=f"llmctl_guess_{number}")
        assert (status, body["error"]["type"]) == (401, "authentication_error")
        assert "guess" not in body["error"]["message"]
        waits.append(loop.time() - begun)

    guessing = [asyncio.create_task(guess(number)) for number in range(60)]
    await eventually(lambda: len(waits) >= 12)
    for _ in range(5):
        _, headers, _ = await proxy.json(ask())
        assert headers["x-llmctl-cache"] == "hit"
    assert not all(task.done() for task in guessing), "the good client had to wait"
    await asyncio.gather(*guessing)
    assert max(waits) >= 1.9
    assert len(engine.chats) == 1


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running
