"""The key for engines goes where it belongs, and shows nowhere."""

import logging

from tests.emulators.ollama import OllamaEmulator
from tests.emulators.openai import OpenAIEmulator
from tests.integration.proxy.conftest import ask

KEY = "sesame-0123456789"


async def test_only_openai_backends_are_sent_it(start, caplog):
    caplog.set_level(logging.DEBUG)
    async with OllamaEmulator() as ollama, OpenAIEmulator() as vllm:
        backends = f"openai:{vllm.url}", f"ollama:{ollama.url}"
        async with start(*backends, backend_api_key=KEY) as proxy:
            named = {"model": vllm.models[0].name}, {"model": ollama.models[0].name}
            answers = [await proxy.json(ask() | name) for name in named]
            health = await proxy.get("/health")
        sent = {request.headers.get("Authorization") for request in vllm.requests}
        others = {request.headers.get("Authorization") for request in ollama.requests}
    assert [status for status, _, _ in answers] == [200, 200]
    assert (len(vllm.chats), len(ollama.chats)) == (1, 1)
    assert (sent, others) == ({f"Bearer {KEY}"}, {None})
    assert KEY not in caplog.text
    assert KEY not in str(health)
