"""The Ollama engine against the emulator: every fault, every way to leave."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.http import READ_BYTES, watched_socket
from llmctl.backend.ollama import MAX_VOCABULARY_BYTES, OllamaEngine
from llmctl.config.addresses import ollama_url
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.anthropic import MessagesRequest, Turn
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError
from tests.emulators.ollama import (
    Answer,
    Call,
    Cut,
    Delay,
    Eof,
    ErrorLine,
    Hold,
    HttpError,
    Model,
    OllamaEmulator,
    Raw,
    Reset,
    Stall,
    Thinking,
    busy,
    missing,
    out_of_memory,
    overflow,
    xml_error,
)
from tests.streams import listening

PATIENT = TimeoutConfig()
CODER = EngineModel(
    name="qwen3-coder:30b", digest="d", capabilities=frozenset({"completion", "tools"})
)
EngineMaker = Callable[..., OllamaEngine]


def plan(text: str = "hello", model: EngineModel = CODER) -> ChatPlan:
    request = MessagesRequest(
        model="claude-x", max_tokens=64, messages=[Turn(role="user", content=text)]
    )
    return ChatPlan(request=request, model=model, num_ctx=4096, max_tokens=64)


@pytest.fixture
async def emu() -> AsyncIterator[OllamaEmulator]:
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def engine_at() -> AsyncIterator[EngineMaker]:
    """Makes engines, and closes them."""
    made: list[OllamaEngine] = []

    def make(url: str, timeouts: TimeoutConfig = PATIENT) -> OllamaEngine:
        made.append(OllamaEngine(url, timeouts=timeouts))
        return made[-1]

    yield make
    for engine in made:
        await engine.close()


async def text_of(engine: OllamaEngine, asked: ChatPlan | None = None) -> str:
    return "".join(
        [chunk.text async for chunks in engine.chat(asked or plan()) for chunk in chunks]
    )


# ----------------------------------------------------------------------------------------- answers


async def test_an_answer_arrives_with_thinking_calls_and_counts(emu, engine_at) -> None:
    call = Call("Read", {"file_path": "/a"})
    emu.script = Answer(Thinking("hm"), "Hel", "lo", call, prompt_tokens=36, completion_tokens=12)
    chunks = [chunk async for chunks in engine_at(emu.url).chat(plan()) for chunk in chunks]
    assert "".join(chunk.thinking for chunk in chunks) == "hm"
    assert "".join(chunk.text for chunk in chunks) == "Hello"
    [called] = [call for chunk in chunks for call in chunk.tool_calls]
    assert (called.name, called.arguments) == ("Read", {"file_path": "/a"})
    done = chunks[-1].done
    assert done is not None
    assert (done.reason, done.prompt_tokens, done.completion_tokens) == ("stop", 36, 12)


async def test_what_has_arrived_comes_as_one_list(emu, engine_at) -> None:
    more = asyncio.Event()
    emu.script = Answer("a", Hold(more), Raw(b"\n"), *"bcdefgh")
    answer = engine_at(emu.url).chat(plan())
    first = await anext(answer)
    assert [chunk.text for chunk in first] == ["a"]
    more.set()
    await emu.until(lambda: not emu.active)
    rest = [chunks async for chunks in answer]
    assert "".join(chunk.text for chunks in rest for chunk in chunks) == "bcdefgh"
    assert all(rest)
    assert len(rest) < 7


async def test_an_engine_that_is_faster_than_we_are_waits(emu, engine_at) -> None:
    emu.script = Answer(*["word " * 20] * 20_000)
    sizes = []
    async for chunks in engine_at(emu.url).chat(plan()):
        sizes.append(sum(len(chunk.text) for chunk in chunks))
        for _ in range(20):  # the engine writes on, as far as it is read
            await asyncio.sleep(0)
    assert sum(sizes) == 2_000_000
    assert max(sizes) < 3 * READ_BYTES


async def test_a_line_of_megabytes_is_whole(emu, engine_at) -> None:
    written = "x" * (7 * 1024 * 1024)
    emu.script = Answer(Call("Write", {"content": written}))
    chunks = [chunk async for chunks in engine_at(emu.url).chat(plan()) for chunk in chunks]
    assert chunks[0].tool_calls[0].arguments["content"] == written


async def test_a_prompt_of_megabytes_is_sent_whole(emu, engine_at) -> None:
    emu.count = lambda _body: 1
    prompt = "y" * (3 * 1024 * 1024)
    await text_of(engine_at(emu.url), plan(prompt))
    assert emu.chats[0].body["messages"][-1]["content"] == prompt


async def test_connections_are_kept_and_none_is_left(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    for _ in range(5):
        await text_of(engine)
    assert len(emu.connections) == 1
    await engine.close()
    await emu.until(lambda: emu.open_connections == 0)


async def test_hundred_answers_at_once_have_hundred_connections(emu, engine_at) -> None:
    together = asyncio.Event()
    emu.script = Answer(Hold(together), "ok")
    engine = engine_at(emu.url)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(text_of(engine)) for _ in range(100)]
        await emu.until(lambda: len(emu.active) == 100)
        together.set()
    assert [task.result() for task in tasks] == ["ok"] * 100


# ------------------------------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (missing("qwen3-coder:30b"), 404, "model: qwen3-coder:30b is not on the engine"),
        (overflow(1531, 512), 400, "prompt is too long: 1531 tokens > 512 maximum"),
        (busy(), 529, "server busy"),
        (out_of_memory(), 500, "out of memory"),
        (xml_error(), 500, "XML syntax error"),
        (HttpError(502, b"<html><body>Bad gateway</body></html>"), 500, "Bad gateway"),
        (Reset(), 529, "closed the connection before it answered"),
        (Answer(Raw(b"<html>hello</html>\n")), 502, "a line that is not its protocol"),
        (Answer(ErrorLine("unexpected EOF")), 500, "unexpected EOF"),
        (Answer(Eof()), 502, "closed the stream before qwen3-coder:30b had finished"),
    ],
)
async def test_a_failure_before_the_first_chunk(emu, engine_at, fault, status, message) -> None:
    emu.script = [fault, Answer("fine")]
    engine = engine_at(emu.url)
    with pytest.raises(ApiError) as caught:
        await text_of(engine)
    assert caught.value.status == status
    assert message in caught.value.message
    assert len(emu.chats) == 1
    assert await text_of(engine) == "fine"


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (
            [ErrorLine("an error was encountered while running the model")],
            "while running the model",
        ),
        ([Cut()], "broke mid-answer"),
        ([Raw(b'{"model":"m","message":{"content":"\xe2\x82'), Cut()], "broke mid-answer"),
        ([Raw(b'{"model":"m","message":{"content":"\xe2\x82'), Eof()], "closed the stream before"),
        ([Eof()], "closed the stream before"),
        ([Raw(b"<html>\n"), Stall()], "not its protocol"),
        ([Raw(b"z" * (8 * 1024 * 1024 + 1)), Stall()], "a line of more than"),
    ],
)
async def test_a_failure_in_the_middle(emu, engine_at, pieces, message) -> None:
    said = asyncio.Event()
    emu.script = [Answer("so far", Hold(said), *pieces), Answer("fine")]
    engine = engine_at(emu.url)
    answer = engine.chat(plan())
    assert [chunk.text for chunk in await anext(answer)] == ["so far"]
    said.set()
    with pytest.raises(ApiError, match=message):
        await anext(answer)
    assert await text_of(engine) == "fine"
    await emu.until(lambda: not emu.active)


async def test_nothing_listens(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    await emu.refuse()
    with pytest.raises(Unreachable) as caught:
        await text_of(engine)
    assert caught.value.status == 529
    assert caught.value.message == f"cannot reach the engine at {emu.url}: connection refused"
    await emu.listen()
    assert await text_of(engine) == "Hello there."


async def test_the_engine_dies_in_the_middle(emu, engine_at) -> None:
    emu.script = Answer("so far", Stall())
    answer = engine_at(emu.url).chat(plan())
    await anext(answer)
    await emu.refuse()
    with pytest.raises(ApiError, match="broke mid-answer"):
        await anext(answer)


async def test_a_name_that_does_not_exist(engine_at) -> None:
    with pytest.raises(Unreachable, match=r"the name nothing\.invalid is not known"):
        await text_of(engine_at("http://nothing.invalid:11434"))


async def test_tls_where_there_is_none(emu, engine_at) -> None:
    with pytest.raises(Unreachable, match="TLS failed, is it http:// instead of https://"):
        await text_of(engine_at(f"https://127.0.0.1:{emu.port}"))


async def test_a_connection_that_does_not_come_about_has_a_limit(engine_at) -> None:
    gone = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1024):  # a handshake that is never answered
            pass
        writer.close()
        gone.set()

    async with listening(say_nothing) as port:
        with pytest.raises(Unreachable, match=r"no connection within 0\.1 s") as caught:
            engine = engine_at(f"https://127.0.0.1:{port}", TimeoutConfig(connect_s=0.1))
            await text_of(engine)
        await gone.wait()
    assert not caught.value.retry_once


async def test_something_that_is_not_http(engine_at) -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with listening(greet) as port:
        with pytest.raises(ApiError, match="does not speak HTTP|closed the connection"):
            await text_of(engine_at(f"http://127.0.0.1:{port}"))


async def test_silence_before_the_first_token_has_a_limit(emu, engine_at) -> None:
    emu.script = [Answer(Stall()), Answer("fine")]
    engine = engine_at(emu.url, TimeoutConfig(first_token_s=0.5))
    with pytest.raises(ApiError) as caught:
        await text_of(engine)
    assert caught.value.status == 529
    assert caught.value.message == f"the engine at {emu.url} gave no first token within 0.5 s"
    await emu.until(lambda: len(emu.closed) == 1)


async def test_headers_alone_are_no_token(emu, engine_at) -> None:
    emu.script = Answer(Raw(b"\n"), Stall())
    with pytest.raises(ApiError, match="no first token"):
        await text_of(engine_at(emu.url, TimeoutConfig(first_token_s=0.5)))
    await emu.until(lambda: len(emu.closed) == 1)


async def test_silence_in_the_middle_has_a_limit(emu, engine_at) -> None:
    emu.script = [Answer("a", Stall()), Answer("fine")]
    engine = engine_at(emu.url, TimeoutConfig(idle_s=0.5))
    with pytest.raises(ApiError) as caught:
        await text_of(engine)
    assert caught.value.status == 504
    assert "fell silent in the middle of its answer (0.5 s without a byte)" in caught.value.message
    await emu.until(lambda: len(emu.closed) == 1)
    assert await text_of(engine) == "fine"


async def test_time_in_which_nobody_reads_is_no_silence(emu, engine_at) -> None:
    go_on = asyncio.Event()
    emu.script = Answer("a", Hold(go_on), "b")
    answer = engine_at(emu.url, TimeoutConfig(idle_s=0.5)).chat(plan())
    await anext(answer)
    go_on.set()
    await emu.until(lambda: not emu.active)
    much_later = asyncio.Event()
    asyncio.get_running_loop().call_later(1.0, much_later.set)
    await much_later.wait()
    assert [chunk.text async for chunks in answer for chunk in chunks] == ["b", ""]


# ----------------------------------------------------------------------------------------- leaving


@pytest.mark.parametrize("pieces", [[Stall()], [Raw(b"\n"), Stall()], ["a", Stall()]])
async def test_cancelling_closes_the_connection(emu, engine_at, pieces) -> None:
    emu.script = [Answer(*pieces), Answer("fine")]
    engine = engine_at(emu.url)
    reading = asyncio.get_running_loop().create_task(text_of(engine))
    await emu.until(lambda: len(emu.chats) == 1 and bool(emu.chats[0].raw))
    reading.cancel()
    await emu.until(lambda: len(emu.closed) == 1)
    await emu.until(lambda: emu.open_connections == 0)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert await text_of(engine) == "fine"


async def test_closing_the_iterator_closes_the_connection(emu, engine_at) -> None:
    emu.script = Answer("a", Stall())
    answer = engine_at(emu.url).chat(plan())
    await anext(answer)
    assert emu.open_connections == 1
    await answer.aclose()
    await emu.until(lambda: emu.closed and emu.open_connections == 0)
    assert (len(emu.closed), emu.open_connections) == (1, 0)


async def test_closing_after_done_does_not_wait_for_the_end_of_the_body(emu, engine_at) -> None:
    done = b'{"model":"m","message":{"content":""},"done":true,"done_reason":"stop"}\n'
    emu.script = Answer("a", Raw(done), Stall())
    assert await text_of(engine_at(emu.url)) == "a"
    await emu.until(lambda: len(emu.closed) == 1)


# --------------------------------------------------------------------------------------- discovery


async def test_discovery_knows_every_model(emu, engine_at) -> None:
    small = Model("smol:latest", ("completion",), 8192, "llama", "d" * 64, 100, renderer="")
    emu.models = (Model(), small)
    assert await engine_at(emu.url).discover() == [
        EngineModel(
            name="qwen3-coder:30b",
            digest=Model().digest,
            context_length=262144,
            capabilities=frozenset({"completion", "tools"}),
            family="qwen3moe",
            renderer="qwen3-coder",
        ),
        EngineModel(
            name="smol:latest",
            digest="d" * 64,
            context_length=8192,
            capabilities=frozenset({"completion"}),
            family="llama",
        ),
    ]


async def test_a_model_is_described_once_for_each_digest(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    await engine.discover()
    await engine.discover()
    assert shows(emu) == 1
    emu.models = (Model(digest="e" * 64),)
    await engine.discover()
    assert shows(emu) == 2


async def test_how_a_model_is_loaded_is_noted(emu, engine_at) -> None:
    engine = engine_at(emu.url)
    await text_of(engine)
    [found] = await engine.discover()
    assert found.note == "loaded, context 4096, 100 % on the GPU"


async def test_an_engine_that_only_lists_names_is_enough(emu, engine_at) -> None:
    emu.faults = {
        "/api/tags": HttpError(200, {"models": [{"name": "old:latest"}]}),
        "/api/ps": HttpError(404, b"404 page not found"),
        "/api/show": HttpError(404, b"404 page not found"),
    }
    engine = engine_at(emu.url)
    [found] = await engine.discover()
    assert found.name == "old:latest"
    assert found.capabilities == {"completion", "tools"}
    assert found.context_length is None
    await engine.discover()
    assert shows(emu) == 1


async def test_a_description_that_cannot_be_read_is_done_without(emu, engine_at) -> None:
    emu.faults = {"/api/show": HttpError(200, b"<html>")}
    [found] = await engine_at(emu.url).discover()
    assert (found.family, found.renderer, found.context_length) == ("qwen3moe", "", 262144)


async def test_what_does_not_say_where_it_is_loaded_is_only_loaded(emu, engine_at) -> None:
    loaded = {"models": [{"name": "qwen3-coder:30b"}]}
    emu.faults = {"/api/ps": HttpError(200, loaded)}
    [found] = await engine_at(emu.url).discover()
    assert found.note == "loaded"


async def test_a_connection_that_breaks_in_a_short_answer_is_told(engine_at) -> None:
    async def begin_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    async with listening(begin_only) as port:
        with pytest.raises(Unreachable, match="broke off its answer"):
            await engine_at(f"http://127.0.0.1:{port}").discover()


async def test_no_connection_in_time_is_not_tried_twice(engine_at) -> None:
    connected = 0

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connected
        connected += 1
        await reader.read()
        writer.close()

    async with listening(say_nothing) as port:
        with pytest.raises(ApiError, match="no connection|did not answer"):
            await engine_at(f"https://127.0.0.1:{port}", TimeoutConfig(connect_s=0.1)).discover()
    assert connected == 1


def shows(emu: OllamaEmulator) -> int:
    return sum(request.path == "/api/show" for request in emu.requests)


@pytest.mark.parametrize(
    ("fault", "status", "message"),
    [
        (HttpError(500, {"error": "broken"}), 529, 'answered HTTP 500: {"error": "broken"}'),
        (HttpError(200, b"<html>a portal</html>"), 502, "check the backend's address"),
        (HttpError(200, {"models": "none"}), 502, "check the backend's address"),
        (HttpError(403, b""), 502, "refuses to be called by this host name"),
        (Reset(), 529, "closed the connection before it answered"),
        (HttpError(200, b" " * 9 * 1024 * 1024), 502, "check the backend's address"),
    ],
)
async def test_discovery_that_fails_says_why(emu, engine_at, fault, status, message) -> None:
    emu.faults = {"/api/tags": fault}
    with pytest.raises(ApiError) as caught:
        await engine_at(emu.url).discover()
    assert caught.value.status == status
    assert message in caught.value.message
    assert emu.url in caught.value.message


async def test_discovery_does_not_wait_for_ever(emu, engine_at) -> None:
    emu.faults = {"/api/tags": Stall()}
    with pytest.raises(ApiError) as caught:
        await engine_at(emu.url, TimeoutConfig(connect_s=0.5)).discover()
    assert caught.value.status == 529
    assert caught.value.message == f"the engine at {emu.url} did not answer /api/tags within 0.5 s"
    await emu.until(lambda: len(emu.closed) == 1)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", ":{}", "0.0.0.0:{}", "http://localhost:{}/"])
async def test_every_form_of_ollama_host_reaches_it(emu, engine_at, form) -> None:
    engine = engine_at(ollama_url(form.format(emu.port)))
    [found] = await engine.discover()
    assert found.name == "qwen3-coder:30b"
    assert emu.requests[0].headers["Host"] in {f"127.0.0.1:{emu.port}", f"localhost:{emu.port}"}


async def test_the_environment_has_no_say_in_the_way_there(emu, engine_at, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await text_of(engine_at(emu.url)) == "Hello there."


def test_a_dead_link_is_noticed_by_the_kernel() -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 0))
    with watched_socket(address) as made:
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 5


# -------------------------------------------------------------------------------------- vocabulary


async def test_the_vocabulary_is_what_the_engine_counts_with(emu, engine_at) -> None:
    info = await engine_at(emu.url).vocabulary(CODER)
    assert info is not None
    assert info["tokenizer.ggml.tokens"] == emu.vocabulary["tokenizer.ggml.tokens"]
    assert info["tokenizer.ggml.merges"] == emu.vocabulary["tokenizer.ggml.merges"]
    assert emu.requests[0].body == {"model": "qwen3-coder:30b", "verbose": True}


async def test_a_vocabulary_beyond_all_measure_is_none(emu, engine_at) -> None:
    emu.faults = {"/api/show": HttpError(200, b" " * (MAX_VOCABULARY_BYTES + 1))}
    assert await engine_at(emu.url).vocabulary(CODER) is None


async def test_a_vocabulary_that_cannot_be_had_now_is_told(emu, engine_at) -> None:
    emu.faults = {"/api/show": HttpError(500, {"error": "busy"})}
    with pytest.raises(ApiError, match="HTTP 500"):
        await engine_at(emu.url).vocabulary(CODER)


async def test_ollama_has_nothing_to_count_with(emu, engine_at) -> None:
    assert await engine_at(emu.url).count(plan().request, CODER) is None
    assert emu.requests == []


async def test_a_delay_before_the_answer_is_only_a_delay(emu, engine_at) -> None:
    emu.script = Answer(Delay(0.01), "late")
    assert await text_of(engine_at(emu.url)) == "late"
