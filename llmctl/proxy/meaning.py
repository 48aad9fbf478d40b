"""Puts the semantic tier together. Importing this imports numpy: only where the tier is wanted."""

import logging
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llmctl.config.schema import SemanticConfig
from llmctl.core.clock import Clock
from llmctl.core.errors import ConfigError
from llmctl.proxy.agreement import Agreement
from llmctl.proxy.embedding import Choice, Embedding
from llmctl.proxy.pipeline import Pipeline
from llmctl.proxy.semantic import Judgement, Library, SemanticTier
from llmctl.semantic.embed import Embedder, LocalEmbedder, has_local
from llmctl.semantic.evidence import Outcomes
from llmctl.semantic.journal import Journal
from llmctl.semantic.places import house_of, open_journal
from llmctl.semantic.records import Seal
from llmctl.semantic.shelves import LocalShelves

if TYPE_CHECKING:
    from llmctl.cache.address import RedisAddress

log = logging.getLogger(__name__)


async def semantic_tier(
    config: SemanticConfig,
    pipeline: Pipeline,
    *,
    place: "RedisAddress | Path | None",
    seal: Seal,
    secret: bytes,
    clock: Clock,
) -> SemanticTier:
    """Return the tier of ``pipeline``, which is yet to be started, and to be put there.

    ``place`` is where its journal lives, None for nowhere. Raises ``ConfigError`` where the local
    embedder is asked for and not installed.
    """
    if config.embedder == "local" and not has_local():
        raise ConfigError(
            "the local embedder of the semantic cache is not installed",
            hint="pip install 'llmctl[semantic]'",
        )
    journal = open_journal(place, max_entries=config.max_entries, secret=secret, clock=clock)
    library = local_library(config, journal, seal, clock=clock)
    if config.vectors == "redis":
        library = await _in_redis(config, library, place, seal, secret=secret)
    local = partial(LocalEmbedder, library.executor) if has_local() else None
    return assemble(config, pipeline, library, local=local)


def assemble(
    config: SemanticConfig,
    pipeline: Pipeline,
    library: Library,
    *,
    local: Callable[[], Embedder] | None,
) -> SemanticTier:
    """Put a tier on a library; ``local`` makes the embedder of this process, if there is one."""
    keep_alive = pipeline.settings.keep_alive
    choice = Choice(config, pipeline.pool, keep_alive=keep_alive, local=local)
    agreement = Agreement(pipeline.pool, pipeline.window, keep_alive=keep_alive)
    return SemanticTier(
        config,
        library,
        embedding=Embedding(choice, clock=library.clock, counts=library.counts),
        answers=pipeline.answers,
        judgement=Judgement(agree=agreement if config.verify else None),
    )


def local_library(config: SemanticConfig, journal: Journal, seal: Seal, *, clock: Clock) -> Library:
    """Return a library whose vectors are in the memory of this process."""
    counts: Counter[str] = Counter()
    executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="semantic")
    shelves = LocalShelves(
        journal,
        seal,
        max_entries=config.max_entries,
        clock=clock,
        executor=executor,
        counts=counts,
    )
    return Library(
        journal=journal,
        shelves=shelves,
        outcomes=Outcomes(journal, seal, counts=counts),
        executor=executor,
        counts=counts,
        clock=clock,
    )


async def _in_redis(
    config: SemanticConfig,
    library: Library,
    place: "RedisAddress | Path | None",
    seal: Seal,
    *,
    secret: bytes,
) -> Library:
    """Return the library with its vectors in Redis, where there is one that can hold them."""
    if place is None or isinstance(place, Path):
        raise ConfigError(
            "cache.semantic.vectors is redis, but the cache is not in Redis",
            hint='set REDIS_URL, or cache.semantic.vectors = "memory"',
        )
    from llmctl.semantic.vectorset import RedisShelves, has_vector_sets

    if not await has_vector_sets(place):
        log.warning(
            "Redis at %s has no vector sets (Redis 8 has): each proxy keeps vectors in its memory",
            place.location,
        )
        return library
    shelves = RedisShelves(
        place,
        seal,
        house=house_of(secret),
        max_entries=config.max_entries,
        clock=library.clock,
        counts=library.counts,
    )
    return Library(
        journal=library.journal,
        shelves=shelves,
        outcomes=library.outcomes,
        executor=library.executor,
        counts=library.counts,
        clock=library.clock,
    )
