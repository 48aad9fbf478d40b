"""Raw bytes against the front: whatever comes, a shaped answer, and nothing reaches the engine.

Also the contract test of the two aiohttp hooks that ``proxy.server`` overrides.
"""

import asyncio
import gzip
import json
import zlib

import pytest

from tests.emulators.ollama import Answer, OllamaEmulator, Stall
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask
from tests.integration.proxy.corpus import LOCAL, MESSAGES, RAW, head, raw, shaped, talk


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running


@pytest.mark.parametrize("name", RAW)
async def test_bad_http_is_refused_in_shape_and_closed(engine, proxy, name):
    answer = await talk(proxy.port, raw(name, proxy.token))
    status, _ = shaped(answer)
    assert 400 <= status < 500
    assert b"access-control" not in answer.lower()
    assert not engine.chats


NESTED = b"[" * 200_000
BODIES = {
    "empty": b"",
    "not json": b"hello",
    "array": b"[]",
    "null": b"null",
    "cut": b'{"model":"claude-x","messages":[',
    "nested": NESTED,
    "nested value": b'{"model":"m","max_tokens":1,"messages":' + NESTED,
    "not utf-8": b'{"model":"\xff"}',
    "nan": b'{"model":"claude-x","max_tokens":NaN,"messages":[]}',
    "wrong role": json.dumps(ask(messages=[{"role": "banana", "content": "x"}])).encode(),
    "unknown block": json.dumps(
        ask(messages=[{"role": "user", "content": [{"type": "hologram"}]}])
    ).encode(),
    "no messages": json.dumps(ask(messages=[])).encode(),
    "no max_tokens": json.dumps({"model": "claude-x", "messages": ask()["messages"]}).encode(),
    "zero max_tokens": json.dumps(ask(max_tokens=0)).encode(),
    "huge integer": json.dumps(ask(top_k=10**400)).encode(),
    "many tools": json.dumps(
        ask(tools=[{"name": f"t{n}", "input_schema": {"type": "object"}} for n in range(10_000)])
    ).encode(),
}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_a_400_that_says_what(engine, proxy, name, path):
    if path.endswith("count_tokens") and "max_tokens" in name:
        pytest.skip("count_tokens needs no max_tokens")
    status, _, body = await proxy.json(BODIES[name], path)
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")
    assert not engine.chats


async def test_lone_surrogates_do_no_harm(engine, proxy):
    body = (
        b'{"model":"claude-x","max_tokens":5,"messages":[{"role":"user","content":"a\\ud83d b"}]}'
    )
    status, _, _ = await proxy.json(body)
    assert status == 200
    assert "\ufffd" in engine.chats[0].body["messages"][-1]["content"]


async def test_a_gzip_bomb_stops_at_the_limit(engine, start):
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    async with start(f"ollama:{engine.url}", serve_max_body_bytes=1024 * 1024) as proxy:
        status, _, body = await proxy.json(bomb, Content_Encoding="gzip")
    assert (status, body["error"]["type"]) == (413, "request_too_large")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/nothing"])
async def test_a_body_that_is_not_compressed_as_it_says(proxy, coding, path, caplog):
    bodies = [b"not compressed at all", gzip.compress(json.dumps(ask()).encode())[:-8] + bytes(8)]
    for body in bodies:
        status, _, answer = await proxy.json(body, path, Content_Encoding=coding)
        assert (status, answer["error"]["type"]) in {
            (400, "invalid_request_error"),
            (404, "not_found_error"),
        }
        assert "\n" not in answer["error"]["message"]
    # aiohttp reads on behind an answer, and fails again
    await eventually(lambda: len(proxy.front.room) == 0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "GZIP", "identity"])
async def test_a_body_that_is_compressed_is_read(proxy, coding):
    plain = json.dumps(ask()).encode()
    sent = {"deflate": zlib.compress, "identity": bytes}.get(coding, gzip.compress)(plain)
    status, _, _ = await proxy.json(sent, Content_Encoding=coding)
    assert status == 200


async def test_a_large_body_is_read_and_a_larger_one_refused(engine, proxy):
    status, _, body = await proxy.json(ask("x" * (33 * 1024 * 1024)))
    assert (status, body["error"]["type"]) == (413, "request_too_large")
    picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoA" * 2_000_000}
    content = [{"type": "image", "source": picture}, {"type": "text", "text": "What is it?"}]
    status, _, _ = await proxy.json(ask(messages=[{"role": "user", "content": content}]))
    assert status == 200


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp"],
)
async def test_only_json_is_taken(engine, proxy, content_type):
    status, _, _ = await proxy.json(ask(), Content_Type=content_type)
    assert status == 415
    assert not engine.chats


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/messages", 405),
        ("DELETE", "/v1/models", 405),
        ("GET", "/", 404),
        ("POST", "/api/generate", 404),
        ("GET", "/api/tags", 404),
        ("POST", "/api/pull", 404),
        ("GET", "/v1/messages/", 404),
        ("GET", "/health/../stats", 404),
    ],
)
async def test_only_the_listed_paths_exist(engine, proxy, method, path, status):
    line = f"{method} {path} HTTP/1.1"
    answer = await talk(proxy.port, head(line, LOCAL, token=proxy.token))
    assert shaped(answer)[0] == status


