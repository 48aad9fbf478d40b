"""What clients may rely on in HTTP itself, and what the proxy relies on in aiohttp."""

import asyncio
import json
import shutil

import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter

from tests.emulators.ollama import Answer, Hold, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask, parse, text_of


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running


class Wire:
    """A connection on which requests are written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, proxy) -> "Wire":
        wire = cls(*await asyncio.open_connection("127.0.0.1", proxy.port))
        wire.token = proxy.token
        return wire

    def send(self, line: str, body: bytes | None = None, *fields: str) -> None:
        lines = [line, "Host: 127.0.0.1", f"x-api-key: {self.token}", *fields]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    async def answer(self, *, head: bool = False) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a length; to the end of the connection where there is none."""
        async with asyncio.timeout(20):
            start = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *fields = start.strip().split("\r\n")
            headers = dict(field.lower().split(": ", 1) for field in fields)
            if head:
                body = b""
            elif "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            else:
                assert headers.get("transfer-encoding") != "chunked"
                body = await self.reader.read()
            return int(line.split()[1]), headers, body

    async def closed(self) -> bool:
        async with asyncio.timeout(20):
            return await self.reader.read() == b""


@pytest.fixture
async def wire(proxy):
    made = await Wire.to(proxy)
    yield made
    made.writer.close()


POST = "POST /v1/messages HTTP/1.1"
BODY = json.dumps(ask()).encode()
STREAM = json.dumps(ask(stream=True)).encode()


# -- connections


async def test_a_connection_outlives_a_refusal(engine, wire):
    for body, status in ((b"{", 400), (json.dumps(ask(model="nope")).encode(), 404), (BODY, 200)):
        wire.send(POST, body)
        assert (await wire.answer())[0] == status
    wire.send("DELETE /v1/messages HTTP/1.1")
    assert (await wire.answer())[0] == 405
    wire.send(POST, BODY)
    status, headers, _ = await wire.answer()
    assert (status, headers["x-llmctl-cache"]) == (200, "hit")


async def test_requests_sent_ahead_are_answered_in_order(engine, wire):
    engine.script = lambda asked: Answer(asked.body["messages"][-1]["content"][::-1])
    questions = [f"question {number}" for number in range(50)]
    for question in questions:
        wire.send(POST, json.dumps(ask(question)).encode())
    for question in questions:
        status, _, body = await wire.answer()
        assert status == 200
        assert json.loads(body)["content"][0]["text"] == question[::-1]


async def deadline_strikes(proxy) -> None:
    """Wait until it has ended a silent connection that is younger than all others."""
    silent = await Wire.to(proxy)
    assert await silent.closed()
    silent.writer.close()


async def test_a_large_body_does_not_start_the_deadline_of_the_next_request(engine, start):
    """Its pieces arrive one by one, before the handler has begun or after it has ended."""
    async with start(f"ollama:{engine.url}", serve_header_s=1.0) as proxy:
        wire = await Wire.to(proxy)
        body = json.dumps(ask("x" * 100_000)).encode()
        for _ in range(2):
            wire.send(POST + "\r\nContent-Length: %d" % len(body))
            for at in range(0, len(body), 20_000):
                wire.writer.write(body[at : at + 20_000])
                await asyncio.sleep(0)
            assert (await wire.answer())[0] == 200
            await deadline_strikes(proxy)
        wire.send(POST, body)
        assert (await wire.answer())[0] == 200
        wire.writer.close()


async def test_an_answer_that_takes_longer_than_the_header_deadline(engine, start):
    gate = asyncio.Event()
    engine.script = Answer("some ", Hold(gate), "words")
    async with start(f"ollama:{engine.url}", serve_header_s=1.0) as proxy:
        streaming = asyncio.create_task(proxy.events(ask()))
        await engine.until(lambda: bool(engine.active))
        await deadline_strikes(proxy)
        gate.set()
        assert text_of(await streaming) == "some words"


async def test_half_open_connections_are_closed_and_disturb_nobody(engine, start):
    async with start(f"ollama:{engine.url}", serve_header_s=2.0) as proxy:
        crowd = [await Wire.to(proxy) for _ in range(200)]
        for number, wire in enumerate(crowd):
            wire.writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\n"[: number % 40])
        assert (await proxy.json(ask()))[0] == 200
        assert all([await wire.closed() for wire in crowd])
        assert (await proxy.json(ask()))[0] == 200
        for wire in crowd:
            wire.writer.close()


# -- old clients


@pytest.mark.parametrize("fields", [(), ("Connection: keep-alive",)])
async def test_a_stream_for_http_1_0_ends_with_its_connection(engine, wire, fields):
    wire.send("POST /v1/messages HTTP/1.0", STREAM, *fields)
    status, headers, body = await wire.answer()
    assert status == 200
    assert headers.get("connection") != "keep-alive"
    assert text_of(parse(body)) == "Hello there."


