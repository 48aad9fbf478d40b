"""The embedded engine: llama.cpp in a process of its own, started again whenever it ends.

It speaks to the process as to any OpenAI-compatible server; what is added here is its life:
loading, crashing, coming back. While it is away every request gets a 529 that says so.
"""

import asyncio
import importlib.util
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from llmctl.backend.base import Answer, Engine, Unreachable, facts_of
from llmctl.backend.embedded.child import Child, LoadFailed, spawn
from llmctl.backend.embedded.gguf import Gguf, read_gguf, read_vocabulary
from llmctl.backend.embedded.sizing import Size, compute_threads, free_memory, size_for
from llmctl.backend.embedded.worker import Sampling, WorkerSettings
from llmctl.config.schema import EmbeddedConfig
from llmctl.core.clock import Clock, SystemClock
from llmctl.core.errors import BackendError, ConfigError, LlmctlError
from llmctl.core.model import EngineFacts
from llmctl.core.tasks import Tasks
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError

log = logging.getLogger(__name__)

FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 5.0
GATE_S = 10.0
"""An engine that served this long starts with a fresh back-off when it ends."""
LOAD_S = 900.0
_FIRST_STARTS = 3
_POST_MORTEM_S = 0.5
"""How long a broken stream waits to learn whether the process behind it has died."""

_SMALL_BYTES = 1_000_000_000
_CALM = Sampling(temperature=0.0, repeat_penalty=1.1, repeat_last=256)
"""What very small models need to come to an end.

Claude Code sends no temperature. With llama.cpp's defaults SmolLM2-135M was still talking after
400 tokens in 6 of 12 answers to Claude Code's smallest "Say hello"; with these it came to an end
in 36 of 36, with a temperature of 0.2 in 32 of 36.
"""

Connect = Callable[[str, str], Engine]
"""Makes the client of a server: its URL and its key in, an engine out."""
Spawn = Callable[[WorkerSettings], Awaitable[Child]]


class EngineState(StrEnum):
    """Where the engine is in its life."""

    LOADING = "loading"
    READY = "ready"
    RESTARTING = "restarting"
    FAILED = "failed"
    CLOSED = "closed"


