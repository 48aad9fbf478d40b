"""The composition root: a configuration becomes a running proxy. No global singletons."""

import asyncio
import contextlib
import gc
import hmac
import logging
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from llmctl import __version__
from llmctl.backend.base import Engine
from llmctl.backend.http import Connector
from llmctl.backend.openai import OpenAIEngine
from llmctl.backend.pool import Pool
from llmctl.cache.entries import EntryStore
from llmctl.config.addresses import reachable
from llmctl.config.load import Loaded
from llmctl.config.schema import BackendConfig, Config
from llmctl.config.secrets import (
    Secret,
    TokenStore,
    install_secret,
    token_from_environment,
)
from llmctl.config.tokens import LiveDigests
from llmctl.core.clock import SystemClock
from llmctl.core.errors import ConfigError, LlmctlError, SshError
from llmctl.core.model import BackendState, InstanceHealth, ServeBanner
from llmctl.core.paths import Paths, find_paths
from llmctl.core.tasks import Tasks
from llmctl.core.tunnel import TunnelStatus
from llmctl.ledger.writer import LedgerWriter
from llmctl.ops.cache.stores import open_entries, open_store, redis_place, store_kind
from llmctl.ops.engines import http_engine
from llmctl.ops.env import CLIENT_FAMILIES, Served, assume, claude_environment
from llmctl.ops.health_links import on_record
from llmctl.ops.serve import serve
from llmctl.protocol.errors import ApiError
from llmctl.protocol.tokens import TokenCounter
from llmctl.proxy.answers import Answers
from llmctl.proxy.app import App, Parts
from llmctl.proxy.auth import Authenticator
from llmctl.proxy.body import BodyLimits
from llmctl.proxy.counting import TokenCounts
from llmctl.proxy.guard import Guard
from llmctl.proxy.health import Surroundings
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.pipeline import Pipeline, Settings
from llmctl.proxy.silence import SILENCE, Silence
from llmctl.state.store import RentalStore

if TYPE_CHECKING:
    from llmctl.core.reports_cost import Spend
    from llmctl.ops.budget_watch import BudgetWatch
    from llmctl.proxy.semantic import SemanticTier
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


