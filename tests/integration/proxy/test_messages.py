"""One request through the proxy: answers, cache, sharing, departures, failures."""

import asyncio
import contextlib

import pytest

from tests.emulators.ollama import (
    Answer,
    Call,
    Calls,
    Cut,
    Delay,
    Eof,
    ErrorLine,
    Hold,
    OllamaEmulator,
    Raw,
    Stall,
    Thinking,
    busy,
    missing,
    out_of_memory,
    overflow,
)
from tests.integration.proxy.conftest import ask, parse, text_of

TOOL = {
    "name": "Read",
    "description": "Read a file",
    "input_schema": {"type": "object", "properties": {"file_path": {"type": "string"}}},
}


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running


async def test_a_whole_answer_and_its_hit_differ_only_in_ids(engine, proxy):
    status, headers, first = await proxy.json(ask())
    again_status, again_headers, again = await proxy.json(ask())
    assert (status, again_status) == (200, 200)
    assert (headers["x-llmctl-cache"], again_headers["x-llmctl-cache"]) == ("miss", "hit")
    assert first.pop("id") != again.pop("id")
    assert first == again
    assert first["content"] == [{"type": "text", "text": "Hello there."}]
    assert first["stop_reason"] == "end_turn"
    assert first["usage"]["input_tokens"] > 0
    assert len(engine.chats) == 1


async def test_a_stream_and_a_whole_answer_share_one_entry(engine, proxy):
    streamed = await proxy.events(ask())
    _, headers, whole = await proxy.json(ask())
    replayed = await proxy.events(ask())
    assert headers["x-llmctl-cache"] == "hit"
    assert text_of(streamed) == text_of(replayed) == whole["content"][0]["text"]
    assert streamed[-2]["usage"] == replayed[-2]["usage"] == whole["usage"]
    assert len(engine.chats) == 1


async def test_what_differs_only_in_form_is_the_same_request(engine, proxy):
    await proxy.json(ask(metadata={"user_id": "a"}))
    blocks = [{"type": "text", "text": "Say hello", "cache_control": {"type": "ephemeral"}}]
    body = ask(messages=[{"role": "user", "content": blocks}], metadata={"user_id": "b"})
    _, headers, _ = await proxy.json(body)
    assert headers["x-llmctl-cache"] == "hit"
    _, headers, _ = await proxy.json(ask(temperature=0.5))
    assert headers["x-llmctl-cache"] == "miss"


async def test_tool_calls_get_fresh_ids_on_every_copy(engine, proxy):
    engine.script = Answer(
        "I look.", Calls((Call("Read", {"file_path": "/a"}), Call("Read", {"file_path": "/b"})))
    )
    seen = set()
    for _ in range(2):
        _, _, message = await proxy.json(ask(tools=[TOOL]))
        events = await proxy.events(ask(tools=[TOOL]))
        blocks = [e["content_block"] for e in events if e["type"] == "content_block_start"]
        ids = [b["id"] for b in message["content"] + blocks if b["type"] == "tool_use"]
        assert message["stop_reason"] == events[-2]["delta"]["stop_reason"] == "tool_use"
        assert len(ids) == 4
        assert not seen & set(ids)
        seen |= set(ids)
        assert all(one.startswith("toolu_") for one in ids)
    assert len(engine.chats) == 1


async def test_no_cache_asks_again_and_replaces_and_no_store_leaves_no_trace(engine, proxy):
    engine.script = [Answer("one"), Answer("two"), Answer("three")]
    answers = []
    for header in ({}, {"cache_control": "no-cache"}, {}, {"cache_control": "no-store"}, {}):
        _, headers, message = await proxy.json(ask(), **header)
        answers.append((headers["x-llmctl-cache"], message["content"][0]["text"]))
    assert answers == [
        ("miss", "one"),
        ("bypass", "two"),
        ("hit", "two"),
        ("bypass", "three"),
        ("hit", "two"),
    ]


async def test_answers_survive_a_restart(engine, start):
    async with start(f"ollama:{engine.url}") as first:
        await first.json(ask())
    async with start(f"ollama:{engine.url}") as second:
        _, headers, _ = await second.json(ask())
    assert headers["x-llmctl-cache"] == "hit"
    assert len(engine.chats) == 1


