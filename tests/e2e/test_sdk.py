"""The anthropic Python SDK against the installed proxy."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest

from tests.e2e.conftest import Serve
from tests.e2e.conversations import messages, scripted, turns
from tests.e2e.processes import Proxy
from tests.emulators.ollama import (
    Answer,
    Call,
    Calls,
    Cut,
    Delay,
    Hold,
    OllamaEmulator,
    Thinking,
    busy,
    out_of_memory,
    overflow,
)

pytestmark = pytest.mark.e2e

MODEL = "claude-sonnet-5"
HELLO: Any = [{"role": "user", "content": "Say hello"}]
WEATHER: Any = {
    "name": "get_weather",
    "description": "The weather of a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


@pytest.fixture
async def engine() -> AsyncIterator[OllamaEmulator]:
    async with scripted(Answer("Hello", " there", ".", prompt_tokens=31)) as running:
        yield running


@pytest.fixture
async def proxy(serve: Serve, engine: OllamaEmulator) -> Proxy:
    return await serve("--backend", f"ollama:{engine.url}")


@pytest.fixture
async def sdk(proxy: Proxy) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, api_key=proxy.banner["token"], max_retries=0, timeout=60
    ) as client:
        yield client


async def test_create(sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator) -> None:
    message = await sdk.messages.create(
        model=MODEL,
        max_tokens=64,
        system="Be brief.",
        messages=HELLO,
        extra_body={"temperature": 0.2},
    )

    assert [block.text for block in message.content if block.type == "text"] == ["Hello there."]
    assert (message.role, message.stop_reason, message.model) == (
        "assistant",
        "end_turn",
        "qwen3-coder:30b",
    )
    assert (message.usage.input_tokens, message.usage.output_tokens) == (31, 3)
    (chat,) = engine.chats
    assert messages(chat) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Say hello"},
    ]
    assert chat.body["options"]["num_predict"] == 64
    assert chat.body["options"]["temperature"] == 0.2


async def test_the_blocking_client_too(proxy: Proxy) -> None:
    def ask() -> str:
        with (
            anthropic.Anthropic(base_url=proxy.url, auth_token=proxy.banner["token"]) as client,
            client.messages.stream(model=MODEL, max_tokens=64, messages=HELLO) as stream,
        ):
            return "".join(stream.text_stream)

    assert await asyncio.to_thread(ask) == "Hello there."


async def test_the_stream_helper_ends_with_what_create_answers(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    engine.script = Answer(
        Thinking("They ask "),
        Thinking("for two."),
        "I look ",
        "at both.",
        Call("get_weather", {"city": "Ürümqi"}),
        Call("get_weather", {"city": 'quote " and \\ slash'}),
    )
    asked: Any = {"model": MODEL, "max_tokens": 64, "messages": HELLO, "tools": [WEATHER]}
    asked["thinking"] = {"type": "enabled", "budget_tokens": 1024}

    async with sdk.messages.stream(**asked) as stream:
        kinds = Counter([event.type async for event in stream])
        streamed = await stream.get_final_message()
    whole = await sdk.messages.create(**asked)

    assert [block.type for block in streamed.content] == [
        "thinking",
        "text",
        "tool_use",
        "tool_use",
    ]
    calls = [block for block in streamed.content if block.type == "tool_use"]
    assert [call.input for call in calls] == [
        {"city": "Ürümqi"},
        {"city": 'quote " and \\ slash'},
    ]
    assert streamed.stop_reason == "tool_use"
    assert kinds["message_start"] == kinds["message_stop"] == 1
    assert kinds["content_block_start"] == kinds["content_block_stop"] == 4
    assert without_ids(streamed) == without_ids(whole)
    assert len(engine.chats) == 1, "the second was a hit"


def without_ids(message: Any) -> dict[str, Any]:
    value = message.to_dict(exclude_none=True)
    assert value.pop("id").startswith("msg_")
    for block in value["content"]:
        if block["type"] == "tool_use":
            assert block.pop("id").startswith("toolu_")
    return value


async def test_a_tool_and_its_result_come_back(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    both = Calls((Call("get_weather", {"city": "Oslo"}), Call("get_weather", {"city": "Rome"})))
    engine.script = lambda request: Answer("Cold, warm.") if turns(request) else Answer(both)

    first = await sdk.messages.create(
        model=MODEL, max_tokens=64, messages=HELLO, tools=[WEATHER], tool_choice={"type": "any"}
    )
    oslo, rome = (block for block in first.content if block.type == "tool_use")
    results: Any = [
        {"type": "tool_result", "tool_use_id": rome.id, "content": "31"},
        {
            "type": "tool_result",
            "tool_use_id": oslo.id,
            "content": [{"type": "text", "text": "-7"}],
        },
    ]
    history: Any = [
        *HELLO,
        {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]
    second = await sdk.messages.create(
        model=MODEL, max_tokens=64, messages=history, tools=[WEATHER]
    )

    assert first.stop_reason == "tool_use"
    assert second.content[0].type == "text" and second.content[0].text == "Cold, warm."
    told = [entry for entry in messages(engine.chats[-1]) if entry["role"] == "tool"]
    assert [(entry["tool_name"], entry["content"]) for entry in told] == [
        ("get_weather", "-7"),
        ("get_weather", "31"),
    ]


async def test_the_tool_runner_sends_what_no_thread_holds(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    """It asks for threads unless told otherwise: only new messages, continuing an earlier answer."""

    @anthropic.beta_async_tool
    async def get_weather(city: str) -> str:
        """The weather of a city."""
        return f"{city} is cold"

    cities = iter(["Oslo", "Rome", "Bern"])
    engine.script = lambda request: (
        Answer("Cold.")
        if turns(request) == 3
        else Answer(Call("get_weather", {"city": next(cities)}))
    )
    runner = sdk.beta.messages.tool_runner(
        model=MODEL, max_tokens=64, messages=HELLO, tools=[get_weather]
    )
    last = await runner.until_done()

    assert last.content[0].type == "text" and last.content[0].text == "Cold."
    told = messages(engine.chats[-1])
    assert told[0]["content"] == "Say hello"
    assert [entry["content"] for entry in told if entry["role"] == "tool"] == [
        "Oslo is cold",
        "Rome is cold",
        "Bern is cold",
    ]


async def test_structured_output(sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator) -> None:
    engine.script = Answer('{"colour":', '"blue"}')
    schema = {"type": "object", "properties": {"colour": {"type": "string"}}}

    message = await sdk.messages.create(
        model=MODEL,
        max_tokens=64,
        messages=HELLO,
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )

    assert message.content[0].type == "text"
    assert json.loads(message.content[0].text) == {"colour": "blue"}
    assert engine.chats[0].body["format"]["properties"] == schema["properties"]


async def test_stop_sequences_are_named(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    engine.script = Answer("one tw", "o thr", "ee four")

    message = await sdk.messages.create(
        model=MODEL, max_tokens=64, messages=HELLO, stop_sequences=["four", "three"]
    )

    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "three")
    assert message.content[0].type == "text" and message.content[0].text == "one two "


async def test_count_tokens_asks_no_model(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    little = await sdk.messages.count_tokens(model=MODEL, messages=HELLO)
    much = await sdk.messages.count_tokens(
        model=MODEL, messages=HELLO, system="word " * 1000, tools=[WEATHER]
    )

    assert 0 < little.input_tokens < 100
    assert little.input_tokens + 500 < much.input_tokens < 5000
    assert engine.chats == []


async def test_models(sdk: anthropic.AsyncAnthropic) -> None:
    page = await sdk.models.list()
    names = [model.id async for model in page]
    one = await sdk.models.retrieve("qwen3-coder:30b")
    alias = await sdk.models.retrieve(MODEL)

    assert "qwen3-coder:30b" in names and MODEL in names
    assert len(names) == len(set(names))
    assert (one.id, one.type, alias.id) == ("qwen3-coder:30b", "model", MODEL)


async def test_pages_of_models_hold_each_once(sdk: anthropic.AsyncAnthropic) -> None:
    everything = [model.id async for model in await sdk.models.list(limit=1000)]
    one_by_one = [model.id async for model in await sdk.models.list(limit=1)]

    assert one_by_one == everything
    assert len(everything) > 2


# -- errors --------------------------------------------------------------------------------------


async def test_a_wrong_token(proxy: Proxy, engine: OllamaEmulator) -> None:
    async with anthropic.AsyncAnthropic(
        base_url=proxy.url, api_key="sk-wrong", max_retries=0
    ) as sdk:
        with pytest.raises(anthropic.AuthenticationError) as caught:
            await sdk.messages.create(model=MODEL, max_tokens=8, messages=HELLO)

    assert body(caught.value)["error"]["type"] == "authentication_error"
    assert "sk-wrong" not in str(caught.value)
    assert engine.chats == []


async def test_an_unknown_model_with_what_there_is(sdk: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        await sdk.messages.create(model="gpt-9", max_tokens=8, messages=HELLO)
    with pytest.raises(anthropic.NotFoundError):
        await sdk.models.retrieve("gpt-9")

    assert body(caught.value)["error"]["type"] == "not_found_error"
    assert "gpt-9" in str(caught.value) and "qwen3-coder:30b" in str(caught.value)
    assert caught.value.request_id is not None


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "hi"}]}, "role"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "hologram"),
        ({"extra_body": {"temperature": "warm"}}, "temperature"),
    ],
)
async def test_a_bad_request_names_what_is_wrong(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator, wrong: dict[str, Any], named: str
) -> None:
    good: dict[str, Any] = {"model": MODEL, "max_tokens": 8, "messages": HELLO}

    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.messages.create(**{**good, **wrong})

    assert body(caught.value)["error"]["type"] == "invalid_request_error"
    assert named in body(caught.value)["error"]["message"]
    assert engine.chats == []


async def test_a_prompt_that_is_too_long(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    engine.script = overflow(70_001, 65_536)

    with pytest.raises(anthropic.BadRequestError) as caught:
        await sdk.messages.create(model=MODEL, max_tokens=8, messages=HELLO)

    message = body(caught.value)["error"]["message"]
    assert message == "prompt is too long: 70001 tokens > 65536 maximum"


async def test_a_busy_engine(sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator) -> None:
    engine.script = busy()

    with pytest.raises(anthropic.OverloadedError) as caught:
        await sdk.messages.create(model=MODEL, max_tokens=8, messages=HELLO)

    assert body(caught.value)["error"]["type"] == "overloaded_error"
    assert int(caught.value.response.headers["retry-after"]) >= 1


async def test_an_engine_that_fails(sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator) -> None:
    engine.script = out_of_memory()

    with pytest.raises(anthropic.InternalServerError) as caught:
        await sdk.messages.create(model=MODEL, max_tokens=8, messages=HELLO)

    assert body(caught.value)["error"]["type"] == "api_error"
    assert "out of memory" in str(caught.value)


async def test_an_engine_that_is_gone(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    await engine.refuse()

    with pytest.raises(anthropic.OverloadedError) as caught:
        await sdk.messages.create(model=MODEL, max_tokens=8, messages=HELLO)

    assert engine.url.removeprefix("http://") in str(caught.value)


async def test_a_stream_that_breaks_raises(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    """It never passes for a short answer."""
    engine.script = Answer("Half of ", Delay(0.3), Cut())
    heard = ""

    with pytest.raises(anthropic.APIStatusError) as caught:
        async with sdk.messages.stream(model=MODEL, max_tokens=8, messages=HELLO) as stream:
            async for text in stream.text_stream:
                heard += text

    assert heard == "Half of "
    assert body(caught.value)["error"]["type"] == "api_error"


def body(error: anthropic.APIStatusError) -> dict[str, Any]:
    """The error's body, which always has Anthropic's shape."""
    value = error.body
    assert isinstance(value, dict) and value["type"] == "error", value
    assert set(value["error"]) >= {"type", "message"}
    return value


# -- many at once --------------------------------------------------------------------------------


async def test_twenty_identical_requests_are_one_generation(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator, proxy: Proxy
) -> None:
    go_on = asyncio.Event()
    engine.script = Answer("Once ", Hold(go_on), Call("get_weather", {"city": "Oslo"}))
    asked: Any = {"model": MODEL, "max_tokens": 64, "messages": HELLO, "tools": [WEATHER]}
    begun = asyncio.Semaphore(0)

    async def streamed() -> Any:
        async with sdk.messages.stream(**asked) as stream:
            async for event in stream:
                if event.type == "text":
                    begun.release()
            return await stream.get_final_message()

    async with asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(sdk.messages.create(**asked))]
        await engine.until(lambda: len(engine.chats) == 1)
        asking += [tasks.create_task(streamed()) for _ in range(19)]
        for _ in range(19):
            await begun.acquire()
        go_on.set()

    answers = [task.result() for task in asking]
    assert len(engine.chats) == 1
    assert len({answer.id for answer in answers}) == 20
    assert len({block.id for a in answers for block in a.content if block.type == "tool_use"}) == 20
    assert all(without_ids(answer) == without_ids(answers[0]) for answer in answers)
    outcomes = Counter(row["cache"] for row in await proxy.ledger(rows=20))
    assert outcomes == {"miss": 1, "shared": 19}


async def test_a_silent_engine_is_covered_by_pings(
    sdk: anthropic.AsyncAnthropic, engine: OllamaEmulator
) -> None:
    """The SDK hides pings, so this looks at the bytes."""
    go_on = asyncio.Event()
    engine.script = Answer(Hold(go_on), "Good morning.")

    heard = []
    asked: Any = {"model": MODEL, "max_tokens": 64, "messages": HELLO, "stream": True}
    async with sdk.messages.with_streaming_response.create(**asked) as response:
        begun = time.monotonic()
        async for line in response.iter_lines():
            if line.startswith("event: "):
                heard.append(line.removeprefix("event: "))
            if line == "event: ping":
                silent_s = time.monotonic() - begun
                go_on.set()

    assert heard[:2] == ["message_start", "ping"]
    assert silent_s <= 20, "the client gives up"
    assert heard[-3:] == ["content_block_stop", "message_delta", "message_stop"]