async def test_http_1_0_may_keep_its_connection_where_lengths_are_known(engine, wire):
    for _ in range(2):
        wire.send("POST /v1/messages HTTP/1.0", BODY, "Connection: keep-alive")
        status, headers, _ = await wire.answer()
        assert (status, headers["connection"]) == (200, "keep-alive")
    wire.send("POST /v1/messages HTTP/1.0", BODY)
    assert (await wire.answer())[0] == 200
    assert await wire.closed()


@pytest.mark.parametrize("path", ["/", "/health", "/stats", "/metrics", "/v1/models", "/nothing"])
async def test_head_has_the_headers_and_no_body(engine, wire, path):
    wire.send(f"HEAD {path} HTTP/1.1")
    status, headers, _ = await wire.answer(head=True)
    assert status == (404 if path == "/nothing" else 200)
    assert headers["request-id"].startswith("req_")
    if path == "/":  # needs no token, and without one no connection is kept
        assert await wire.closed()
        return
    wire.send(POST, BODY)
    assert (await wire.answer())[0] == 200


# -- large bodies


async def test_a_client_that_waits_to_be_asked_for_its_body_is_asked(engine, wire):
    wire.send(POST + f"\r\nContent-Length: {len(BODY)}", None, "Expect: 100-Continue")
    async with asyncio.timeout(20):
        assert await wire.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.writer.write(BODY)
    assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (("Content-Type: text/plain",), 415),
        (("Content-Length: 99999999999",), 413),
        ((), 401),
    ],
)
async def test_a_body_that_would_be_refused_is_not_asked_for(engine, proxy, fields, status):
    wire = await Wire.to(proxy)
    wire.token = "llmctl_other" if status == 401 else proxy.token
    length = () if status == 413 else ("Content-Length: 10",)
    wire.send(POST, None, "Expect: 100-continue", *length, *fields)
    assert (await wire.answer())[0] == status
    wire.writer.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_sends_a_large_body(engine, proxy, tmp_path):
    body = tmp_path / "body.json"
    body.write_text(json.dumps(ask("word " * 600_000)))
    engine.count = lambda _: 10
    process = await asyncio.create_subprocess_exec(
        *("curl", "--silent", "--show-error", "--verbose", "--max-time", "30"),
        *("--header", f"x-api-key: {proxy.token}", "--header", "content-type: application/json"),
        *("--data-binary", f"@{body}", f"{proxy.url}/v1/messages/count_tokens"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert json.loads(out)["input_tokens"] > 100_000
    if b"Expect: 100-continue" in err:  # as every version of curl does, from 1 MB on
        assert b"100 Continue" in err


@pytest.mark.parametrize("coding", ["compress", "gzip, gzip", "x"])
async def test_an_encoding_that_is_not_spoken_is_a_415(engine, proxy, coding):
    status, _, body = await proxy.json(ask(), Content_Encoding=coding)
    assert (status, body["error"]["type"]) == (415, "invalid_request_error")


# -- queries


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models?limit=0",
        "/v1/models?limit=%C2%B2",
        "/v1/models?limit=" + "9" * 5000,
        "/stats?since=yesterday",
        "/stats?since=nan",
        "/stats?since=1e999",
        "/stats?until=soon",
        "/stats?by=week",
    ],
)
async def test_a_query_that_makes_no_sense_is_a_400(proxy, path):
    status, body = await proxy.get(path)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    "path",
    [
        "/stats?since=0",
        "/stats?since=-1e300&until=1e300&by=hour",
        "/stats?until=0&by=month",
        "/v1/models?after_id=x",
    ],
)
async def test_a_query_that_finds_little_is_none(proxy, path):
    assert (await proxy.get(path))[0] == 200


# -- aiohttp


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_write_that_does_not_drain_never_waits(version):
    """``messages`` runs such a write in one step, however much the client has not taken yet."""
    outcomes: list[object] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        writer = await response.prepare(request)
        assert isinstance(writer, StreamWriter)
        for _ in range(300):
            writing = writer.write(b"x" * 65_536, drain=False)
            try:
                outcomes.append(writing.send(None))
            except StopIteration as ended:
                outcomes.append(ended.value)
        outcomes.append(request.transport.get_write_buffer_size())
        request.transport.abort()
        return response

    server = web.Server(handler)
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET / HTTP/{version}\r\nHost: x\r\n\r\n".encode())
    await eventually(lambda: len(outcomes) > 300)
    assert outcomes[:300] == [None] * 300
    assert outcomes[300] > 1_000_000, "the client should not have taken it all"
    writer.close()
    listener.close()
    await server.shutdown()