async def test_identical_requests_in_flight_are_one_generation(engine, proxy):
    gate = asyncio.Event()
    engine.script = Answer("He", Hold(gate), "llo")
    asking = [asyncio.create_task(proxy.events(ask())) for _ in range(10)]
    asking += [asyncio.create_task(proxy.json(ask())) for _ in range(10)]
    await engine.until(lambda: bool(engine.chats))
    status, health = await proxy.get("/health")
    assert status == 200
    assert health["generations"] == 1
    gate.set()
    answers = await asyncio.gather(*asking)
    assert {text_of(events) for events in answers[:10]} == {"Hello"}
    assert {message["content"][0]["text"] for _, _, message in answers[10:]} == {"Hello"}
    ids = {events[0]["message"]["id"] for events in answers[:10]}
    ids |= {message["id"] for _, _, message in answers[10:]}
    assert len(ids) == 20
    outcomes = [headers["x-llmctl-cache"] for _, headers, _ in answers[10:]]
    assert set(outcomes) <= {"miss", "shared"}
    assert len(engine.chats) == 1


async def test_a_late_joiner_hears_what_was_said_and_then_the_rest(engine, proxy):
    gate = asyncio.Event()
    engine.script = Answer("one ", "two ", Hold(gate), "three")
    first = asyncio.create_task(proxy.events(ask()))
    await engine.until(lambda: bool(engine.active))
    async with proxy.post(ask(stream=True)) as late:
        assert late.headers["x-llmctl-cache"] == "shared"
        got = b""
        while b"two" not in got:
            got += await late.content.readany()
        assert b"three" not in got
        gate.set()
        got += await late.read()
    assert text_of(parse(got)) == text_of(await first) == "one two three"


async def test_the_generation_goes_on_when_its_first_client_leaves(engine, proxy):
    gate = asyncio.Event()
    engine.script = Answer("one ", Hold(gate), "two")
    async with proxy.post(ask(stream=True)) as first:
        got = b""
        while b"one" not in got:
            got += await first.content.readany()
        second = asyncio.create_task(proxy.events(ask()))
        while proxy.app.health()["streams"] < 2:
            await asyncio.sleep(0)
        first.close()
    gate.set()
    assert text_of(await second) == "one two"
    assert not engine.closed


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", [Answer(Stall()), Answer("some", Stall())], ids=["early", "mid"])
async def test_the_engine_is_released_when_the_last_client_leaves(engine, proxy, script, stream):
    engine.script = script
    asking = [asyncio.create_task(_until_cancelled(proxy, stream)) for _ in range(2)]
    await engine.until(lambda: bool(engine.active))
    for task in asking:
        assert not engine.closed
        task.cancel()
    await engine.until(lambda: len(engine.closed) == 1)
    await asyncio.gather(*asking, return_exceptions=True)
    assert len(engine.chats) == 1


async def _until_cancelled(proxy, stream):
    async with proxy.post(ask(stream=stream)) as response:
        await response.read()


async def test_message_start_comes_before_the_engine_has_said_anything(engine, proxy):
    engine.script = Answer(Stall())
    async with proxy.post(ask(stream=True)) as response:
        start = parse((await response.content.readuntil(b"\n\n")))[0]
        response.close()
    assert start["message"]["usage"]["input_tokens"] > 0
    assert start["message"]["model"] == "qwen3-coder:30b"
    assert start["message"]["content"] == []


