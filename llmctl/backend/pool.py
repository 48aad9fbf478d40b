"""Several engines behind one door: who has a model, who is well, who answers."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from msgspec import Struct

from llmctl.backend.admission import Admission
from llmctl.backend.base import Answer, Embeds, Engine, Unreachable, facts_of
from llmctl.backend.breaker import Breaker, is_outage
from llmctl.backend.health import Health
from llmctl.backend.models import choose, find, names, only_embedding
from llmctl.config.schema import BackendConfig, ModelConfig, TimeoutConfig
from llmctl.core.clock import Clock
from llmctl.core.model import EngineFacts, LoadedModel
from llmctl.core.tasks import Tasks
from llmctl.protocol.engine import ChatPlan, EngineChunk, EngineModel
from llmctl.protocol.errors import ApiError, broken_stream, overloaded

START_S = 0.3
"""How long the start waits for engines to say what they have."""
RETRY_PAUSE_S = 0.01
"""Short enough that two failures in a row still become an HTTP status (``Silence.grace_s``)."""
MAX_ROUTES = 1000
"""Names whose route is remembered: clients choose them, so there is a limit."""


class Route(Struct, frozen=True):
    """Who can answer for a name, best first: never empty."""

    candidates: tuple[tuple[Engine, EngineModel], ...]

    @property
    def model(self) -> EngineModel:
        """The model that answers if nothing goes wrong."""
        return self.candidates[0][1]

    @property
    def model_name(self) -> str:
        """Its name on the engine."""
        return self.model.name


class BackendStatus(Struct, frozen=True, kw_only=True):
    """One backend as operators see it."""

    name: str
    kind: str
    healthy: bool
    detail: str
    """Why it is down, or how its models are loaded."""
    models: list[str]
    in_flight: int
    queued: int
    cooldown_s: float
    """Seconds for which others are preferred, after failures."""
    failures: int = 0
    """Its own, since the start."""
    version: str = ""
    latency_ms: float | None = None
    """Of its last short answer."""
    loaded: list[LoadedModel] = []
    """What is in its memory now."""


class Answering:
    """An answer whose first chunks have arrived. It holds a slot until its end or ``aclose``."""

    def __init__(
        self, backend: "Backend", model: EngineModel, first: list[EngineChunk], rest: Answer
    ) -> None:
        self.engine_name = backend.engine.name
        self.model = model
        self.chunks = self._relay(first)
        self._backend = backend
        self._rest = rest
        self._open = True

    async def aclose(self) -> None:
        """Stop the generation if it still runs; may be called again."""
        if self._open:
            self._open = False
            try:
                await self._rest.aclose()
            finally:
                self._backend.admission.leave()

    async def _relay(self, first: list[EngineChunk]) -> Answer:
        try:
            yield first
            async for chunks in self._rest:
                yield chunks
        except ApiError as error:
            self._backend.failed(error)
            raise
        finally:
            await self.aclose()


class Backend:
    """One engine with its health, its slots and its record of failures."""

    def __init__(
        self,
        engine: Engine,
        config: BackendConfig,
        *,
        queue_s: float,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self.engine = engine
        self.health = Health(engine, changed=changed)
        self.admission = Admission(engine.name, parallel=config.parallel, queue=config.queue)
        self.breaker = Breaker(clock)
        self._queue_s = queue_s
        self._failures = 0

    async def open(self, plan: ChatPlan, *, background: bool) -> Answering:
        """Take a slot and get the first chunks; raises ``ApiError``, with the slot given back."""
        await self.admission.enter(background=background, within_s=self._queue_s)
        try:
            first, rest = await self._begin(plan)
        except BaseException:
            self.admission.leave()
            raise
        return Answering(self, plan.model, first, rest)

    def failed(self, error: ApiError) -> None:
        """Remember a failure that was the engine's own."""
        if is_outage(error):
            self._failures += 1
            self.breaker.failed()
        if isinstance(error, Unreachable):
            self.health.lost(error.message)
        elif error.status == 404:
            self.health.look_again()

    def status(self) -> BackendStatus:
        """Describe it."""
        models = self.health.models or ()
        notes = "; ".join(f"{model.name} {model.note}" for model in models if model.note)
        facts = facts_of(self.engine) if self.health.healthy else EngineFacts()
        return BackendStatus(
            name=self.engine.name,
            kind=self.engine.kind,
            healthy=self.health.healthy,
            detail=notes if self.health.healthy else self.health.reason,
            models=[model.name for model in models],
            in_flight=self.admission.in_flight,
            queued=self.admission.queued,
            cooldown_s=round(self.breaker.cooldown_s, 1),
            failures=self._failures,
            version=facts.version,
            latency_ms=facts.latency_ms,
            loaded=list(facts.loaded),
        )

    async def _begin(self, plan: ChatPlan) -> tuple[list[EngineChunk], Answer]:
        probe = self.breaker.began()
        try:
            begun = await self._ask_twice(plan)
        except ApiError as error:
            self.failed(error)
            raise
        else:
            self.breaker.succeeded()
            return begun
        finally:
            self.breaker.gave_up(probe=probe)

    async def _ask_twice(self, plan: ChatPlan) -> tuple[list[EngineChunk], Answer]:
        try:
            return await self._ask(plan)
        except ApiError as error:
            if not error.retry_once:
                raise
        await asyncio.sleep(RETRY_PAUSE_S)
        return await self._ask(plan)

    async def _ask(self, plan: ChatPlan) -> tuple[list[EngineChunk], Answer]:
        answer = self.engine.chat(plan)
        try:
            return await anext(answer), answer
        except StopAsyncIteration:
            raise broken_stream(f"{self.engine.name} gave an empty answer") from None


