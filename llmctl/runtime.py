"""The composition root: a configuration becomes a running proxy. No global singletons."""

import asyncio
import contextlib
import gc
import logging
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from llmctl import __version__
from llmctl.backend.base import Engine
from llmctl.backend.http import Connector
from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.openai import OpenAIEngine
from llmctl.backend.pool import Pool
from llmctl.cache.memory import MemoryStore
from llmctl.cache.store import Store
from llmctl.config.addresses import reachable
from llmctl.config.load import Loaded
from llmctl.config.schema import BackendConfig, Config
from llmctl.config.secrets import (
    Secret,
    TokenStore,
    engine_key_from_environment,
    install_secret,
    token_from_environment,
)
from llmctl.config.tokens import LiveDigests
from llmctl.core.clock import SystemClock
from llmctl.core.errors import ConfigError, LlmctlError, SshError
from llmctl.core.model import BackendState, ServeBanner
from llmctl.core.paths import Paths, find_paths
from llmctl.core.tasks import Tasks
from llmctl.ledger.writer import LedgerWriter
from llmctl.ops.env import CLIENT_FAMILIES, Served, assume, claude_environment
from llmctl.ops.serve import serve
from llmctl.protocol.errors import ApiError
from llmctl.protocol.tokens import TokenCounter
from llmctl.proxy.answers import Answers
from llmctl.proxy.app import App, Parts
from llmctl.proxy.auth import Authenticator
from llmctl.proxy.body import BodyLimits
from llmctl.proxy.counting import TokenCounts
from llmctl.proxy.guard import Guard
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.pipeline import Pipeline, Settings
from llmctl.proxy.silence import SILENCE, Silence

if TYPE_CHECKING:
    from llmctl.ssh.supervisor import Tunnel

log = logging.getLogger(__name__)

TUNNEL_WAIT_S = 10.0
"""How long the announcement waits for tunnels."""
LOAD_WAIT_S = 20.0
"""How long the announcement waits for the embedded engine, so that what it says works at once."""


@runtime_checkable
class Managed(Protocol):
    """An engine that llmctl runs itself, in a process of its own."""

    def start(self) -> None:
        """Start the process in the background."""
        ...

    async def wait_ready(self) -> None:
        """Wait until it has loaded its model."""
        ...


Announce = Callable[[ServeBanner], None]
Talk = Callable[[str], None]


