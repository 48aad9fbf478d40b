"""What the proxy needs of an engine, whatever its wire format."""

from collections.abc import AsyncGenerator
from typing import Any, Protocol, runtime_checkable

from llmctl.core.model import EngineFacts
from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineModel
from llmctl.protocol.errors import ApiError

Answer = AsyncGenerator[list[EngineChunk], None]


class Unreachable(ApiError):
    """No connection, or it was lost before an answer began: the engine is down until it is seen.

    ``retry_once`` where it failed at once: a kept-alive connection may close at the wrong moment.
    """

    def __init__(self, message: str, *, retry_once: bool = False) -> None:
        super().__init__(529, message, retry_after_s=2, another_backend=True, retry_once=retry_once)


class Engine(Protocol):
    """One running engine."""

    name: str
    """Kind and address, e.g. ``ollama:http://127.0.0.1:11434``; shown to operators."""
    kind: str
    """``ollama`` or ``openai``."""

    async def discover(self) -> list[EngineModel]:
        """Ask what it serves; raises ``ApiError`` when it does not answer in time.

        Also the health check: called in the background every few seconds.
        """
        ...

    def chat(self, plan: ChatPlan) -> Answer:
        """Generate; yields everything that has arrived as one list, never an empty one.

        Failures raise ``ApiError``, before the first list or in the middle. The last chunk of a
        complete answer carries ``done``; an end without it raises. Closing the iterator, or
        cancelling the task that waits for it, closes the connection, which stops the generation.
        """
        ...

    async def count(self, request: MessagesRequest, model: EngineModel) -> int | None:
        """Return the exact prompt tokens where the engine has a tokenizer endpoint, else None."""
        ...

    async def vocabulary(self, model: EngineModel) -> dict[str, Any] | None:
        """Return the tokenizer as Ollama's ``model_info`` names it, None where it has none.

        Raises ``ApiError`` when it cannot be had now. Some megabytes: to be asked once per model.
        """
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class Describes(Protocol):
    """An engine that says more of itself than its models."""

    @property
    def facts(self) -> EngineFacts:
        """As the last ``discover`` found it."""
        ...


@runtime_checkable
class Embeds(Protocol):
    """An engine that can turn texts into vectors, if it has a model for that."""

    name: str

    async def embed(
        self, text: str, model: EngineModel, *, keep_alive: str, within_s: float
    ) -> list[float]:
        """Return the vector of ``text``, of any length; raises ``ApiError``.

        Loads the model where need be, beside the one that chats and not in its place.
        """
        ...

    async def loaded(self) -> frozenset[str]:
        """Return the names of the models in memory; empty where it does not say."""
        ...


def facts_of(engine: object) -> EngineFacts:
    """Return what an engine says of itself; nothing of one that does not."""
    return engine.facts if isinstance(engine, Describes) else EngineFacts()