class Pool:
    """The configured engines, in order of preference. It owns them: ``close`` closes them."""

    def __init__(
        self,
        engines: Sequence[tuple[Engine, BackendConfig]],
        model: ModelConfig,
        timeouts: TimeoutConfig,
        clock: Clock,
    ) -> None:
        self._config = model
        self._backends = [
            Backend(
                engine, config, queue_s=timeouts.queue_s, clock=clock, changed=self._forget_routes
            )
            for engine, config in engines
        ]
        self._routes: dict[str, Route] = {}
        self._tasks = Tasks()

    async def start(self) -> None:
        """Begin to watch the engines; returns once all have answered, at most ``START_S`` later."""
        for backend in self._backends:
            self._tasks.start(backend.health.watch(), name=f"watch {backend.engine.name}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                for backend in self._backends:
                    await backend.health.asked.wait()

    async def check(self) -> None:
        """Ask every engine now what it has, instead of at its next turn."""
        await asyncio.gather(*(backend.health.check() for backend in self._backends))

    async def close(self) -> None:
        """Stop watching and close every engine's connections."""
        await self._tasks.close()
        for backend in self._backends:
            await backend.engine.close()

    def status(self) -> list[BackendStatus]:
        """Describe the backends, in order of preference."""
        return [backend.status() for backend in self._backends]

    def names(self) -> list[str]:
        """Return the model names that can be asked for now."""
        offered = [backend.health.models or () for backend in self._backends]
        return [name for name in names(offered, self._config) if self._resolves(name)]

    def resolve(self, asked: str) -> Route:
        """Return who can answer for a model name.

        Engines that are down are asked last, but what they had still counts, so that cached
        answers are found. Raises ``ApiError``: 404 for unknown names, 400 for models that cannot
        chat, 529 where no engine has ever answered.
        """
        route = self._routes.get(asked)
        if route is None:
            route = self._find_route(asked)
            if len(self._routes) >= MAX_ROUTES:
                self._routes.clear()
            self._routes[asked] = route
        return route

    def embedding(self, name: str | None = None) -> tuple[Embeds, EngineModel] | None:
        """Return an engine that is well and its embedding model, None where there is none now.

        With ``name`` that model, else the first that is said to embed and not to chat as well.
        """
        for backend in self._backends:
            engine, models = backend.engine, backend.health.models or ()
            if not (backend.health.healthy and isinstance(engine, Embeds)):
                continue
            model = find(name, models) if name else only_embedding(models)
            if model is not None:
                return engine, model
        return None

    @property
    def all_answered(self) -> bool:
        """Whether every engine has said at least once what it has."""
        return all(backend.health.models is not None for backend in self._backends)

    async def open(
        self, route: Route, plan_for: Callable[[EngineModel], ChatPlan], *, background: bool
    ) -> Answering:
        """Start an answer on the best engine that can give one; its first chunks have arrived.

        An engine that fails on its own account before that is followed by the next. ``background``
        requests wait behind the others for a slot. Raises ``ApiError``. The caller reads
        ``chunks`` to the end or calls ``aclose``.
        """
        failure: ApiError | None = None
        for backend, model in self._in_order(route):
            try:
                return await backend.open(plan_for(model), background=background)
            except ApiError as error:
                failure = error
                if not error.another_backend:
                    raise
        raise failure or overloaded("no engine is configured")

    def _in_order(self, route: Route) -> list[tuple[Backend, EngineModel]]:
        """Return the candidates worth asking now; all of them where none is."""
        by_engine = {id(backend.engine): backend for backend in self._backends}
        candidates = [(by_engine[id(engine)], model) for engine, model in route.candidates]
        well = [
            (backend, model)
            for backend, model in candidates
            if backend.health.healthy and backend.breaker.ready
        ]
        return well or candidates

    def _find_route(self, asked: str) -> Route:
        known = [backend for backend in self._backends if backend.health.models is not None]
        if not known:
            raise overloaded(f"no engine has answered yet: {self._absences()}")
        try:
            chosen = choose(asked, [backend.health.models or () for backend in known], self._config)
        except ApiError as error:
            raise self._unknown(error, known) from error
        # Python's sort is stable: within the healthy ones the order of ``choose`` stays.
        chosen.sort(key=lambda found: not known[found[0]].health.healthy)
        return Route(tuple((known[number].engine, model) for number, model in chosen))

    def _unknown(self, error: ApiError, known: list[Backend]) -> ApiError:
        """Say that a model is not there, or that the engine that may have it is not."""
        absences = self._absences()
        if not absences:
            return error
        message = f"{error.message}; not reachable: {absences}"
        nobody = not any(backend.health.healthy for backend in known)
        if nobody and len(known) < len(self._backends):
            return overloaded(message)
        return ApiError(error.status, message)

    def _absences(self) -> str:
        return ", ".join(
            f"{backend.engine.name} ({backend.health.reason})"
            for backend in self._backends
            if not backend.health.healthy
        )

    def _resolves(self, name: str) -> bool:
        try:
            self.resolve(name)
        except ApiError:
            return False
        return True

    def _forget_routes(self) -> None:
        self._routes.clear()
