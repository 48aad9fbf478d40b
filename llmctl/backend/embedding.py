"""The engine's own embedding model as an ``Embedder`` of the semantic cache. Imports numpy."""

import logging

from llmctl.backend.base import Embeds
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.errors import ApiError
from llmctl.semantic.index import Vector, unit

log = logging.getLogger(__name__)

BUDGET_S = 0.3
LOAD_S = 60.0
"""How long a model may take to be loaded, which no request waits for."""


class Displaced(Exception):
    """Loading the embedding model cost another model its place: it is not to be used."""


class EngineEmbedder:
    """``Embedder`` on a model of an engine."""

    budget_s = BUDGET_S

    def __init__(self, engine: Embeds, model: EngineModel, *, keep_alive: str) -> None:
        self.name = f"{model.name}@{model.digest}"
        self._engine = engine
        self._model = model
        self._keep_alive = keep_alive

    async def prepare(self) -> None:
        """Load the model; raises ``ApiError``, or ``Displaced`` where others had to go for it."""
        before = await self._engine.loaded()
        await self._vector("warm", keep_alive=self._keep_alive, within_s=LOAD_S)
        if not before:
            return
        gone = before - await self._engine.loaded() - {self._model.name}
        if gone:
            # Ollama drops models to stay below OLLAMA_MAX_LOADED_MODELS: give the place back
            await self._vector("warm", keep_alive="0s", within_s=LOAD_S)
            names = ", ".join(sorted(gone))
            raise Displaced(f"{self._engine.name} drops {names} to load {self._model.name}")

    async def embed(self, text: str) -> Vector:
        """Return the vector of ``text``; raises ``ApiError``."""
        return await self._vector(text, keep_alive=self._keep_alive, within_s=LOAD_S)

    async def _vector(self, text: str, *, keep_alive: str, within_s: float) -> Vector:
        found = await self._engine.embed(
            text, self._model, keep_alive=keep_alive, within_s=within_s
        )
        try:
            return unit(found)
        except ValueError as failure:
            message = f"{self._engine.name}: {self._model.name} gave {failure}"
            raise ApiError(502, message, another_backend=True) from failure
