"""Prompt tokens before the engine has said them.

Estimates never wait. Vocabularies are fetched and built once per model, in the background.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import msgspec

from llmctl.backend.base import Engine
from llmctl.backend.pool import Route
from llmctl.core.paths import write_private
from llmctl.core.tasks import Tasks
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.protocol.tokens import Measure, TokenCounter
from llmctl.protocol.vocabulary import Vocabulary

log = logging.getLogger(__name__)

VOCABULARY_WAIT_S = 3.0

_decode_state = msgspec.json.Decoder(dict[str, Any]).decode


class TokenCounts:
    """The counter, and how it comes by vocabularies."""

    def __init__(self, counter: TokenCounter, tasks: Tasks, learned: Path) -> None:
        """Take what an earlier run wrote to ``learned``; a file that does not fit is ignored."""
        self.counter = counter
        self._tasks = tasks
        self._learned = learned
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            counter.load_state(_decode_state(learned.read_bytes()))
        self._fetching: dict[str, asyncio.Task[Any]] = {}

    def estimate(
        self, request: MessagesRequest, engine: Engine, model: EngineModel, *, hurry: bool
    ) -> Measure:
        """Return prompt tokens at once, with whatever is known about the model by now."""
        self._want_vocabulary(engine, model)
        return self.counter.measure(request, model, hurry=hurry)

    async def exact(self, request: MessagesRequest, route: Route) -> int:
        """Return the best count there is: the engine's own, else by its vocabulary."""
        engine, model = route.candidates[0]
        try:
            counted = await engine.count(request, model)
        except ApiError:
            counted = None
        if counted is not None:
            self.counter.learn(request, model, counted)
            return counted
        fetching = self._want_vocabulary(engine, model)
        if fetching is not None:
            await asyncio.wait({fetching}, timeout=VOCABULARY_WAIT_S)
        return self.counter.count(request, model)

    def save(self) -> None:
        """Write down what was learned from the engines' own counts, for the next run."""
        try:
            write_private(self._learned, msgspec.json.encode(self.counter.export_state()))
        except OSError as failure:
            log.info("token counts are not kept in %s: %s", self._learned, failure.strerror)

    def _want_vocabulary(self, engine: Engine, model: EngineModel) -> asyncio.Task[Any] | None:
        fetching = self._fetching.get(model.digest)
        if fetching is None:
            fetching = self._tasks.start(self._install(engine, model), name="vocabulary")
            self._fetching[model.digest] = fetching
        return None if fetching.done() else fetching

    async def _install(self, engine: Engine, model: EngineModel) -> None:
        try:
            info = await engine.vocabulary(model)
        except ApiError as error:
            log.info("no vocabulary of %s: %s", model.name, error)
            self._fetching.pop(model.digest, None)
            return
        vocabulary = None
        if info is not None:
            vocabulary = await asyncio.to_thread(Vocabulary.from_ollama_show, info)
        self.counter.install(model.digest, vocabulary)
