"""The embedded engine with the real llama.cpp and a real model: answers, crashes, comes back."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from llmctl.backend.base import Engine
from llmctl.backend.embedded.engine import EmbeddedEngine, EngineState, embedded_engine
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import EmbeddedConfig, TimeoutConfig
from llmctl.core.errors import BackendError
from llmctl.protocol.anthropic import MessagesRequest, OutputConfig, OutputFormat, Tool, Turn
from llmctl.protocol.engine import ChatPlan, EngineDone
from llmctl.protocol.errors import ApiError
from tests.embedded_model import small_model

pytestmark = pytest.mark.timeout(300)
__all__ = ["small_model"]

WITHIN_S = 120.0
"""A loaded machine is slow; nothing here waits for a time to pass."""


servers: list[str] = []
"""Where engines listened, the latest last."""


def connect(url: str, key: str) -> Engine:
    servers.append(url)
    return OpenAIEngine(url, timeouts=TimeoutConfig(), api_key=key)


@pytest.fixture
async def engine(small_model: Path) -> AsyncIterator[EmbeddedEngine]:
    made = embedded_engine(small_model, EmbeddedConfig(), num_ctx=2048, connect=connect)
    made.start()
    try:
        async with asyncio.timeout(WITHIN_S):
            await made.wait_ready()
        yield made
    finally:
        await made.close()


async def plan(engine: EmbeddedEngine, text: str = "Say hello.", **fields: object) -> ChatPlan:
    (model,) = await engine.discover()
    request = MessagesRequest(
        model="claude", messages=[Turn(role="user", content=text)], temperature=0.0, **fields
    )
    return ChatPlan(request=request, model=model, num_ctx=None, max_tokens=24)


async def answer(engine: EmbeddedEngine, asked: ChatPlan) -> tuple[str, EngineDone]:
    text, done = "", None
    async for chunks in engine.chat(asked):
        for chunk in chunks:
            text += chunk.text
            done = chunk.done or done
    assert done is not None
    return text, done


async def gone(pid: int) -> None:
    """Wait until no process has this id, nor a zombie."""
    async with asyncio.timeout(WITHIN_S):
        while Path(f"/proc/{pid}").exists():
            await asyncio.sleep(0.01)


async def test_it_answers_in_the_models_own_words(engine: EmbeddedEngine) -> None:
    asked = await plan(engine)

    text, done = await answer(engine, asked)

    assert any(letter.isalpha() for letter in text)
    assert done.completion_tokens
    assert done.prompt_tokens == await engine.count(asked.request, asked.model)
    assert asked.model.context_length == 2048
    assert asked.model.name == "SmolLM2-135M-Instruct.Q4_1"


async def test_tools_are_dropped_because_its_template_knows_none(engine: EmbeddedEngine) -> None:
    tool = Tool(name="Read", description="Read a file", input_schema={"type": "object"})
    plain, tooled = await plan(engine), await plan(engine, tools=[tool])

    assert "tools" not in tooled.model.capabilities
    assert (await answer(engine, tooled))[0] == (await answer(engine, plain))[0]


async def test_an_output_format_holds(engine: EmbeddedEngine) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    wanted = OutputConfig(format=OutputFormat(type="json_schema", schema=schema))

    text, _ = await answer(engine, await plan(engine, "Name a colour.", output_config=wanted))

    assert "".join(text.split()) in {'{"colour":"red"}', '{"colour":"blue"}'}


async def test_the_second_turn_reads_only_what_is_new(engine: EmbeddedEngine) -> None:
    text = "Remember these words: " + "apple pear plum cherry " * 40
    asked = await plan(engine, text)
    first, done = await answer(engine, asked)
    turns = [
        *asked.request.messages,
        Turn(role="assistant", content=first),
        Turn(role="user", content="Which was the first?"),
    ]
    again = ChatPlan(
        request=MessagesRequest(model="claude", messages=turns),
        model=asked.model,
        num_ctx=None,
        max_tokens=4,
    )

    _, second = await answer(engine, again)

    assert done.prompt_tokens is not None
    assert done.prompt_tokens > 160
    assert second.cached_prompt_tokens is not None
    assert second.cached_prompt_tokens >= done.prompt_tokens


async def test_a_prompt_beyond_the_context_is_said_with_its_figures(engine: EmbeddedEngine) -> None:
    asked = await plan(engine, "word " * 3000)

    with pytest.raises(ApiError, match=r"prompt is too long: 30\d\d tokens > 2048 maximum"):
        await answer(engine, asked)


async def test_slots_answer_side_by_side(engine: EmbeddedEngine) -> None:
    asked = [await plan(engine, f"Tell me about the number {number}.") for number in range(5)]

    answers = await asyncio.gather(*(answer(engine, one) for one in asked))

    assert all(text for text, _ in answers)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
async def test_a_crash_mid_answer_is_an_error_and_then_it_answers_again(
    engine: EmbeddedEngine, number: signal.Signals
) -> None:
    pid = engine.pid
    assert pid is not None
    asked = await plan(engine, "Write a long story about a river.")
    stream = engine.chat(ChatPlan(**{**fields(asked), "max_tokens": 1500}))
    await anext(stream)

    os.kill(pid, number)

    with pytest.raises(ApiError, match=number.name) as told:
        async for _ in stream:
            pass
    assert told.value.status == 529
    await gone(pid)
    await back(engine, pid)
    assert (await answer(engine, asked))[0]
    assert engine.starts == 2


def fields(asked: ChatPlan) -> dict[str, object]:
    return {name: getattr(asked, name) for name in asked.__struct_fields__}


async def back(engine: EmbeddedEngine, dead: int) -> None:
    async with asyncio.timeout(WITHIN_S):
        while engine.pid in {None, dead}:
            await asyncio.sleep(0.01)


async def test_close_leaves_no_process_even_if_it_is_frozen(engine: EmbeddedEngine) -> None:
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)

    await engine.close()

    assert not Path(f"/proc/{pid}").exists()


async def test_the_server_answers_nobody_without_the_key(engine: EmbeddedEngine) -> None:
    assert engine.state is EngineState.READY
    url = servers[-1]
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/models", "/props", "/slots"):
            async with session.get(url + path) as refused:
                assert refused.status == 401
        async with session.post(url + "/v1/chat/completions", json={"messages": []}) as refused:
            assert refused.status == 401


async def test_a_damaged_model_is_given_up_with_llama_cpps_reason(
    small_model: Path, tmp_path: Path
) -> None:
    half = tmp_path / "half.gguf"
    with small_model.open("rb") as whole:
        half.write_bytes(whole.read(40_000_000))
    engine = embedded_engine(half, EmbeddedConfig(), num_ctx=None, connect=connect)
    engine.start()

    try:
        async with asyncio.timeout(WITHIN_S):
            with pytest.raises(BackendError, match="corrupted or incomplete"):
                await engine.wait_ready()
    finally:
        await engine.close()

    assert engine.starts == 1
    assert engine.state is EngineState.CLOSED


PARENT = """
import asyncio, sys
from pathlib import Path
from llmctl.backend.embedded.engine import embedded_engine
from llmctl.backend.openai import OpenAIEngine
from llmctl.config.schema import EmbeddedConfig, TimeoutConfig

async def main():
    engine = embedded_engine(
        Path(sys.argv[1]), EmbeddedConfig(), num_ctx=512,
        connect=lambda url, key: OpenAIEngine(url, timeouts=TimeoutConfig(), api_key=key),
    )
    engine.start()
    await engine.wait_ready()
    print(engine.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
async def test_when_its_parent_is_killed_the_engine_goes_too(
    small_model: Path, frozen: bool
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(small_model)], stdout=subprocess.PIPE
    ) as parent:
        try:
            assert parent.stdout is not None
            pid = int(await asyncio.to_thread(parent.stdout.readline))
            if frozen:
                os.kill(pid, signal.SIGSTOP)
        finally:
            parent.kill()
    deadline = time.monotonic() + WITHIN_S
    while alive(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Tell whether it runs; whoever adopted it may leave a zombie, which runs nothing."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