async def test_a_wrong_method_is_told_the_right_ones(proxy):
    async with proxy.session.put(proxy.url + "/v1/models", headers=proxy.headers) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_every_path_needs_the_token_and_head_does_not(proxy):
    proxy.token = "llmctl_wrong"
    for path in ("/health", "/stats", "/metrics", "/v1/models", "/nothing"):
        status, body = await proxy.get(path)
        assert (status, body["error"]["type"]) == (401, "authentication_error")
    status, _, body = await proxy.json(ask())
    assert status == 401
    async with proxy.session.head(proxy.url + "/") as response:
        assert response.status == 200


@pytest.mark.parametrize("said", [b"", b"POST /v1/messages HTTP/1.1\r\nHost: local"])
async def test_a_connection_without_headers_is_closed(engine, start, said):
    async with start(f"ollama:{engine.url}", serve_header_s=0.05) as proxy:
        assert await talk(proxy.port, said) == b""


async def test_a_later_request_has_the_deadline_too(engine, start):
    async with start(f"ollama:{engine.url}", serve_header_s=0.5) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        fields = f"{LOCAL}\r\nx-api-key: {proxy.token}\r\n\r\n"
        writer.write(f"HEAD / HTTP/1.1\r\n{fields}".encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"GET /v1/mod")
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        writer.close()


async def test_a_body_that_stops_coming_is_a_408(engine, start):
    async with start(f"ollama:{engine.url}", serve_body_s=0.05) as proxy:
        data = head(MESSAGES, LOCAL, "Content-Length: 100", token=proxy.token) + b'{"model":'
        assert shaped(await talk(proxy.port, data))[0] == 408


async def test_a_body_that_drips_is_a_408(engine, start):
    """Each byte comes well within the patience for a pause."""
    async with start(f"ollama:{engine.url}", serve_body_s=0.5) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(head(MESSAGES, LOCAL, "Content-Length: 100000", token=proxy.token))
        told = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        async with asyncio.timeout(30):
            while not told.done():
                writer.write(b" ")
                await asyncio.wait({told}, timeout=0.02)
            # not to the end of the connection: what is still dripping in may reset it
            length = int((await told).lower().partition(b"content-length:")[2].split()[0])
            answer = await told + await reader.readexactly(length)
        writer.close()
    assert shaped(answer)[0] == 408
    assert b"came too slowly" in answer


@pytest.mark.parametrize(
    "fields", [["x-api-key: other"], ["Authorization: Bearer one", "Authorization: Bearer two"]]
)
async def test_two_tokens_of_a_kind_are_one_too_many(proxy, fields):
    """Which of them counts is what others on the way may see differently."""
    data = head("GET /v1/models HTTP/1.1", LOCAL, *fields, token=proxy.token)
    answer = await talk(proxy.port, data)
    assert shaped(answer)[0] == 400
    assert fields[0].partition(":")[0].encode() + b" came more than once" in answer


async def asked(proxy, source: str, path: str = "/v1/models"):
    """Ask on a connection of one's own from an address of this machine; it stays open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, local_addr=(source, 0))
    writer.write(f"GET {path} HTTP/1.1\r\n{LOCAL}\r\nx-api-key: {proxy.token}\r\n\r\n".encode())
    return reader, writer


async def status_of(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(30):
        return int((await reader.readuntil(b"\r\n\r\n")).split()[1])


async def test_no_address_takes_all_connections(engine, start):
    engine.script = Answer("some ", Stall())
    async with start(f"ollama:{engine.url}", serve_max_peer_connections=3) as proxy:
        streams = []
        for number in range(3):
            data = json.dumps(ask(f"question {number}", stream=True)).encode()
            head_ = (
                f"{MESSAGES}\r\n{LOCAL}\r\nx-api-key: {proxy.token}\r\nContent-Length: {len(data)}"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
            writer.write(head_.encode() + b"\r\n\r\n" + data)
            streams.append((reader, writer))
            assert await status_of(reader) == 200
        refused = await talk(proxy.port, head("GET /v1/models HTTP/1.1", LOCAL, token=proxy.token))
        assert shaped(refused) == (529, "overloaded_error")
        assert b"\r\nretry-after: " in refused
        assert b"127.0.0.1 has 3 connections" in refused
        reader, other = await asked(proxy, "127.0.0.2")
        assert await status_of(reader) == 200
        other.close()
        streams.pop()[1].transport.abort()
        await eventually(lambda: len(proxy.front.room) == 2)
        reader, again = await asked(proxy, "127.0.0.1")
        assert await status_of(reader) == 200
        for _, writer in (*streams, (None, again)):
            writer.transport.abort()
        await eventually(lambda: len(proxy.front.room) == 0)


async def test_who_cannot_be_understood_hears_so_before_the_end_of_what_it_sends(proxy):
    endless = f"{MESSAGES}\r\n{LOCAL}\r\nX-Long: ".encode() + b"x" * (5 * 1024 * 1024)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(endless)
    async with asyncio.timeout(30):
        await writer.drain()
        assert shaped(await reader.read()) == (400, "invalid_request_error")
    writer.close()
    await eventually(lambda: len(proxy.front.room) == 0)
