"""The store and the semantic tier's journal, opened for one command."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from msgspec import Struct

from llmctl.cache.entries import EntryStore
from llmctl.cache.store import Store
from llmctl.config.load import Loaded
from llmctl.config.secrets import install_secret
from llmctl.core.clock import Clock, SystemClock
from llmctl.core.errors import LlmctlError
from llmctl.core.paths import Paths, find_paths
from llmctl.ops.cache.stores import Kind, open_entries, open_store, redis_place, store_kind
from llmctl.semantic.journal import Journal
from llmctl.semantic.places import open_journal

BUDGET_S = 2.0
"""For one read: nobody waits for an answer behind it."""
REACH_S = 1.0
PAUSE_S = 0.005


class Access(Struct, frozen=True, kw_only=True):
    """What the commands of ``cache`` work on."""

    loaded: Loaded
    paths: Paths
    clock: Clock
    kind: Kind
    store: Store
    entries: EntryStore
    journal: Journal | None
    """Of the semantic tier; None where there has been none."""

    def require_outside(self) -> None:
        """Raise ``LlmctlError`` where only the process of ``serve`` can look into the cache."""
        if not self.loaded.config.cache.enabled:
            raise LlmctlError("the cache is switched off (cache.enabled = false)")
        if self.kind == "memory":
            raise LlmctlError(
                "the cache is in the memory of llmctl serve, where nobody else can look "
                "(cache.store = memory)",
                hint="set cache.store to sqlite or redis",
            )


@asynccontextmanager
async def opened(
    loaded: Loaded, environ: Mapping[str, str], *, clock: Clock | None = None
) -> AsyncIterator[Access]:
    """Open the cache; raises ``ConfigError`` and ``AuthError`` for what cannot be."""
    paths, clock = find_paths(environ), clock or SystemClock()
    store = open_store(loaded, paths, clock=clock, least_budget_s=BUDGET_S)
    entries = open_entries(store, paths, clock=clock)
    journal = _journal(loaded, paths, clock)
    await entries.start()
    await _reached(entries)
    try:
        if journal is not None:
            await journal.start()
        yield Access(
            loaded=loaded,
            paths=paths,
            clock=clock,
            kind=store_kind(loaded.config),
            store=store,
            entries=entries,
            journal=journal,
        )
    finally:
        if journal is not None:
            await journal.close()
        await entries.close()


async def _reached(entries: EntryStore) -> None:
    """Wait a moment for the store; commands say themselves what is wrong with one that stays away.

    Not to lose what other machines have forgotten: that is read before more is written.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(REACH_S):
            while not entries.status().healthy:  # noqa: ASYNC110  a store has no event to wait for
                await asyncio.sleep(PAUSE_S)


def _journal(loaded: Loaded, paths: Paths, clock: Clock) -> Journal | None:
    kind, semantic = store_kind(loaded.config), loaded.config.cache.semantic
    file = paths.cache / "semantic.db"
    if kind == "memory" or (kind == "sqlite" and not file.exists()):
        return None
    return open_journal(
        redis_place(loaded) if kind == "redis" else file,
        max_entries=semantic.max_entries,
        secret=install_secret(paths.data),
        clock=clock,
    )