@pytest.mark.parametrize(
    ("scripted", "status", "kind", "words"),
    [
        (
            overflow(1531, 512),
            400,
            "invalid_request_error",
            "prompt is too long: 1531 tokens > 512 maximum",
        ),
        (busy(), 529, "overloaded_error", "busy"),
        (out_of_memory(), 500, "api_error", "memory"),
        (missing("qwen3-coder:30b"), 404, "not_found_error", "ollama pull"),
    ],
    ids=["overflow", "busy", "memory", "missing"],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_an_early_failure_has_its_status(
    engine, proxy, scripted, status, kind, words, stream
):
    engine.script = scripted
    got, headers, body = await proxy.json(ask(stream=stream))
    assert (got, body["error"]["type"]) == (status, kind)
    assert words in body["error"]["message"]
    assert body["request_id"] == headers["request-id"]
    if status == 529:
        assert int(headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    "fault",
    [
        Cut(),
        Eof(),
        ErrorLine("an error was encountered while running the model"),
        Raw(b"garbage\n"),
        Raw(b'{"message":{"content":"\xe2\x82'),
    ],
    ids=["reset", "eof", "error line", "garbage", "half a character"],
)
async def test_a_stream_that_breaks_ends_with_an_error_and_is_not_kept(engine, proxy, fault):
    gate = asyncio.Event()
    engine.script = [Answer("some words", Hold(gate), fault), Answer("whole")]
    async with proxy.post(ask(stream=True)) as response:
        got = b""
        while b"some words" not in got:
            got += await response.content.readany()
        gate.set()
        got += await response.read()
    events = parse(got)
    assert events[-1]["type"] == "error"
    assert "message_stop" not in {event["type"] for event in events}
    _, headers, message = await proxy.json(ask())
    assert headers["x-llmctl-cache"] == "miss"
    assert message["content"][0]["text"] == "whole"


@pytest.mark.parametrize(
    "script",
    [Answer("cut off", done_reason="length"), Answer(""), Answer(Thinking("hm"))],
    ids=["length", "empty", "thought only"],
)
async def test_incomplete_answers_are_not_kept(engine, proxy, script):
    engine.script = script
    await proxy.json(ask())
    _, headers, message = await proxy.json(ask())
    assert headers["x-llmctl-cache"] == "miss"
    assert message["content"][0]["text"].strip()


async def test_a_stop_sequence_is_reported_and_releases_the_engine(engine, proxy):
    engine.script = Answer("one ST", "OP two", Stall())
    _, _, message = await proxy.json(ask(stop_sequences=["STOP"]))
    assert message["content"][0]["text"] == "one "
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "STOP")
    await engine.until(lambda: len(engine.closed) == 1)


async def test_a_prompt_beyond_the_window_never_reaches_the_engine(engine, start):
    async with start(f"ollama:{engine.url}", model_num_ctx=512) as proxy:
        status, _, body = await proxy.json(ask("word " * 3000))
    assert status == 400
    assert body["error"]["message"].startswith("prompt is too long: ")
    assert body["error"]["message"].endswith(" > 512 maximum")
    assert not engine.chats


async def test_max_tokens_is_clamped_and_options_are_always_the_same(engine, start):
    async with start(f"ollama:{engine.url}", model_num_ctx=4096) as proxy:
        await proxy.json(ask(max_tokens=32000))
        await proxy.json(ask("Something else", max_tokens=5))
    first, second = (chat.body for chat in engine.chats)
    assert first["options"]["num_ctx"] == second["options"]["num_ctx"] == 4096
    assert 1000 < first["options"]["num_predict"] < 4096
    assert second["options"]["num_predict"] == 5
    assert (first["truncate"], first["shift"]) == (False, False)
    assert len(engine.loads) == 1


async def test_the_next_backend_answers_and_names_its_model(engine, start):
    async with (
        OllamaEmulator(busy()) as first,
        start(f"ollama:{first.url}", f"ollama:{engine.url}") as proxy,
    ):
        _, _, message = await proxy.json(ask())
    assert message["content"][0]["text"] == "Hello there."
    assert len(first.chats) >= 1


async def test_without_an_engine_it_says_so_and_still_answers_from_the_cache(engine, proxy):
    await proxy.json(ask())
    await engine.refuse()
    _, headers, _ = await proxy.json(ask())
    assert headers["x-llmctl-cache"] == "hit"
    status, headers, body = await proxy.json(ask("Something new"))
    assert (status, body["error"]["type"]) == (529, "overloaded_error")
    assert str(engine.port) in body["error"]["message"]


async def test_a_stream_from_an_engine_that_is_gone_is_refused_before_it_begins(engine, proxy):
    await engine.refuse()
    status, headers, body = await proxy.json(ask(stream=True))
    assert (status, body["error"]["type"]) == (529, "overloaded_error")
    assert int(headers["retry-after"]) >= 1


