"""The supervisor, with processes and time made here."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from llmctl.backend.base import Answer, Unreachable
from llmctl.backend.embedded.child import LoadFailed
from llmctl.backend.embedded.engine import (
    GATE_S,
    LONGEST_DELAY_S,
    EmbeddedEngine,
    EngineState,
)
from llmctl.backend.embedded.gguf import Gguf
from llmctl.backend.embedded.sizing import Size
from llmctl.backend.embedded.worker import WorkerSettings
from llmctl.core.errors import BackendError
from llmctl.protocol.anthropic import MessagesRequest, Turn
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineDone, EngineModel
from llmctl.protocol.errors import ApiError, prompt_too_long
from pathlib import Path
from tests.emulators.vocabulary import synthetic_vocabulary
from tests.tiny_gguf import write_model

GGUF = Gguf(
    path=Path("/models/small.gguf"),
    size_bytes=1,
    architecture="llama",
    context_length=8192,
    kv_bytes_per_token=1,
    digest="digest-of-the-file",
)
SIZE = Size(context_per_slot=8192, wanted_context=8192, cache_mib=64)
LISTED = EngineModel(name="as-the-server-says", digest="server", context_length=8448)
REQUEST = MessagesRequest(model="m", messages=[Turn(role="user", content="hi")], max_tokens=5)
PLAN = ChatPlan(request=REQUEST, model=LISTED, num_ctx=None, max_tokens=5)


class FakeChild:
    """A process that loads when ``load`` says so and ends when ``end`` says why."""

    def __init__(self, pid: int, settings: WorkerSettings) -> None:
        self.pid = pid
        self.settings = settings
        self.url = f"http://127.0.0.1:{pid}"
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.stopped = False

    async def ready(self) -> None:
        await asyncio.shield(self.loaded)

    async def ended(self) -> str:
        return await asyncio.shield(self.over)

    async def stop(self) -> None:
        self.stopped = True


class FakeClient:
    """An engine that says ``words`` and then what ``breaks`` says."""

    name = "openai:fake"
    kind = "openai"

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.closed = False
        self.breaks: ApiError | None = None

    async def discover(self) -> list[EngineModel]:
        return [LISTED]

    async def chat(self, plan: ChatPlan) -> Answer:
        yield [EngineChunk(text="hello")]
        if self.breaks is not None:
            raise self.breaks
        yield [EngineChunk(done=EngineDone(reason="stop"))]

    async def count(self, request: MessagesRequest, model: EngineModel) -> int | None:
        return 7

    async def vocabulary(self, model: EngineModel) -> dict[str, Any] | None:
        return None

    async def close(self) -> None:
        self.closed = True


class Rig:
    """An engine with everything around it in hand."""

    def __init__(self, model: Gguf = GGUF) -> None:
        self.children: asyncio.Queue[FakeChild] = asyncio.Queue()
        self.pauses: asyncio.Queue[float] = asyncio.Queue()
        self.clients: list[FakeClient] = []
        self.time = 0.0
        self.spawned = 0
        self.engine = EmbeddedEngine(
            model,
            SIZE,
            parallel=2,
            threads=2,
            connect=self.connect,
            spawn=self.spawn,
            pause=self.pause,
            clock=self,
        )

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def connect(self, url: str, key: str) -> FakeClient:
        self.clients.append(FakeClient(url, key))
        return self.clients[-1]

    async def spawn(self, settings: WorkerSettings) -> FakeChild:
        self.spawned += 1
        child = FakeChild(self.spawned, settings)
        self.children.put_nowait(child)
        return child

    async def pause(self, seconds: float) -> None:
        self.pauses.put_nowait(seconds)

    async def ready(self) -> FakeChild:
        """Let the next process load and return it."""
        child = await self.children.get()
        child.loaded.set_result(None)
        while self.engine.pid != child.pid:
            await asyncio.sleep(0)
        return child

    async def crash(self, child: FakeChild, *, after_s: float = 0.0) -> float:
        """End ``child`` and return how long the engine waits before the next."""
        self.time += after_s
        child.over.set_result("it was killed by SIGSEGV")
        return await self.pauses.get()


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    rig.engine.start()
    yield rig
    await rig.engine.close()


async def answer(rig: Rig) -> str:
    return "".join([chunk.text async for chunks in rig.engine.chat(PLAN) for chunk in chunks])


async def test_while_loading_every_request_is_told_to_come_back(rig: Rig) -> None:
    await rig.children.get()

    for ask in (rig.engine.discover(), answer(rig)):
        with pytest.raises(ApiError, match="is loading") as told:
            await ask
        assert told.value.status == 529
        assert told.value.retry_after_s
    assert await rig.engine.count(REQUEST, LISTED) is None
    assert rig.engine.pid is None


async def test_once_loaded_it_answers_under_its_own_name(rig: Rig) -> None:
    child = await rig.ready()
    await rig.engine.wait_ready()

    assert await answer(rig) == "hello"
    assert await rig.engine.count(REQUEST, LISTED) == 7
    assert await rig.engine.discover() == [
        EngineModel(
            name="small",
            digest="digest-of-the-file",
            context_length=8448,
            family="llama",
            renderer="jinja",
        )
    ]
    assert rig.clients[0].url == child.url
    assert rig.engine.state is EngineState.READY


async def test_the_vocabulary_is_that_of_the_file_process_or_not(tmp_path: Path) -> None:
    rig = Rig(msgspec.structs.replace(GGUF, path=tmp_path / "small.gguf"))
    write_model(tmp_path / "small.gguf", synthetic_vocabulary())

    assert synthetic_vocabulary().items() <= (await rig.engine.vocabulary(LISTED)).items()

    (tmp_path / "small.gguf").unlink()
    with pytest.raises(ApiError, match=r"small\.gguf cannot be read: No such file"):
        await rig.engine.vocabulary(LISTED)
    assert rig.spawned == 0


async def test_each_process_has_a_key_of_its_own(rig: Rig) -> None:
    first = await rig.ready()
    await rig.crash(first)
    second = await rig.ready()

    keys = [first.settings.api_key, second.settings.api_key]
    assert keys == [client.key for client in rig.clients]
    assert keys[0] != keys[1]
    assert all(len(key) >= 32 for key in keys)


async def test_a_very_small_model_is_kept_from_repeating_itself(rig: Rig) -> None:
    child = await rig.ready()

    assert child.settings.sampling is not None
    assert child.settings.sampling.repeat_penalty > 1


async def test_after_a_crash_it_comes_back_on_the_new_port(rig: Rig) -> None:
    first = await rig.ready()
    await rig.crash(first)

    with pytest.raises(ApiError, match="is restarting"):
        await answer(rig)
    second = await rig.ready()

    assert await answer(rig) == "hello"
    assert first.stopped
    assert [client.closed for client in rig.clients] == [True, False]
    assert (rig.engine.pid, rig.engine.starts) == (second.pid, 2)


async def test_a_crash_mid_answer_is_an_overload_that_says_why(rig: Rig) -> None:
    child = await rig.ready()
    rig.clients[0].breaks = Unreachable("connection lost")
    child.over.set_result("it was killed by SIGABRT")

    with pytest.raises(ApiError, match="crashed while answering: it was killed by SIGABRT") as told:
        await answer(rig)

    assert told.value.status == 529


async def test_an_error_of_a_living_engine_is_passed_on(rig: Rig) -> None:
    await rig.ready()
    rig.clients[0].breaks = prompt_too_long(9000, 8192)

    with pytest.raises(ApiError) as told:
        await answer(rig)

    assert told.value is rig.clients[0].breaks


async def test_back_off_doubles_to_its_limit_and_is_fresh_after_a_good_while(rig: Rig) -> None:
    waits = [await rig.crash(await rig.ready()) for _ in range(7)]
    waits.append(await rig.crash(await rig.ready(), after_s=GATE_S))
    waits.append(await rig.crash(await rig.ready()))

    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, LONGEST_DELAY_S, LONGEST_DELAY_S, 0.2, 0.4]


async def test_a_model_that_cannot_be_loaded_is_not_tried_again(rig: Rig) -> None:
    child = await rig.children.get()
    child.loaded.set_exception(LoadFailed("unknown model architecture: 'foo'"))

    with pytest.raises(BackendError, match="cannot load /models/small.gguf: unknown") as told:
        await rig.engine.wait_ready()

    assert told.value.hint is not None
    assert rig.engine.state is EngineState.FAILED
    assert rig.spawned == 1
    assert child.stopped
    with pytest.raises(ApiError, match="unknown model architecture") as refused:
        await answer(rig)
    assert refused.value.status == 500
    assert refused.value.another_backend


async def test_a_process_that_keeps_dying_while_loading_is_given_up_at_last(rig: Rig) -> None:
    for _ in range(3):
        child = await rig.children.get()
        child.loaded.set_exception(BackendError("the engine process ended: SIGILL"))

    with pytest.raises(BackendError, match="SIGILL"):
        await rig.engine.wait_ready()

    assert rig.spawned == 3


async def test_a_model_that_once_loaded_is_always_tried_again(rig: Rig) -> None:
    await rig.crash(await rig.ready())
    for _ in range(5):
        child = await rig.children.get()
        child.loaded.set_exception(LoadFailed("the file is gone"))
        await rig.pauses.get()

    await rig.ready()

    assert await answer(rig) == "hello"


async def test_a_process_that_cannot_even_be_started_counts_as_one_that_died() -> None:
    class NoProcesses(Rig):
        async def spawn(self, settings: WorkerSettings) -> FakeChild:
            raise OSError("Resource temporarily unavailable")

    rig = NoProcesses()
    rig.engine.start()

    with pytest.raises(BackendError, match="Resource temporarily unavailable"):
        await rig.engine.wait_ready()
    await rig.engine.close()


async def test_a_bug_in_the_supervisor_does_not_look_like_loading(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Rig):
        async def spawn(self, settings: WorkerSettings) -> FakeChild:
            raise RuntimeError("what nobody thought of")

    rig = Broken()
    rig.engine.start()

    with pytest.raises(BackendError, match="what nobody thought of"):
        await rig.engine.wait_ready()
    await rig.engine.close()
    assert "what nobody thought of" in caplog.text


async def test_a_model_that_takes_too_long_to_load_is_given_up_at_last() -> None:
    class Slow(Rig):
        async def spawn(self, settings: WorkerSettings) -> FakeChild:
            child = await super().spawn(settings)
            child.loaded.set_exception(TimeoutError())
            return child

    rig = Slow()
    rig.engine.start()

    with pytest.raises(BackendError, match="was not loaded within 900 s"):
        await rig.engine.wait_ready()
    await rig.engine.close()


async def test_close_ends_the_process_whatever_it_is_doing(rig: Rig) -> None:
    loading = await rig.children.get()
    await rig.engine.close()
    assert loading.stopped

    second = Rig()
    second.engine.start()
    serving = await second.ready()
    await second.engine.close()

    assert serving.stopped
    assert second.clients[0].closed
    assert second.engine.state is EngineState.CLOSED
    with pytest.raises(ApiError, match="is closed"):
        await second.engine.discover()