class Runtime:
    """What the commands of one process share."""

    def __init__(
        self,
        loaded: Loaded,
        environ: Mapping[str, str],
        *,
        silence: Silence = SILENCE,
        tunnels: Mapping[str, "Tunnel"] = MappingProxyType({}),
    ) -> None:
        """``tunnels`` are the ways to engines on other machines, by the backend's URL."""
        self.config: Config = loaded.config
        self.paths: Paths = find_paths(environ)
        self.clock = SystemClock()
        self._loaded = loaded
        self._silence = silence
        self._tunnels = tunnels
        self._environ = environ
        self._new_token: Secret | None = None
        self._tokens = TokenStore(self.paths.data, override=token_from_environment(environ))

    def serve(self, *, announce: Announce, talk: Talk) -> None:
        """Run the proxy until a signal ends it.

        ``announce`` is told once what is served, ``talk`` gets the lines of a model being fetched.
        Raises ``LlmctlError`` for what keeps it from starting.
        """
        asyncio.run(self._serve(self.engines(talk), announce))

    def engines(self, talk: Talk) -> list[Engine]:
        """Return the configured engines, not yet asked anything; fetches a model if need be."""
        return [self._engine(backend, talk) for backend in self.config.backend]

    # -- parts -----------------------------------------------------------------------------------

    def _engine(self, backend: BackendConfig, talk: Talk) -> Engine:
        kind, _, url = backend.url.partition(":")
        timeouts = self.config.timeouts
        if kind == "ollama":
            return OllamaEngine(url, timeouts=timeouts, connector=self._way_to(backend.url))
        if kind == "openai":
            key = engine_key_from_environment(self._environ)
            return OpenAIEngine(url, timeouts=timeouts, api_key=key.reveal() if key else None)
        return self._embedded(talk)

    def _way_to(self, url: str) -> Connector | None:
        if url not in self._tunnels:
            return None
        from llmctl.backend.tunnelled import through

        return through(self._tunnels[url])

    def _embedded(self, talk: Talk) -> Engine:
        from llmctl.backend.embedded.engine import embedded_engine, require_xllamacpp
        from llmctl.backend.embedded.weights import ensure_model

        require_xllamacpp()  # before a model is fetched that could not be used
        embedded, timeouts = self.config.embedded, self.config.timeouts
        gguf = (
            Path(embedded.gguf).expanduser()
            if embedded.gguf
            else ensure_model(self.paths.data, progress=lambda step: talk(str(step)))
        )
        return embedded_engine(
            gguf,
            embedded,
            num_ctx=self.config.model.num_ctx,
            connect=lambda url, key: OpenAIEngine(url, timeouts=timeouts, api_key=key),
        )

    def _store(self) -> Store:
        cache, redis = self.config.cache, self.config.redis
        kind = cache.store
        if not cache.enabled:
            kind = "memory"
        elif kind == "auto":
            kind = "redis" if redis.url or redis.host else "sqlite"
        if kind == "redis":
            return self._redis()
        if kind == "memory":
            return MemoryStore(max_bytes=cache.memory_bytes, clock=self.clock)
        from llmctl.cache.sqlite import SqliteStore

        path = self.paths.cache / "answers.db"
        return SqliteStore(path, max_bytes=cache.max_bytes, clock=self.clock)

    def _redis(self) -> Store:
        from llmctl.cache.address import redis_address
        from llmctl.cache.redis import RedisStore

        redis, password = self.config.redis, self._loaded.redis_password
        if not (redis.url or redis.host):
            raise ConfigError(
                "cache.store is redis, but no Redis is configured",
                hint="set REDIS_URL or REDIS_HOST, or use --redis-url",
            )
        address = redis_address(
            url=redis.url,
            host=redis.host,
            port=redis.port,
            db=redis.db,
            password=password.reveal() if password else None,
            insecure=redis.insecure,
        )
        return RedisStore(address, clock=self.clock, budget_s=redis.budget_s)

    # -- life ------------------------------------------------------------------------------------

    async def _serve(self, engines: list[Engine], announce: Announce) -> None:
        serving = self.config.serve
        async with AsyncExitStack() as stack:
            await self._open_tunnels(stack)
            app = await self.open(stack, engines)

            async def ready(port: int) -> None:
                if await _loaded(engines):
                    await app.pipeline.pool.check()
                announce(self._banner(app, port))
                # What exists by now lives as long as the process: no need to look at it again.
                gc.freeze()

            await serve(app, serving, ready=ready)

    async def _open_tunnels(self, stack: AsyncExitStack) -> None:
        """Start the tunnels, and wait a moment for them; a key that is refused is an error."""
        for tunnel in self._tunnels.values():
            stack.push_async_callback(tunnel.stop)
            await tunnel.start()
        waits = (tunnel.until_up(TUNNEL_WAIT_S) for tunnel in self._tunnels.values())
        for failure in await asyncio.gather(*waits, return_exceptions=True):
            if isinstance(failure, SshError) and failure.terminal:
                raise failure
            if isinstance(failure, BaseException):
                log.warning("%s", failure)

    async def open(self, stack: AsyncExitStack, engines: list[Engine]) -> App:
        """Start the parts of the proxy on ``engines``; ``stack`` ends them."""
        config, serving = self.config, self.config.serve
        ledger_path = self.paths.state / "ledger.db"
        ledger = LedgerWriter(ledger_path, clock=self.clock) if config.ledger.enabled else None
        # The store first: a bad address must not leave an engine of ours running.
        store, pool = self._store(), self._pool(engines)
        await asyncio.gather(
            *(stack.enter_async_context(_started(part)) for part in (pool, store, ledger) if part)
        )
        return App(
            Parts(
                pipeline=self._pipeline(stack, pool, store),
                guard=Guard(
                    listen=serving.listen,
                    hosts=serving.allowed_hosts,
                    origins=serving.allowed_origins,
                ),
                auth=Authenticator(self._digests(), self.clock),
                metrics=Metrics(),
                ledger=ledger,
                ledger_path=ledger_path,
                clock=self.clock,
                limits=BodyLimits(max_bytes=serving.max_body_bytes, pause_s=serving.body_s),
            )
        )

    def _digests(self) -> Mapping[str, str] | None:
        if not self.config.serve.auth:
            return None
        digests, self._new_token = self._tokens.load_or_create()
        return LiveDigests(self._tokens, digests, self.clock.monotonic)

    def _pool(self, engines: list[Engine]) -> Pool:
        for engine in engines:
            if isinstance(engine, Managed):
                engine.start()
        return Pool(
            list(zip(engines, self.config.backend, strict=True)),
            model=self.config.model,
            timeouts=self.config.timeouts,
            clock=self.clock,
        )

    def _pipeline(self, stack: AsyncExitStack, pool: Pool, store: Store) -> Pipeline:
        config = self.config
        tasks = Tasks()
        counts = TokenCounts(TokenCounter(), tasks, self.paths.state / "token-counts.json")
        stack.callback(counts.save)
        stack.push_async_callback(tasks.close)
        return Pipeline(
            pool=pool,
            answers=Answers(
                store,
                memory_bytes=config.cache.memory_bytes,
                ttl_s=config.cache.ttl_s,
                clock=self.clock,
            ),
            counts=counts,
            settings=Settings(
                num_ctx=config.model.num_ctx,
                keep_alive=config.model.keep_alive,
                stable_prefix=config.model.stable_prefix,
                cache=config.cache.enabled,
                tool_answers=config.cache.tool_answers,
                silence=self._silence,
            ),
            secret=install_secret(self.paths.data),
            clock=self.clock,
        )

    def _banner(self, app: App, port: int) -> ServeBanner:
        url = reachable(self.config.serve.listen, port)
        served = _served(app.pipeline, url) or assume(self.config, url)
        known = _served(app.pipeline, url) is not None
        store = app.pipeline.answers.store.status()
        variables = claude_environment(
            served,
            token=self._client_token(),
            timeouts=self.config.timeouts,
            environ=self._environ,
        )
        return ServeBanner(
            version=__version__,
            command=_own_command(),
            url=url,
            backends=[
                BackendState(name=backend.name, healthy=backend.healthy, detail=backend.detail)
                for backend in app.pipeline.pool.status()
            ],
            model=served.models["SONNET"] if known else None,
            context_tokens=served.context_tokens if known else None,
            cache=store.kind if self.config.cache.enabled else "off",
            cache_location=store.location,
            auth=self.config.serve.auth,
            token=self._new_token.reveal() if self._new_token else None,
            token_command=self._tokens.shell_words,
            environment=variables,
        )

    def _client_token(self) -> Secret | None:
        return self._tokens.client_token() if self.config.serve.auth else None


@contextlib.asynccontextmanager
async def _started(part: Store | Pool | LedgerWriter) -> AsyncIterator[None]:
    await part.start()
    try:
        yield
    finally:
        await part.close()


async def _loaded(engines: list[Engine]) -> bool:
    """Wait until engines of ours have loaded their model; tell whether there is any."""
    ours = [engine for engine in engines if isinstance(engine, Managed)]
    for engine in ours:
        try:
            async with asyncio.timeout(LOAD_WAIT_S):
                await engine.wait_ready()
        except (TimeoutError, LlmctlError) as slow:
            log.info("an engine is not ready yet: %s", slow)
    return bool(ours)


def _own_command() -> str:
    """Return the word that starts this program in another terminal."""
    if shutil.which("llmctl"):
        return "llmctl"
    return shlex.quote(str(Path(sys.argv[0]).absolute()))


def _served(pipeline: Pipeline, url: str) -> Served | None:
    try:
        models = {
            family: pipeline.pool.resolve(name).model for family, name in CLIENT_FAMILIES.items()
        }
    except ApiError:
        return None
    return Served(
        url=url,
        models={family: model.name for family, model in models.items()},
        context_tokens=pipeline.window(models["SONNET"]) or 0,
    )
