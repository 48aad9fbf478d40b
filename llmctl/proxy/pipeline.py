"""From the bytes of a request to the answer it will get: cached, shared, or made now.

Nothing in here knows HTTP responses; ``messages`` turns what this decides into them.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from llmctl.backend.pool import Answering, Pool, Route
from llmctl.cache.entry import EXCERPT_CHARS, EntryMeta
from llmctl.cache.policy import CacheUse
from llmctl.core.clock import Clock
from llmctl.core.tasks import Tasks
from llmctl.core.usage import CacheOutcome
from llmctl.protocol import canonical
from llmctl.protocol.anthropic import Message, MessagesRequest
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.errors import ApiError, prompt_too_long
from llmctl.protocol.excerpt import last_words
from llmctl.protocol.message import Replay
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode, decode_for_count
from llmctl.protocol.stream import Composer
from llmctl.protocol.tokens import Measure
from llmctl.proxy.activity import Activity
from llmctl.proxy.answers import Answers, Shortcut
from llmctl.proxy.broadcast import Expected, Generation
from llmctl.proxy.counting import TokenCounts
from llmctl.proxy.repeats import Repeats
from llmctl.proxy.silence import SILENCE, Silence

if TYPE_CHECKING:
    from llmctl.proxy.semantic import Question, SemanticTier

DEFAULT_NUM_CTX = 65_536
FEW_BYTES_PER_TOKEN = 2.5
"""Less than any text of a coding agent has, in whatever language."""
MAX_NAME_CHARS = 512
TRANSLATION = "1"
"""Part of every cache key: raise it when the same request would reach the engine differently."""


class Settings(Struct, frozen=True, kw_only=True):
    """What the operator decided."""

    num_ctx: int | None
    keep_alive: str
    stable_prefix: bool
    cache: bool
    tool_answers: bool
    silence: Silence = SILENCE


class Ask(Struct, frozen=True, kw_only=True):
    """A request that was understood."""

    request: MessagesRequest
    """In normal form."""
    asked: str
    """Model name as the client wrote it."""
    stream: bool
    route: Route
    key: bytes
    tenant: str
    size: int
    """Bytes of its body."""
    alone: bool = False
    """Whether the client sent one message and no tools at all, not even some we leave out."""


class Pipeline:
    """Everything between decoding and rendering."""

    def __init__(
        self,
        *,
        pool: Pool,
        answers: Answers,
        counts: TokenCounts,
        settings: Settings,
        secret: bytes,
        clock: Clock,
    ) -> None:
        self.pool = pool
        self.answers = answers
        self.counts = counts
        self.settings = settings
        self.semantic: SemanticTier | None = None
        """Answers to questions that were asked in other words; None where that is switched off."""
        self.repeats = Repeats(secret, ttl_s=answers.ttl_s, clock=clock)
        self._secret = secret
        self._clock = clock
        self._flights: dict[bytes, Generation] = {}
        self._running: set[Generation] = set()
        self.activity = Activity(clock)
        self.tasks = Tasks()
        """The generations; nothing else runs in here."""

    # -- cached answers --------------------------------------------------------------------------

    async def recall(self, raw_key: bytes) -> tuple[Shortcut, Replay] | None:
        """Return the answer to a body seen before, without parsing it."""
        shortcut = self.answers.shortcut(raw_key)
        if shortcut is None or not self._still_routed(shortcut):
            return None
        replay = await self.answers.get(shortcut.key)
        return None if replay is None else (shortcut, replay)

    def _still_routed(self, shortcut: Shortcut) -> bool:
        try:
            return self.pool.resolve(shortcut.asked).model.digest == shortcut.digest
        except ApiError:
            return False

    async def lookup(self, ask: Ask, raw_key: bytes) -> Replay | None:
        """Return the cached answer by what the request means."""
        replay = await self.answers.get(ask.key)
        if replay is not None:
            self._remember(ask, raw_key)
        return replay

    def _remember(self, ask: Ask, raw_key: bytes) -> None:
        if not raw_key:
            return
        self.answers.remember(
            raw_key,
            Shortcut(
                key=ask.key, stream=ask.stream, asked=ask.asked, digest=ask.route.model.digest
            ),
        )

    # -- understanding ---------------------------------------------------------------------------

    def understand(self, body: bytes, tenant: str) -> Ask:
        """Decode, route and key a request; raises ``ApiError`` for what can never be answered."""
        decoded = decode(body)
        route = self.route(decoded.model)
        request = normalise(decoded, stable_prefix=self.settings.stable_prefix)
        model = route.model
        return Ask(
            request=request,
            asked=decoded.model,
            size=len(body),
            stream=bool(decoded.stream),
            route=route,
            key=self._key(tenant, model, request),
            tenant=tenant,
            alone=len(decoded.messages) == 1 and not decoded.tools,
        )

    def _key(self, tenant: str, model: EngineModel, request: MessagesRequest) -> bytes:
        return canonical.answer_key(
            self._secret,
            tenant=tenant,
            model_digest=model.digest,
            options={"num_ctx": self.window(model), "translation": TRANSLATION},
            request=request,
        )

    def question(self, ask: Ask, use: CacheUse) -> "Question | None":
        """Return what the semantic tier may look for, None where it may not look at all."""
        if self.semantic is None or not (ask.alone and use.read and use.write):
            return None
        if ask.key in self._flights:
            return None
        model = ask.route.model
        key_of = partial(self._key, ask.tenant, model)
        return self.semantic.question(
            ask.request, key=ask.key, tenant=ask.tenant, model=model, key_of=key_of
        )

    def route(self, name: str) -> Route:
        """Return who answers for a model name; raises ``ApiError``."""
        if len(name) > MAX_NAME_CHARS:
            # Names are remembered in several places, as long as they are.
            raise ApiError(404, f"model: {name[:40]}… is longer than {MAX_NAME_CHARS} characters")
        return self.pool.resolve(name)

    def window(self, model: EngineModel) -> int | None:
        """Return the context window in tokens a model is used with, None where unknown."""
        wanted = self.settings.num_ctx or DEFAULT_NUM_CTX
        if model.context_length is None:
            return self.settings.num_ctx
        return min(wanted, model.context_length)

    async def count_tokens(self, body: bytes) -> int:
        """Return the prompt tokens of a ``count_tokens`` request."""
        decoded = decode_for_count(body)
        route = self.route(decoded.model)
        request = normalise(decoded, stable_prefix=self.settings.stable_prefix)
        return await self.counts.exact(request, route)

    # -- making an answer ------------------------------------------------------------------------

    def generation(
        self, ask: Ask, raw_key: bytes, use: CacheUse, question: "Question | None" = None
    ) -> tuple[Generation, CacheOutcome]:
        """Return the generation that will answer: the one in flight for this key, or a new one.

        The caller joins it before anything else is awaited. Who may not read the cache does not
        share a generation either; who may write it keeps a complete answer, from which the semantic
        tier learns, if there is a ``question`` for it.
        """
        flight = self._flights.get(ask.key) if use.read else None
        if flight is not None and not (flight.abandoned or flight.ended):
            return flight, CacheOutcome.SHARED
        checked = None if self._fits_easily(ask) else self._checked(ask)
        plan = self._planner(ask, checked)
        generation = Generation(
            Composer(ask.request),
            lambda: self.pool.open(ask.route, plan, background=not ask.request.tools),
            Expected(
                model_name=ask.route.model.name,
                measure=lambda hurry: checked or self._measure(ask, hurry=hurry),
            ),
            clock=self._clock,
            ended=self._ender(ask, raw_key, keep=use.write, question=question),
            ping_s=self.settings.silence.ping_s,
        )
        if use.read:
            self._flights[ask.key] = generation
        self._running.add(generation)
        generation.start(self.tasks)
        return generation, CacheOutcome.MISS if use.read else CacheOutcome.BYPASS

    def _fits_easily(self, ask: Ask) -> bool:
        """Tell whether prompt and answer fit by far, so that the engine need not wait for a count.

        Should they not after all, the engine refuses: it is asked not to cut.
        """
        window = self.window(ask.route.model)
        if window is None:
            return True
        return ask.size / FEW_BYTES_PER_TOKEN + (ask.request.max_tokens or 1) <= window

    def _measure(self, ask: Ask, *, hurry: bool = False) -> Measure:
        engine, model = ask.route.candidates[0]
        return self.counts.estimate(ask.request, engine, model, hurry=hurry)

    def _checked(self, ask: Ask) -> Measure:
        """Estimate the prompt; raises the overflow error only where even a low guess is too long.

        In between the engine decides.
        """
        measure = self._measure(ask)
        window = self.window(ask.route.model)
        if window is not None and measure.least > window:
            raise prompt_too_long(measure.tokens, window)
        return measure

    def _planner(self, ask: Ask, checked: Measure | None) -> Callable[[EngineModel], ChatPlan]:
        def plan(model: EngineModel) -> ChatPlan:
            window = self.window(model)
            wanted = ask.request.max_tokens or 1
            left = wanted
            if window is not None and checked is not None:
                left = max(1, window - checked.tokens)
            return ChatPlan(
                request=ask.request,
                model=model,
                num_ctx=window,
                max_tokens=min(wanted, left),
                keep_alive=self.settings.keep_alive,
            )

        return plan

    def _ender(
        self, ask: Ask, raw_key: bytes, *, keep: bool, question: "Question | None"
    ) -> Callable[[Generation, Answering | None], None]:
        began = self._clock.monotonic()

        def ended(generation: Generation, answering: Answering | None) -> None:
            self._running.discard(generation)
            self.activity.generated(generation)
            if self._flights.get(ask.key) is generation:
                del self._flights[ask.key]
            if generation.message is None or answering is None:
                return
            same_model = answering.model.digest == ask.route.model.digest
            if keep and same_model and generation.complete and self._may_keep(generation):
                about = _about(ask, generation.message, self._clock.monotonic() - began)
                self.answers.put(ask.key, generation.replay(), about)
                self._remember(ask, raw_key)
                if self.semantic is not None and question is not None:
                    self.semantic.learn(question, generation.replay())
            if generation.counted:
                usage = generation.message.usage
                reported = usage.input_tokens + usage.cache_read_input_tokens
                # New text is counted at the latest here: not before the client has its answer.
                learn = self.counts.counter.learn
                asyncio.get_running_loop().call_soon(learn, ask.request, answering.model, reported)

        return ended

    def _may_keep(self, generation: Generation) -> bool:
        message = generation.message
        return message is not None and (
            self.settings.tool_answers or message.stop_reason != "tool_use"
        )

    # -- life ------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """Generations in progress."""
        return len(self._running)

    def generations(self) -> set[Generation]:
        """Return those in progress."""
        return set(self._running)

    async def close(self, reason: ApiError) -> None:
        """End what still runs with ``reason`` and wait for it."""
        for generation in list(self._running):
            generation.abort(reason)
        await self.tasks.close()


def _about(ask: Ask, message: Message, took_s: float) -> EntryMeta:
    usage = message.usage
    return EntryMeta(
        tenant=ask.tenant,
        model=message.model,
        asked=ask.asked,
        excerpt=last_words(ask.request.messages, most_chars=EXCERPT_CHARS),
        prompt_tokens=usage.input_tokens + usage.cache_read_input_tokens,
        completion_tokens=usage.output_tokens,
        total_ms=took_s * 1000,
    )
