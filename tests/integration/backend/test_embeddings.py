"""Vectors from engines: what is sent, what comes back, and what is refused."""

import pytest

from llmctl.backend.base import Embeds
from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.errors import ApiError
from tests.emulators.embedding import embedding
from tests.emulators.ollama import Model, OllamaEmulator
from tests.emulators.openai import OpenAIEmulator, OpenAIModel
from tests.emulators.server import HttpError, Stall

CHAT = Model()
NOMIC = Model(name="nomic-embed-text:latest", capabilities=("embedding",), digest="0a10")


async def test_ollama_embeds_beside_the_model_that_chats():
    async with OllamaEmulator(models=(CHAT, NOMIC)) as emulator:
        engine = OllamaEngine(emulator.url, timeouts=TimeoutConfig())
        assert isinstance(engine, Embeds)
        _, model = await engine.discover()
        assert model.capabilities == {"embedding"}
        assert await engine.loaded() == frozenset()
        vector = await engine.embed("hello", model, keep_alive="30m", within_s=5)
        assert vector == pytest.approx(embedding("hello"))
        assert await engine.loaded() == {NOMIC.name}
        body = next(one.body for one in emulator.requests if one.path == "/api/embed")
        assert body == {
            "model": NOMIC.name,
            "input": "hello",
            "truncate": True,
            "keep_alive": "30m",
            "options": {"num_gpu": 0},
        }
        await engine.close()


async def test_a_model_that_only_chats_is_refused_in_its_own_words():
    async with OllamaEmulator(models=(CHAT,)) as emulator:
        engine = OllamaEngine(emulator.url, timeouts=TimeoutConfig())
        (model,) = await engine.discover()
        with pytest.raises(ApiError, match="does not support embeddings"):
            await engine.embed("hello", model, keep_alive="30m", within_s=5)
        await engine.close()


@pytest.mark.parametrize("flavour", ["llamacpp", "vllm", "plain"])
async def test_openai_servers_embed(flavour):
    models = (OpenAIModel(name="text-embedding-nomic"),)
    async with OpenAIEmulator(models=models, flavour=flavour) as emulator:
        engine = OpenAIEngine(emulator.url, timeouts=TimeoutConfig())
        assert isinstance(engine, Embeds)
        (model,) = await engine.discover()
        assert "embedding" in model.capabilities
        vector = await engine.embed("hello", model, keep_alive="30m", within_s=5)
        assert vector == pytest.approx(embedding("hello"))
        assert await engine.loaded() == frozenset()
        await engine.close()


@pytest.mark.parametrize(
    ("name", "embeds"),
    [
        ("nomic-embed-text-v1.5", True),
        ("text-embedding-3-small", True),
        ("Qwen/Qwen3-Embedding-0.6B", True),
        ("bge-m3-embeddings", True),
        ("qwen3-coder-30b", False),
        ("embedded-coder", False),
        ("reembedder", False),
    ],
)
async def test_openai_servers_are_taken_by_the_names_of_their_models(name, embeds):
    async with OpenAIEmulator(models=(OpenAIModel(name=name),), flavour="plain") as emulator:
        engine = OpenAIEngine(emulator.url, timeouts=TimeoutConfig())
        (model,) = await engine.discover()
        assert ("embedding" in model.capabilities) is embeds
        assert "completion" in model.capabilities
        await engine.close()


@pytest.mark.parametrize(
    "fault",
    [
        HttpError(500, {"error": "out of memory"}),
        HttpError(200, {"embeddings": "none"}),
        HttpError(200, b"<html>"),
        Stall(),
    ],
)
async def test_what_is_no_vector_is_an_error_in_time(fault):
    async with OllamaEmulator(models=(NOMIC,)) as emulator:
        emulator.faults["/api/embed"] = fault
        engine = OllamaEngine(emulator.url, timeouts=TimeoutConfig())
        (model,) = await engine.discover()
        with pytest.raises(ApiError):
            await engine.embed("hello", model, keep_alive="30m", within_s=0.2)
        await engine.close()