class EmbeddedEngine:
    """``Engine`` on a llama.cpp process that llmctl starts, watches and ends.

    ``start`` returns at once and ``wait_ready`` when the model is loaded; ``close`` ends the
    process. A model that never loaded is not tried for ever: the engine is then ``failed``.
    """

    kind = "openai"

    def __init__(  # noqa: PLR0913 - the process, the client and the clock are the tests' to choose
        self,
        model: Gguf,
        size: Size,
        *,
        parallel: int,
        threads: int,
        connect: Connect,
        spawn: Spawn = spawn,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Clock | None = None,
    ) -> None:
        self.name = f"embedded:{model.name}"
        self.state = EngineState.LOADING
        self.starts = 0
        """Processes started so far; more than one means crashes."""
        self._model = model
        self._size = size
        self._parallel = parallel
        self._threads = threads
        self._connect = connect
        self._spawn = spawn
        self._pause = pause
        self._clock = clock or SystemClock()
        self._settled = asyncio.Event()
        self._failure: BackendError | None = None
        self._child: Child | None = None
        self._client: Engine | None = None
        self._tasks = Tasks()

    @property
    def pid(self) -> int | None:
        """Process id of the engine, None while there is none."""
        return self._child.pid if self._child else None

    @property
    def facts(self) -> EngineFacts:
        """What its process says; nothing while there is none."""
        facts = facts_of(self._client) if self._child else EngineFacts()
        loaded = (msgspec.structs.replace(one, name=self._model.name) for one in facts.loaded)
        return msgspec.structs.replace(facts, loaded=tuple(loaded))

    def start(self) -> None:
        """Start the process in the background; to be called once, in a running event loop."""
        self._tasks.start(self._live(), name=self.name)

    async def wait_ready(self) -> None:
        """Wait for the first load; raises ``BackendError`` when the model cannot be loaded."""
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    async def discover(self) -> list[EngineModel]:
        """Return the one model, with the digest of its file; its context is that of one slot."""
        client, _ = self._serving()
        return [
            msgspec.structs.replace(
                found,
                name=self._model.name,
                digest=self._model.digest,
                family=self._model.architecture,
                renderer="jinja",  # the file's own template, not one of Ollama's
                context_length=found.context_length or self._size.context_per_slot,
            )
            for found in await client.discover()
        ]

    async def chat(self, plan: ChatPlan) -> Answer:
        """Generate; a crash of the process on the way is an overload, not a protocol error."""
        client, child = self._serving()
        try:
            async with aclosing(client.chat(plan)) as answer:
                async for chunks in answer:
                    yield chunks
        except ApiError as exc:
            if exc.status < 500 or not (why := await _cause_of_death(child)):
                raise
            raise Unreachable(f"the embedded engine crashed while answering: {why}") from exc

    async def count(self, request: MessagesRequest, model: EngineModel) -> int | None:
        """Return the exact prompt tokens, None while the engine is away."""
        return await self._client.count(request, model) if self._client and self._child else None

    async def vocabulary(self, _model: EngineModel) -> dict[str, Any] | None:
        """Return what the model file says of its tokenizer; the process is not needed for it."""
        try:
            return await asyncio.to_thread(read_vocabulary, self._model.path)
        except ConfigError as exc:
            raise ApiError(500, exc.message) from exc

    async def close(self) -> None:
        """End the process and wait until it is gone."""
        await self._tasks.close()
        if self._client is not None:
            await self._client.close()
        self._client = None
        self.state = EngineState.CLOSED

    def _serving(self) -> tuple[Engine, Child]:
        if self._client is not None and self._child is not None:
            return self._client, self._child
        if self._failure is not None:
            raise ApiError(500, self._failure.message, another_backend=True)
        raise Unreachable(f"the embedded engine ({self._model.name}) is {self.state.value}")

    async def _live(self) -> None:
        try:
            await self._supervise()
        except Exception as exc:
            # whatever this is, nobody restarts the engine any more: say so instead of "loading"
            self._give_up(exc)
            raise

    async def _supervise(self) -> None:
        delay = FIRST_DELAY_S
        while self._failure is None:
            served_s = 0.0
            try:
                served_s = await self._run_once()
            except (BackendError, OSError) as exc:
                self._not_loaded(exc)
            delay = FIRST_DELAY_S if served_s >= GATE_S else delay
            await self._pause(delay)
            delay = min(delay * 2, LONGEST_DELAY_S)

    async def _run_once(self) -> float:
        """Start a process and stay until it has ended; returns the seconds it served."""
        key = secrets.token_urlsafe(32)
        self.starts += 1
        child = await self._spawn(self._settings(key))
        try:
            await _loaded(child)
            await self._use(child, key)
            return await self._until_ended(child)
        finally:
            self._child = None
            await child.stop()

    async def _use(self, child: Child, key: str) -> None:
        """Send requests to ``child``; only now is the client of the one before it let go."""
        before, self._client = self._client, self._connect(child.url, key)
        self._child = child
        self.state = EngineState.READY
        self._settled.set()
        if before is not None:
            await before.close()

    async def _until_ended(self, child: Child) -> float:
        ready_at = self._clock.monotonic()
        why = await child.ended()
        self.state = EngineState.RESTARTING
        log.error("the embedded engine ended: %s; starting it again", why)
        return self._clock.monotonic() - ready_at

    def _not_loaded(self, exc: Exception) -> None:
        log.error("the embedded engine did not start: %s", exc)
        loaded_before = self._settled.is_set()
        if not loaded_before and (isinstance(exc, LoadFailed) or self.starts >= _FIRST_STARTS):
            self._give_up(exc)

    def _give_up(self, exc: Exception) -> None:
        self._failure = BackendError(
            f"the embedded engine cannot load {self._model.path}: {exc}",
            hint="try another model with --gguf PATH, or another engine with --backend ollama:URL",
        )
        self.state = EngineState.FAILED
        self._settled.set()

    def _settings(self, key: str) -> WorkerSettings:
        return WorkerSettings(
            gguf=str(self._model.path),
            model_name=self._model.name,
            context_per_slot=self._size.context_per_slot,
            parallel=self._parallel,
            threads=self._threads,
            cache_mib=self._size.cache_mib,
            api_key=key,
            parent_pid=os.getpid(),
            sampling=_CALM if self._model.size_bytes < _SMALL_BYTES else None,
        )


async def _loaded(child: Child) -> None:
    try:
        async with asyncio.timeout(LOAD_S):
            await child.ready()
    except TimeoutError:
        raise BackendError(f"the model was not loaded within {LOAD_S:g} s") from None


async def _cause_of_death(child: Child) -> str:
    """Return why the process ended, or nothing if it lives."""
    try:
        async with asyncio.timeout(_POST_MORTEM_S):
            return await child.ended()
    except TimeoutError:
        return ""


def embedded_engine(
    gguf: Path, config: EmbeddedConfig, *, num_ctx: int | None, connect: Connect
) -> EmbeddedEngine:
    """Return the engine for one model file, sized for this machine and not yet started.

    Raises ``LlmctlError`` where xllamacpp is missing, ``ConfigError`` where the file is no model.
    """
    require_xllamacpp()
    model = read_gguf(gguf)
    size = size_for(model, num_ctx=num_ctx, parallel=config.parallel, memory_bytes=free_memory())
    if size.context_per_slot < size.wanted_context:
        log.warning(
            "%s: memory is short, so the context is %d tokens instead of %d (--num-ctx insists)",
            model.name,
            size.context_per_slot,
            size.wanted_context,
        )
    return EmbeddedEngine(
        model,
        size,
        parallel=config.parallel,
        threads=config.threads or compute_threads(),
        connect=connect,
    )


def require_xllamacpp() -> None:
    """Raise ``LlmctlError`` where the native engine is not installed; cheap, it imports nothing."""
    if importlib.util.find_spec("xllamacpp") is None:
        raise LlmctlError(
            "the embedded engine needs the package xllamacpp, which is not installed",
            hint="pip install 'llmctl[embedded]'",
        )