async def test_what_happened_is_in_the_ledger(engine, proxy):
    await proxy.json(ask())
    await proxy.events(ask())
    await proxy.json(ask(model="nope"))
    await proxy.app._parts.ledger.flush()
    _, stats = await proxy.get("/stats")
    assert stats["total"]["requests"] == 3
    assert stats["total"]["cache"]["hit"] == 1
    assert stats["errors"] == {"not_found_error": 1}
    assert stats["by_model"]["qwen3-coder:30b"]["requests"] == 2


async def test_a_client_that_leaves_is_recorded_as_gone(engine, proxy):
    engine.script = Answer("some", Stall())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5), proxy.post(ask(stream=True)) as response:
            await response.content.readany()
            response.close()
    await engine.until(lambda: bool(engine.closed))
    await proxy.app._parts.ledger.flush()
    _, stats = await proxy.get("/stats")
    assert stats["errors"] == {"client_gone": 1}


async def test_tokens_are_counted_without_a_generation(engine, proxy):
    counts = []
    for text in ("one", "one two three four five six seven eight nine ten"):
        status, _, body = await proxy.json(
            {"model": "claude-x", "messages": [{"role": "user", "content": text}]},
            "/v1/messages/count_tokens",
        )
        assert status == 200
        counts.append(body["input_tokens"])
    assert 0 < counts[0] < counts[1]
    assert not engine.chats


async def test_models_are_listed_and_found(engine, proxy):
    _, page = await proxy.get("/v1/models?limit=1000")
    names = [row["id"] for row in page["data"]]
    assert "qwen3-coder:30b" in names
    assert (page["first_id"], page["last_id"], page["has_more"]) == (names[0], names[-1], False)
    _, first = await proxy.get("/v1/models?limit=1")
    assert first["has_more"]
    _, rest = await proxy.get(f"/v1/models?after_id={names[0]}")
    assert [row["id"] for row in rest["data"]] == names[1:]
    _, row = await proxy.get("/v1/models/claude-haiku-4-5-20251001")
    assert row["engine_model"] == "qwen3-coder:30b"
    status, body = await proxy.get("/v1/models/some/unknown:model")
    assert (status, body["error"]["type"]) == (404, "not_found_error")


async def test_an_unknown_model_names_what_there_is(engine, proxy):
    status, _, body = await proxy.json(ask(model="gpt-4"))
    assert (status, body["error"]["type"]) == (404, "not_found_error")
    assert "qwen3-coder:30b" in body["error"]["message"]


async def test_a_slow_reader_does_not_slow_the_other(engine, proxy):
    engine.script = Answer(*(f"token {number} " * 40 for number in range(4000)))
    async with proxy.post(ask(stream=True)) as stalled:
        await stalled.content.readany()
        fast = await proxy.events(ask())
        assert text_of(fast).endswith("token 3999 ")
        slow = await stalled.read()
    assert len(engine.chats) == 1
    assert slow.endswith(b'message_stop"}\n\n')


async def test_delays_between_tokens_keep_every_event_in_order(engine, proxy):
    pieces = [piece for number in range(50) for piece in (f"{number} ", Delay(0.001))]
    engine.script = Answer(*pieces)
    streams = await asyncio.gather(*(proxy.events(ask(f"question {n}")) for n in range(20)))
    expected = "".join(f"{number} " for number in range(50))
    assert [text_of(events) for events in streams] == [expected] * 20


async def test_what_the_engine_counted_is_learned_and_kept(engine, start):
    async def count(proxy):
        body = {"model": "claude-x", "messages": ask("How long is this?")["messages"]}
        return (await proxy.json(body, "/v1/messages/count_tokens"))[2]["input_tokens"]

    async with start(f"ollama:{engine.url}") as proxy:
        guess = await count(proxy)
        engine.script = Answer("Hi", prompt_tokens=guess + 5)
        await proxy.json(ask("How long is this?"))
        assert guess < await count(proxy) <= guess + 5
        for _ in range(5):
            await proxy.json(ask("How long is this?"), **{"cache-control": "no-cache"})
        assert await count(proxy) == guess + 5
    async with start(f"ollama:{engine.url}") as proxy:
        assert await count(proxy) > guess
