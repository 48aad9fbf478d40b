"""Raw bytes against the front: whatever comes, a shaped answer, and nothing reaches the engine.

Also the contract test of the two aiohttp hooks that ``proxy.server`` overrides.
"""

import asyncio
import gzip
import json

import pytest

from tests.emulators.ollama import OllamaEmulator
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


async def test_gzip_that_is_none_is_a_400(proxy):
    status, _, body = await proxy.json(b"not gzip at all", Content_Encoding="gzip")
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


async def test_a_large_body_is_read_and_a_larger_one_refused(engine, proxy):
    status, _, body = await proxy.json(ask("x" * (33 * 1024 * 1024)))
    assert (status, body["error"]["type"]) == (413, "request_too_large")
    picture = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgoA" * 2_000_000}
    content = [{"type": "image", "source": picture}, {"type": "text", "text": "What is it?"}]
    status, _, _ = await proxy.json(ask(messages=[{"role": "user", "content": content}]))
    assert status == 200


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
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
    async with start(f"ollama:{engine.url}", serve_header_s=0.05) as proxy:
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