class Living(Protocol):
    """A part that is started before it is used, and closed after."""

    async def start(self) -> None:
        """Open what is needed."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


Started = TypeVar("Started", bound=Living)
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
        budget: "BudgetWatch | None" = None,
    ) -> None:
        """``tunnels`` are the ways to engines on other machines, by the backend's URL.

        ``budget`` is watched while it serves, if there is one.
        """
        self.config: Config = loaded.config
        self.paths: Paths = find_paths(environ)
        self.clock = SystemClock()
        self._loaded = loaded
        self._silence = silence
        self._tunnels = tunnels
        self._budget = budget
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

    @contextlib.asynccontextmanager
    async def first_engine(self, talk: Talk) -> AsyncIterator[Engine]:
        """Open the preferred engine alone, without a proxy; its tunnel is up if it can be."""
        async with AsyncExitStack() as stack:
            await self._open_tunnels(stack)
            engine = self._engine(self.config.backend[0], talk)
            stack.push_async_callback(engine.close)
            if isinstance(engine, Managed):
                engine.start()
                await engine.wait_ready()
            yield engine

    # -- parts -----------------------------------------------------------------------------------

    def _engine(self, backend: BackendConfig, talk: Talk) -> Engine:
        timeouts, way = self.config.timeouts, self._way_to(backend.url)
        engine = http_engine(backend.url, self._environ, timeouts=timeouts, connector=way)
        return engine or self._embedded(talk)

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

    async def _semantic(self, pipeline: Pipeline) -> "SemanticTier | None":
        """Return the tier ``[cache.semantic]`` asks for; nothing of it is imported without it."""
        config = self.config.cache.semantic
        if config.mode == "off" or not self.config.cache.enabled:
            return None
        # before numpy is imported: a second thread saves a fifth of 2 ms and spins for it
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            from llmctl.proxy.meaning import semantic_tier
        except ModuleNotFoundError as missing:
            raise ConfigError(
                f"the semantic cache needs {missing.name}, which is not installed",
                hint="pip install 'llmctl[semantic]'",
            ) from missing
        kind = store_kind(self.config)
        redis = redis_place(self._loaded) if kind == "redis" else None
        path = None if kind == "memory" else self.paths.cache / "semantic.db"
        return await semantic_tier(
            config,
            pipeline,
            place=redis or path,
            seal=pipeline.answers.store.seal,
            secret=install_secret(self.paths.data),
            clock=self.clock,
        )

    # -- life ------------------------------------------------------------------------------------

    async def _serve(self, engines: list[Engine], announce: Announce) -> None:
        serving = self.config.serve
        async with AsyncExitStack() as stack:
            await self._open_tunnels(stack)
            if self._budget is not None:
                await stack.enter_async_context(self._budget.beside())
            app = await self.open(stack, engines)

            async def ready(port: int) -> None:
                if await _loaded(engines):
                    await app.pipeline.pool.check()
                announce(self._banner(app, port))
                # What exists by now lives as long as the process: no need to look at it again.
                gc.freeze()

            names = [tunnel.name for tunnel in self._tunnels.values()]
            await serve(app, serving, ready=ready, names=names)

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
        store = open_store(self._loaded, self.paths, clock=self.clock)
        entries = open_entries(store, self.paths, clock=self.clock)
        pool = self._pool(engines)
        await asyncio.gather(
            *(stack.enter_async_context(_started(part)) for part in (pool, entries, ledger) if part)
        )
        pipeline, metrics = self._pipeline(stack, pool, entries), Metrics()
        if (semantic := await self._semantic(pipeline)) is not None:
            pipeline.semantic = await stack.enter_async_context(_started(semantic))
            metrics.semantic = semantic.counts
        return App(
            Parts(
                pipeline=pipeline,
                guard=Guard(
                    listen=serving.listen,
                    hosts=serving.allowed_hosts,
                    origins=serving.allowed_origins,
                ),
                auth=Authenticator(self._digests(), self.clock),
                metrics=metrics,
                ledger=ledger,
                ledger_path=ledger_path,
                clock=self.clock,
                limits=BodyLimits(max_bytes=serving.max_body_bytes, pause_s=serving.body_s),
                session_key=_derived(install_secret(self.paths.data), b"sessions of /ui"),
                spend=self._spend,
                around=Surroundings(tunnels=self._tunnel_states, instances=self._on_record),
            )
        )

    def _tunnel_states(self) -> list[TunnelStatus]:
        return [tunnel.status() for tunnel in self._tunnels.values()]

    def _on_record(self) -> list[InstanceHealth]:
        """Return what is rented, from the record; nothing where it cannot be read now."""
        if not self.paths.rentals_file.exists():
            return []
        store = RentalStore(self.paths.rentals_file, clock=self.clock)
        try:
            return [on_record(rental) for rental in store.live()]
        except LlmctlError as failure:
            log.info("the record of what is rented was not read: %s", failure)
            return []
        finally:
            store.close()

    def _spend(self) -> "Spend":
        """Return what renting costs; raises ``LlmctlError`` where the record cannot be read."""
        from llmctl.ops.budget import read_spend

        with contextlib.closing(RentalStore(self.paths.rentals_file, clock=self.clock)) as store:
            return read_spend(store, self.config.budget, self.clock.now())

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

    def _pipeline(self, stack: AsyncExitStack, pool: Pool, entries: EntryStore) -> Pipeline:
        config = self.config
        tasks = Tasks()
        counts = TokenCounts(TokenCounter(), tasks, self.paths.state / "token-counts.json")
        stack.callback(counts.save)
        stack.push_async_callback(tasks.close)
        return Pipeline(
            pool=pool,
            answers=Answers(
                entries,
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
            semantic=self.config.cache.semantic.mode if self.config.cache.enabled else "off",
            auth=self.config.serve.auth,
            token=self._new_token.reveal() if self._new_token else None,
            token_command=self._tokens.shell_words,
            environment=variables,
        )

    def _client_token(self) -> Secret | None:
        return self._tokens.client_token() if self.config.serve.auth else None


@contextlib.asynccontextmanager
async def _started(part: Started) -> AsyncIterator[Started]:
    await part.start()
    try:
        yield part
    finally:
        await part.close()


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, purpose, "sha256")


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
