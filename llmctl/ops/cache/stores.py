"""Which store the configuration means, and the entries in it: for ``serve`` and ``cache`` alike."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llmctl.cache.entries import EntryStore
from llmctl.cache.marks import Marks
from llmctl.cache.memory import MemoryStore
from llmctl.cache.sealed import Seal
from llmctl.cache.store import Store
from llmctl.config.load import Loaded
from llmctl.config.schema import Config
from llmctl.config.secrets import cache_seal_key
from llmctl.core.clock import Clock
from llmctl.core.errors import ConfigError
from llmctl.core.paths import Paths

if TYPE_CHECKING:
    from llmctl.cache.address import RedisAddress

Kind = Literal["sqlite", "redis", "memory"]


def store_kind(config: Config) -> Kind:
    """Return what ``cache.store`` comes to; without a cache, memory."""
    cache, redis = config.cache, config.redis
    if not cache.enabled:
        return "memory"
    if cache.store == "auto":
        return "redis" if redis.url or redis.host else "sqlite"
    return cache.store


def answers_file(paths: Paths) -> Path:
    """Return the file of the SQLite store."""
    return paths.cache / "answers.db"


def open_store(loaded: Loaded, paths: Paths, *, clock: Clock, least_budget_s: float = 0.0) -> Store:
    """Return the configured store, not started; raises ``ConfigError`` for a bad address.

    ``least_budget_s`` is for those with more patience than a request has.
    """
    cache, kind = loaded.config.cache, store_kind(loaded.config)
    if kind == "redis":
        from llmctl.cache.redis import RedisStore

        budget_s = max(loaded.config.redis.budget_s, least_budget_s)
        return RedisStore(redis_place(loaded), clock=clock, budget_s=budget_s)
    if kind == "memory":
        return MemoryStore(max_bytes=cache.memory_bytes, clock=clock)
    from llmctl.cache.sqlite import SqliteStore

    return SqliteStore(answers_file(paths), max_bytes=cache.max_bytes, clock=clock)


def redis_place(loaded: Loaded) -> "RedisAddress":
    """Return where Redis is; raises ``ConfigError`` where none is configured."""
    from llmctl.cache.address import redis_address

    redis, password = loaded.config.redis, loaded.redis_password
    if not (redis.url or redis.host):
        raise ConfigError(
            "cache.store is redis, but no Redis is configured",
            hint="set REDIS_URL or REDIS_HOST, or use --redis-url",
        )
    return redis_address(
        url=redis.url,
        host=redis.host,
        port=redis.port,
        db=redis.db,
        password=password.reveal() if password else None,
        insecure=redis.insecure,
    )


def open_entries(store: Store, paths: Paths, *, clock: Clock) -> EntryStore:
    """Return the entries of ``store``, sealed with the key of this installation.

    Raises ``AuthError`` for a key file that others can read.
    """
    load_key = partial(cache_seal_key, paths.data)
    entries = EntryStore(
        store,
        seal=Seal(load_key()),
        marks=Marks(paths.data / "cache-forgotten.json", clock=clock),
        clock=clock,
        load_key=load_key,
    )
    entries.keep_newest_in(paths.data / "cache-newest")
    if isinstance(store, MemoryStore):
        entries.on_forgotten.append(store.let_go)
    return entries
