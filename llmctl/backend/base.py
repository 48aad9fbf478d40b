"""What the proxy needs of an engine, whatever its wire format."""

from collections.abc import AsyncIterator
from typing import Protocol

from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineModel


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

    def chat(self, plan: ChatPlan) -> AsyncIterator[list[EngineChunk]]:
        """Generate; yields everything that has arrived as one list, never an empty one.

        Failures raise ``ApiError``, before the first list or in the middle. The last chunk of a
        complete answer carries ``done``; an end without it raises. Closing the iterator closes the
        connection, which stops the generation.
        """
        ...

    async def count(self, request: MessagesRequest, model: EngineModel) -> int | None:
        """Return the exact prompt tokens where the engine has a tokenizer endpoint, else None."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
