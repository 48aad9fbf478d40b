"""A generation with everything around it: an engine told what to say, clients on sockets of ours."""

import asyncio
from collections.abc import AsyncIterator

from llmctl.core.tasks import Tasks
from llmctl.protocol import sse
from llmctl.protocol.engine import EngineChunk, EngineModel
from llmctl.protocol.stream import Composer
from llmctl.protocol.tokens import Measure
from llmctl.proxy.broadcast import Expected, Generation
from tests.clocks import ManualClock
from tests.unit.protocol.streams import request, stream_of

NEVER_S = 3600.0
MODEL = EngineModel(name="m", digest="d")


class Engine:
    """An engine that says what a test puts in ``script``: chunks, failures, None for the end."""

    engine_name = "fake"
    model = MODEL

    def __init__(self) -> None:
        self.script: asyncio.Queue[EngineChunk | Exception | None] = asyncio.Queue()
        self.may_open = asyncio.Event()
        self.may_open.set()
        self.read = 0
        self.closed = False
        self.chunks = self._chunks()

    async def open(self) -> "Engine":
        await self.may_open.wait()
        return self

    async def aclose(self) -> None:
        self.closed = True

    def say(self, *script: EngineChunk | Exception | str | None) -> None:
        for said in script:
            self.script.put_nowait(EngineChunk(text=said) if isinstance(said, str) else said)

    async def _chunks(self) -> AsyncIterator[list[EngineChunk]]:
        while (said := await self.script.get()) is not None:
            if isinstance(said, Exception):
                raise said
            self.read += 1
            yield [said]
            await asyncio.sleep(0)  # a socket would be read now


class Client:
    """Does with a listener what ``messages`` does, on a socket that can be stopped."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.listener = generation.join(frames=True)
        self.heard: list[sse.Frame] = []
        self.flows = asyncio.Event()
        self.flows.set()
        self.times: list[tuple[float, bytes]] = []
        self.straight = 0
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._write(self.listener.take())
            self.listener.deliver_with(self._deliver)
            while (frames := await self.listener.next()) is not None:
                await self._write(frames)
        finally:
            self.generation.leave(self.listener)

    def _hear(self, frames: list[sse.Frame]) -> None:
        self.heard += frames
        if frames:
            self.times.append((asyncio.get_running_loop().time(), sse.join(frames)))

    async def _write(self, frames: list[sse.Frame]) -> None:
        await self.flows.wait()
        self._hear(frames)

    def _deliver(self, frames: list[sse.Frame]) -> bool:
        if not self.flows.is_set():
            return False
        self._hear(frames)
        self.straight += 1
        return True

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def stream(self) -> bytes:
        return stream_of(self.heard)


class Stage:
    """A generation with everything around it."""

    def __init__(
        self, *, clock: ManualClock | None = None, ping_s: float = NEVER_S, **fields
    ) -> None:
        self.engine = Engine()
        self.tasks = Tasks()
        self.ends: list[tuple] = []
        self.hurries: list[bool] = []
        self.generation = Generation(
            Composer(request(**fields), input_tokens=7),
            self.engine.open,
            Expected(model_name="expected", measure=self._measure),
            clock=clock or ManualClock(),
            ended=lambda generation, answering: self.ends.append((generation, answering)),
            ping_s=ping_s,
        )

    def _measure(self, hurry: bool) -> Measure:
        """Sample in a hurry, as if all of the prompt were new and long."""
        self.hurries.append(hurry)
        return Measure(6 if hurry else 7, 5, sampled=hurry)

    def start(self) -> Client:
        self.generation.start(self.tasks)
        return Client(self.generation)


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)
