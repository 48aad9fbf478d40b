"""``count_tokens`` asks engines that have a tokenizer endpoint."""

import pytest

from tests.emulators.openai import OpenAIEmulator
from tests.integration.proxy.conftest import ask


@pytest.mark.parametrize("flavour", ["llamacpp", "vllm"])
async def test_the_count_is_the_engines_own(start, flavour):
    async with OpenAIEmulator(flavour=flavour) as engine, start(f"openai:{engine.url}") as proxy:
        _, _, counted = await proxy.json(ask("漢字 " * 50), path="/v1/messages/count_tokens")
        assert [one.path for one in engine.requests].count("/tokenize") == 1
        assert not engine.chats
        _, _, message = await proxy.json(ask("漢字 " * 50))
    assert counted["input_tokens"] == message["usage"]["input_tokens"]


async def test_an_engine_without_one_is_estimated(start):
    async with OpenAIEmulator(flavour="plain") as engine, start(f"openai:{engine.url}") as proxy:
        status, _, counted = await proxy.json(ask(), path="/v1/messages/count_tokens")
    assert status == 200
    assert 3 < counted["input_tokens"] < 100
    assert "/tokenize" not in [one.path for one in engine.requests]
