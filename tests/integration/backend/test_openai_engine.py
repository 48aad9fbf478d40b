"""The engine for OpenAI-compatible servers against the emulator, in its three flavours."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.anthropic import (
    Base64Source,
    ImageBlock,
    MessagesRequest,
    TextBlock,
    Tool,
    Turn,
)
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from tests.emulators.openai import (
    OpenAIEmulator,
    OpenAIModel,
    loading,
    overflow,
    unknown_model,
)
from tests.emulators.server import (
    Answer,
    Call,
    Cut,
    Eof,
    ErrorLine,
    HttpError,
    Reset,
    Stall,
    Thinking,
)

PATIENT = TimeoutConfig()
READ = Tool(name="Read", input_schema={"type": "object", "properties": {"a": {"type": "integer"}}})
REQUEST = MessagesRequest(
    model="claude-x",
    max_tokens=64,
    system=[TextBlock(text="You are brief.")],
    messages=[Turn(role="user", content="hello"), Turn(role="user", content="again")],
    tools=[READ],
)
EngineMaker = Callable[..., OpenAIEngine]


@pytest.fixture
async def emu() -> AsyncIterator[OpenAIEmulator]:
    async with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
async def engine_at() -> AsyncIterator[EngineMaker]:
    """Makes engines, and closes them."""
    made: list[OpenAIEngine] = []

    def make(url: str, timeouts: TimeoutConfig = PATIENT, **more) -> OpenAIEngine:
        made.append(OpenAIEngine(url, timeouts=timeouts, **more))
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


async def discovered(engine: OpenAIEngine) -> EngineModel:
    [model] = await engine.discover()
    return model


async def chunks_of(engine: OpenAIEngine, request: MessagesRequest = REQUEST):
    model = await discovered(engine)
    plan = ChatPlan(request=request, model=model, num_ctx=None, max_tokens=64)
    return [chunk async for chunks in engine.chat(plan) for chunk in chunks]


async def text_of(engine: OpenAIEngine) -> str:
    return "".join(chunk.text for chunk in await chunks_of(engine))


# ----------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("flavour", ["llamacpp", "vllm", "plain"])
async def test_an_answer_arrives_with_thinking_calls_and_counts(engine_at, flavour) -> None:
    said = [Thinking("hm"), "Hel", "lo", Call("Read", {"a": 1}), Call("Read", {"a": 2})]
    async with OpenAIEmulator(Answer(*said, prompt_tokens=31), flavour=flavour) as emu:
        chunks = await chunks_of(engine_at(emu.url))
    assert "".join(chunk.thinking for chunk in chunks) == "hm"
    assert "".join(chunk.text for chunk in chunks) == "Hello"
    calls = [call for chunk in chunks for call in chunk.tool_calls]
    assert [call.arguments for call in calls] == [{"a": 1}, {"a": 2}]
    done = chunks[-1].done
    assert done is not None
    assert (done.reason, done.prompt_tokens, done.completion_tokens) == ("tool_calls", 31, 5)


@pytest.mark.parametrize("suffix", ["", "/v1"])
async def test_the_address_may_name_the_version_or_not(emu, engine_at, suffix) -> None:
    engine = engine_at(emu.url + suffix)
    assert engine.name == f"openai:{emu.url}"
    assert await text_of(engine) == "Hello there."


@pytest.mark.parametrize(("key", "told"), [(None, "asks for a key"), ("wrong", "refuses the key")])
async def test_an_engine_that_wants_another_key(emu, engine_at, key, told) -> None:
    emu.faults = {"/v1/models": HttpError(401, {"error": "Unauthorized"})}
    with pytest.raises(ApiError, match=rf"{emu.url} {told}.*LLMCTL_BACKEND_API_KEY") as caught:
        await engine_at(emu.url, api_key=key).discover()
    assert "wrong" not in caught.value.message


async def test_a_key_goes_with_every_request(emu, engine_at) -> None:
    await text_of(engine_at(emu.url, api_key="sesame"))
    assert {request.headers.get("Authorization") for request in emu.requests} == {"Bearer sesame"}


async def test_llama_cpp_closes_after_a_stream_so_its_connection_is_not_used_again(
    emu, engine_at
) -> None:
    engine = engine_at(emu.url)
    for _ in range(3):
        await text_of(engine)
    assert [request.headers.get("Connection") for request in emu.chats] == ["close"] * 3
    await engine.close()
    await emu.until(lambda: emu.open_connections == 0)


async def test_others_keep_their_connections(engine_at) -> None:
    async with OpenAIEmulator(flavour="vllm") as emu:
        engine = engine_at(emu.url)
        for _ in range(3):
            await text_of(engine)
        assert len(emu.connections) == 1


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (overflow(6031, 4096), 400, "prompt is too long: 6031 tokens > 4096 maximum"),
        (unknown_model("x"), 404, "model: qwen3-coder-30b is not on the engine"),
        (loading(), 529, "Loading model"),
        (HttpError(401, {"error": {"message": "Invalid API Key", "code": 401}}), 403, "key"),
        (Reset(), 529, "closed the connection before it answered"),
        (Answer(ErrorLine("Compute error.")), 500, "Compute error"),
        (Answer(Eof()), 502, "closed the stream before qwen3-coder-30b had finished"),
        (Answer(Cut()), 529, "closed the connection before it answered"),
    ],
)
async def test_a_failure_before_the_first_chunk(emu, engine_at, fault, status, message) -> None:
    emu.script = [fault, Answer("fine")]
    engine = engine_at(emu.url)
    with pytest.raises(ApiError) as caught:
        await text_of(engine)
    assert caught.value.status == status
    assert message in caught.value.message
    assert await text_of(engine) == "fine"


@pytest.mark.parametrize("pieces", [[Stall()], ["a", Stall()]])
async def test_cancelling_closes_the_connection(emu, engine_at, pieces) -> None:
    emu.script = Answer(*pieces)
    reading = asyncio.get_running_loop().create_task(text_of(engine_at(emu.url)))
    await emu.until(lambda: len(emu.chats) == 1 and bool(emu.chats[0].raw))
    reading.cancel()
    await emu.until(lambda: len(emu.closed) == 1)
    with pytest.raises(asyncio.CancelledError):
        await reading


# --------------------------------------------------------------------------------------- discovery


async def test_llama_cpp_tells_context_tools_and_sight(engine_at) -> None:
    seeing = OpenAIModel(context=4096, tools=False, vision=True)
    async with OpenAIEmulator(models=(seeing,)) as emu:
        model = await discovered(engine_at(emu.url))
    assert model.name == "qwen3-coder-30b"
    assert model.context_length == 4096
    assert model.capabilities == {"completion", "vision"}


@pytest.mark.parametrize(("flavour", "context"), [("vllm", 32768), ("plain", None)])
async def test_others_are_taken_at_their_word(engine_at, flavour, context) -> None:
    async with OpenAIEmulator(flavour=flavour) as emu:
        model = await discovered(engine_at(emu.url))
    assert model.context_length == context
    assert model.capabilities == {"completion", "tools"}


@pytest.mark.parametrize("flavour", ["llamacpp", "vllm", "plain"])
async def test_the_digest_outlives_a_restart(engine_at, flavour) -> None:
    digests = set()
    for started_at in (1, 2):
        async with OpenAIEmulator(flavour=flavour) as emu:
            emu.started_at = started_at
            digests.add((await discovered(engine_at(emu.url))).digest)
    assert len(digests) == 1


@pytest.mark.parametrize(
    "other",
    [
        OpenAIModel(name="other"),
        OpenAIModel(path="/models/other.gguf"),
        OpenAIModel(parameters=1),
        OpenAIModel(tools=False),
    ],
)
async def test_the_digest_changes_with_the_model(emu, engine_at, other) -> None:
    async with OpenAIEmulator(models=(other,)) as another:
        first = await discovered(engine_at(emu.url))
        second = await discovered(engine_at(another.url))
    assert first.digest != second.digest


async def test_the_digest_does_not_change_with_the_window(emu, engine_at) -> None:
    async with OpenAIEmulator(models=(OpenAIModel(context=8192),)) as wider:
        first = await discovered(engine_at(emu.url))
        second = await discovered(engine_at(wider.url))
    assert first.digest == second.digest


def asked(emu: OpenAIEmulator, path: str) -> int:
    return sum(request.path == path for request in emu.requests)


async def test_which_server_it_is_is_found_out_once(engine_at) -> None:
    async with OpenAIEmulator(flavour="plain") as emu:
        engine = engine_at(emu.url)
        await engine.discover()
        await engine.discover()
        assert asked(emu, "/props") == 1


async def test_properties_of_another_kind_of_server_are_none(engine_at) -> None:
    async with OpenAIEmulator(flavour="plain") as emu:
        emu.faults = {"/props": HttpError(200, b"<html>a page for every path</html>")}
        assert (await discovered(engine_at(emu.url))).context_length is None


async def test_and_again_after_it_was_away(engine_at) -> None:
    async with OpenAIEmulator(flavour="plain") as emu:
        engine = engine_at(emu.url)
        await engine.discover()
        await emu.refuse()
        with pytest.raises(ApiError, match="connection refused"):
            await engine.discover()
        emu.flavour = "llamacpp"
        await emu.listen()
        assert (await discovered(engine)).context_length == 32768


async def test_a_server_that_is_loading_is_not_there_yet(emu, engine_at) -> None:
    emu.faults = {"/v1/models": loading(), "/props": loading()}
    engine = engine_at(emu.url)
    with pytest.raises(ApiError, match="HTTP 503.*Loading model"):
        await engine.discover()
    emu.faults = {"/props": loading()}
    assert (await discovered(engine)).context_length == 32768
    emu.faults = {}
    assert await engine.count(REQUEST, await discovered(engine)) is not None


async def test_what_is_no_such_server_is_told(emu, engine_at) -> None:
    emu.faults = {"/v1/models": HttpError(200, b"<html>a portal</html>")}
    with pytest.raises(ApiError, match="check the backend's address"):
        await engine_at(emu.url).discover()


# ---------------------------------------------------------------------------------------- counting


@pytest.mark.parametrize("flavour", ["llamacpp", "vllm"])
async def test_a_count_is_what_the_engine_reports_afterwards(engine_at, flavour) -> None:
    async with OpenAIEmulator(flavour=flavour) as emu:
        engine = engine_at(emu.url)
        done = (await chunks_of(engine))[-1].done
        assert done is not None
        counted = await engine.count(REQUEST, await discovered(engine))
        assert counted == done.prompt_tokens


async def test_a_plain_server_cannot_count(engine_at) -> None:
    async with OpenAIEmulator(flavour="plain") as emu:
        engine = engine_at(emu.url)
        assert await engine.count(REQUEST, await discovered(engine)) is None
        assert asked(emu, "/tokenize") == 0


async def test_an_endpoint_that_is_not_there_is_asked_for_once(emu, engine_at) -> None:
    emu.faults = {"/apply-template": HttpError(404, {"error": "File Not Found"})}
    engine = engine_at(emu.url)
    model = await discovered(engine)
    assert [await engine.count(REQUEST, model) for _ in range(2)] == [None, None]
    assert asked(emu, "/apply-template") == 1


async def test_a_request_the_template_refuses_is_not_counted_but_the_next_one_is(
    emu, engine_at
) -> None:
    engine = engine_at(emu.url)
    model = await discovered(engine)
    emu.faults = {"/apply-template": HttpError(500, {"error": "roles must alternate"})}
    assert await engine.count(REQUEST, model) is None
    emu.faults = {}
    assert await engine.count(REQUEST, model) is not None


async def test_images_are_not_counted_as_text(engine_at) -> None:
    image = ImageBlock(source=Base64Source(media_type="image/png", data="aGVsbG8="))
    request = MessagesRequest(
        model="claude-x", max_tokens=1, messages=[Turn(role="user", content=[image])]
    )
    async with OpenAIEmulator(models=(OpenAIModel(vision=True),)) as emu:
        engine = engine_at(emu.url)
        assert await engine.count(request, await discovered(engine)) is None
        assert asked(emu, "/apply-template") == 0


async def test_a_connection_that_was_just_closed_is_no_failure(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    model = await discovered(engine)
    await emu.refuse()
    await emu.listen()
    assert await engine.count(REQUEST, model) is not None


async def test_these_servers_have_no_vocabulary_to_hand_out(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    assert await engine.vocabulary(await discovered(engine)) is None
