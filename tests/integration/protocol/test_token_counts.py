"""Token counts beside those of the real llama.cpp, with the small model and with made-up ones."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from llmctl.backend.base import Engine
from llmctl.backend.embedded.engine import EmbeddedEngine, embedded_engine
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import EmbeddedConfig, TimeoutConfig
from llmctl.core.errors import LlmctlError
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan
from llmctl.protocol.normal import normalise
from llmctl.protocol.pretokenizers import PATTERNS
from llmctl.protocol.request import decode_for_count
from llmctl.protocol.tokens import TokenCounter
from llmctl.protocol.vocabulary import Vocabulary
from tests.bpe import CORPUS, show
from tests.claude_shapes import Call, encode, main_request, title_request, tool_turn
from tests.embedded_model import small_model
from tests.tiny_gguf import read_tokenizer, write_model

pytestmark = pytest.mark.timeout(300)
__all__ = ["small_model"]

WITHIN_S = 120.0
DISTINCT = {pattern: name for name, pattern in reversed(PATTERNS.items())}
Tokenize = Callable[[str], Awaitable[int]]


@asynccontextmanager
async def running(gguf: Path) -> AsyncIterator[tuple[EmbeddedEngine, Tokenize]]:
    """Yield the real engine with a model, and what counts a raw text with it."""
    server: list[str] = []

    def connect(url: str, key: str) -> Engine:
        server[:] = url, key
        return OpenAIEngine(url, timeouts=TimeoutConfig(), api_key=key)

    try:
        engine = embedded_engine(gguf, EmbeddedConfig(), num_ctx=512, connect=connect)
    except LlmctlError as exc:
        pytest.skip(exc.message)
    engine.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            await engine.wait_ready()
        url, key = server
        headers = {"Authorization": f"Bearer {key}"}
        async with aiohttp.ClientSession(headers=headers) as session:

            async def tokenize(text: str) -> int:
                asked = {"content": text, "parse_special": True}
                async with session.post(f"{url}/tokenize", json=asked) as reply:
                    return len((await reply.json())["tokens"])

            yield engine, tokenize
    finally:
        await engine.close()


def jumble(seed: int) -> str:
    """Return pieces of all sorts in an order nobody would write."""
    dice = random.Random(seed)
    bits = [" ", "  ", "\n", "\t", "\r\n", "a", "B", "1", "22", "333", ".", "==", "é", "ア", "漢"]
    bits += ["'s", "'LL", "’t", "\u200d", "\u00a0", "🙂", "<|im_end|>", "<tool_call>", "_x", "ไทย"]
    bits += [CORPUS[at : at + 7] for at in range(0, len(CORPUS), 5)]
    return "".join(dice.choices(bits, k=3000))


@pytest.mark.parametrize("pre", DISTINCT.values())
async def test_every_pre_tokenizer_cuts_as_llama_cpp_does(pre: str, tmp_path: Path) -> None:
    gguf = tmp_path / "tiny.gguf"
    write_model(gguf, show(pre))
    vocabulary = Vocabulary.from_ollama_show(show(pre))
    assert vocabulary is not None
    async with running(gguf) as (_, tokenize):
        for text in (CORPUS, *map(jumble, range(6))):
            assert vocabulary.count(text) == await tokenize(text)


def normal(request: dict) -> MessagesRequest:
    return normalise(decode_for_count(encode(request)))


def requests() -> list[MessagesRequest]:
    """Return a session with source files, other scripts and a failed call, and a title request."""
    session = [main_request("Fix the parser"), title_request("Fix the parser")]
    source = Path(json.__file__).read_text()
    for number, text in enumerate((source[:4000], CORPUS * 5, source[4000:9000])):
        call = Call(id=f"t{number}", name="Read", input={"file_path": "/a.py"}, result=text)
        session.append(tool_turn(session[-1 if number else 0], [call], text="Reading it."))
    return [normal(request) for request in session]


async def test_the_small_models_vocabulary_counts_as_the_model(small_model: Path) -> None:
    counter = TokenCounter()
    async with running(small_model) as (engine, tokenize):
        (model,) = await engine.discover()
        info = await engine.vocabulary(model)
        assert info is not None
        vocabulary = Vocabulary.from_ollama_show(info)
        assert vocabulary is not None
        for text in ("", "Hello world", CORPUS, Path(json.__file__).read_text(), jumble(9)):
            assert vocabulary.count(text) == await tokenize(text)
        counter.install(model.digest, vocabulary)
        for request in requests():
            exact = await engine.count(request, model)
            assert exact is not None
            assert counter.count(request, model) == pytest.approx(exact, rel=0.005)
            counter.learn(request, model, exact)
            assert counter.count(request, model) == pytest.approx(exact, rel=0.001, abs=1)


async def test_estimates_learn_from_what_the_engine_reports(small_model: Path) -> None:
    counter = TokenCounter()
    first, title, *held_back = requests()
    async with running(small_model) as (engine, _):
        (model,) = await engine.discover()
        for request in (first, title):
            exact = await engine.count(request, model)
            assert exact is not None
            assert counter.count(request, model) == pytest.approx(exact, rel=0.15)
            counter.learn(request, model, exact)
        for request in held_back:
            exact = await engine.count(request, model)
            assert exact is not None
            error = counter.count(request, model) / exact - 1
            assert -0.08 < error < 0.08
            counter.learn(request, model, exact)


async def test_what_the_tokenizer_counts_is_what_a_generation_reports(small_model: Path) -> None:
    request = normal(
        {"model": "m", "messages": [{"role": "user", "content": "Say hello, 漢字 and 🙂."}]}
    )
    async with running(small_model) as (engine, _):
        (model,) = await engine.discover()
        plan = ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1)
        reported = [
            chunk.done.prompt_tokens
            async for chunks in engine.chat(plan)
            for chunk in chunks
            if chunk.done
        ]
        counter = TokenCounter()
        counter.install(model.digest, Vocabulary.from_ollama_show(read_tokenizer(small_model)))
        assert reported == [await engine.count(request, model)]
        counter.learn(request, model, reported[0])
        assert counter.count(request, model) == reported[0]
