"""The document of the API: it is served to those who may, and it says what is so."""

import json

import msgspec
import pytest

from llmctl.protocol.anthropic import Message
from tests.e2e.processes import Proxy
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.proxy import documented
from tests.integration.proxy.conftest import ask


@pytest.fixture
async def proxy(start):
    async with OllamaEmulator() as engine, start(f"ollama:{engine.url}") as running:
        yield running


@pytest.fixture
async def document(proxy) -> dict:
    status, document = await proxy.get("/openapi.json")
    assert status == 200
    return document


def referenced(value) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(referenced, value))
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
    return own.union(*map(referenced, value.values()))


async def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for reference in referenced(document):
        assert reference.removeprefix("#/components/schemas/") in schemas


async def test_every_path_is_in_it(proxy, document):
    served = {path for path in proxy.app._routes if not path.startswith("/ui")}
    assert served == {path for path in document["paths"] if "{" not in path}


async def test_what_it_lists_with_get_answers(proxy, document):
    for path, methods in document["paths"].items():
        if "get" in methods:
            url = proxy.url + path.replace("{model}", "claude-sonnet-5")
            async with proxy.session.get(url, headers=proxy.headers) as answer:
                assert answer.status == 200, path
                assert answer.content_type in methods["get"]["responses"]["200"]["content"]


async def test_answers_are_of_its_schemas(proxy, document):
    _, _, message = await proxy.json(ask())
    schema = document["components"]["schemas"]["Message"]
    assert set(schema["required"]) <= set(message) <= set(schema["properties"])
    msgspec.convert(message, Message)
    _, _, counted = await proxy.json(ask(), "/v1/messages/count_tokens")
    assert list(counted) == ["input_tokens"]


async def test_strangers_get_none(proxy):
    async with proxy.session.get(f"{proxy.url}/openapi.json") as answer:
        assert answer.status == 401
        assert "openapi" not in json.dumps(await answer.json())


@pytest.mark.timeout(300)
async def test_requests_made_from_it_are_answered_as_it_says(tmp_path):
    program = documented.command()
    if program is None:
        pytest.skip("schemathesis is not installed: pip install 'llmctl[test]'")
    token = "llmctl_" + "k" * 43
    async with OllamaEmulator(Answer("Hello ", "there.")) as engine:
        words = ("--backend", f"ollama:{engine.url}")
        serve = Proxy(tmp_path / "home", words, {"LLMCTL_AUTH_TOKEN": token})
        await serve.start()
        try:
            tried = await documented.requests_from_the_document(
                serve.url, token, tmp_path, examples=20, program=program
            )
        finally:
            await serve.stop()  # looks for tracebacks
        assert tried.failed == 0, tried.said
        assert tried.requests > 1000
        assert len(engine.chats) > 3
