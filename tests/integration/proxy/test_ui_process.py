"""`llmctl ui` and the lines of finished requests, with the installed command."""

import json

import aiohttp
import pytest

from tests.e2e.processes import Proxy
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.proxy.conftest import ask


@pytest.fixture
async def served(tmp_path):
    async with OllamaEmulator(Answer("canary of the answer")) as engine:
        proxy = Proxy(tmp_path / "home", ("-v", "--backend", f"ollama:{engine.url}"), {})
        await proxy.start()
        yield proxy
        await proxy.stop()


def token(proxy: Proxy) -> str:
    return (proxy.home / "data" / "token").read_text().strip()


async def test_the_link_logs_a_browser_in(served):
    printed = await served.command("ui")
    assert (printed.code, printed.stderr) == (0, "")
    url, _, code = printed.stdout.strip().partition("#")
    assert url == f"{served.url}/ui/login"
    told = json.loads((await served.command("ui", "--json")).stdout)
    assert set(told) == {"url", "expires_s"}
    assert told["url"] != printed.stdout.strip()
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.post(f"{served.url}/ui/login", json={"secret": code}) as answer:
            assert answer.status == 200
        async with browser.get(f"{served.url}/ui/state") as answer:
            assert (await answer.json())["health"]["status"] == "ok"
    assert code not in served.stderr


async def test_a_finished_request_is_one_line(served):
    async with aiohttp.ClientSession(headers={"x-api-key": token(served)}) as client:
        for stream in (False, True):
            body = ask("canary of the prompt", stream=stream)
            async with client.post(f"{served.url}/v1/messages", json=body) as answer:
                await answer.read()
    lines = [json.loads(line) for line in served.stderr.splitlines()]
    made, hit = [line for line in lines if "gen_ai.operation.name" in line]
    assert (made["llmctl.cache"], hit["llmctl.cache"]) == ("miss", "hit")
    assert (made["gen_ai.provider.name"], hit["gen_ai.provider.name"]) == ("ollama", "llmctl")
    assert made["gen_ai.request.model"] == "claude-sonnet-5"
    assert made["gen_ai.response.model"] == hit["gen_ai.response.model"] == "qwen3-coder:30b"
    assert made["gen_ai.usage.input_tokens"] == hit["gen_ai.usage.input_tokens"] > 0
    assert made["gen_ai.response.finish_reasons"] == ["end_turn"]
    assert hit["gen_ai.response.time_to_first_chunk"] > 0
    assert "canary" not in served.stderr
