"""How alike questions are by meaning. Importing this imports numpy."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llmctl.cache.entry import id_of
from llmctl.semantic.embed import NAME, LocalEmbedder, has_local
from llmctl.semantic.index import Vector, unpacked
from llmctl.semantic.records import Entry


async def similarities(known: Sequence[Entry], text: str) -> dict[str, float]:
    """Return the cosine of every question of the local embedder to ``text``, by id of its answer.

    Empty without that embedder, or where an engine's made all vectors. Raises ImportError.
    """
    ours = [entry for entry in known if entry.embedder == NAME]
    if not ours or not has_local():
        return {}
    asked = await _embedded(text)
    return {id_of(entry.key): float(unpacked(entry.vector) @ asked) for entry in ours}


async def _embedded(text: str) -> Vector:
    with ThreadPoolExecutor(1) as executor:
        embedder = LocalEmbedder(executor)
        await embedder.prepare()
        return await embedder.embed(text)
