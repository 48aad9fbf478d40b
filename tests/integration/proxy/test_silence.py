"""An engine that says nothing for long: what clients get meanwhile, on real sockets."""

import asyncio
import json

import aiohttp
import pytest

from llmctl.proxy.silence import Silence
from tests.emulators.ollama import Answer, Cut, Hold, OllamaEmulator, Thinking
from tests.integration.proxy.conftest import ask, parse, text_of


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.mark.parametrize("before", [(), ("some ",), (Thinking("hm"),)])
async def test_a_stream_is_pinged_while_nothing_is_said(engine, start, before):
    gate = asyncio.Event()
    engine.script = Answer(*before, Hold(gate), "words")
    async with start(f"ollama:{engine.url}", silence=Silence(ping_s=0.02)) as proxy:
        async with proxy.post(ask(stream=True)) as response:
            got = b""
            while got.count(b"event: ping") < 3:
                got += await response.content.readany()
            gate.set()
            got += await response.read()
    events = parse(got)
    assert events[0]["type"] == "message_start"
    assert text_of(events).endswith("words")
    assert events[-1]["type"] == "message_stop"


async def test_a_stream_with_words_all_the_time_is_not_pinged(engine, proxy_of):
    engine.script = Answer(*["word "] * 200)
    async with proxy_of(Silence(ping_s=5)) as proxy:
        events = await proxy.events(ask())
    assert "ping" not in {event["type"] for event in events}


@pytest.fixture
def proxy_of(engine, start):
    return lambda silence: start(f"ollama:{engine.url}", silence=silence)


async def test_a_whole_answer_begins_with_white_space(engine, proxy_of):
    gate = asyncio.Event()
    engine.script = Answer("some ", Hold(gate), "words")
    async with proxy_of(Silence(blank_s=0.02)) as proxy:
        async with proxy.post(ask()) as response:
            got = b""
            while len(got) < 3:
                got += await response.content.readany()
            assert got == b" " * len(got)
            gate.set()
            got += await response.read()
        assert response.status == 200
        assert response.headers["x-llmctl-cache"] == "miss"
        assert response.headers["Content-Type"] == "application/json"
        message = json.loads(got)
        assert message["content"] == [{"type": "text", "text": "some words"}]
        _, headers, again = await proxy.json(ask())
    assert headers["x-llmctl-cache"] == "hit"
    assert again["content"] == message["content"]


async def test_a_failure_after_white_space_breaks_the_connection(engine, proxy_of):
    gate = asyncio.Event()
    engine.script = [Answer("some ", Hold(gate), Cut()), Answer("whole")]
    async with proxy_of(Silence(blank_s=0.02)) as proxy:
        async with proxy.post(ask()) as response:
            await response.content.readexactly(2)
            gate.set()
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        _, headers, message = await proxy.json(ask())
        assert (headers["x-llmctl-cache"], message["content"][0]["text"]) == ("miss", "whole")
        await proxy.app._parts.ledger.flush()
        _, stats = await proxy.get("/stats")
    assert stats["errors"] == {"api_error": 1}
    assert stats["total"]["requests"] == 2


async def test_a_client_that_leaves_while_it_gets_white_space(engine, proxy_of):
    engine.script = Answer("some ", Hold(asyncio.Event()))
    async with proxy_of(Silence(blank_s=0.02)) as proxy:
        async with proxy.post(ask()) as response:
            await response.content.readexactly(2)
            assert not engine.closed
            response.close()
        await engine.until(lambda: bool(engine.closed))
        assert len(engine.closed) == 1


async def test_streams_and_whole_answers_wait_for_one_generation(engine, proxy_of):
    gate = asyncio.Event()
    engine.script = Answer(Hold(gate), "words")
    async with proxy_of(Silence(ping_s=0.02, blank_s=0.02)) as proxy:
        async with proxy.post(ask(stream=True)) as stream, proxy.post(ask()) as whole:
            await whole.content.readexactly(2)
            await stream.content.readuntil(b"event: ping")
            gate.set()
            assert json.loads(await whole.read())["content"][0]["text"] == "words"
            assert b"words" in await stream.read()
    assert len(engine.chats) == 1
