"""The semantic tier: answers to questions that were asked before in other words.

It looks only at requests that say one short thing and nothing else, among answers to requests that
were the same in all but the words. ``find`` comes before the engine is asked, ``learn`` after it
has answered; neither ever fails a request.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from msgspec import Struct
from msgspec.structs import replace

from llmctl.backend.models import find as find_model
from llmctl.config.schema import SemanticConfig
from llmctl.core.clock import Clock
from llmctl.core.tasks import Tasks
from llmctl.protocol.anthropic import Message, MessagesRequest, TextBlock, ToolUseBlock, Turn
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.message import Replay
from llmctl.proxy.answers import Answers
from llmctl.proxy.embedding import Embedding
from llmctl.semantic.answers import same_answer
from llmctl.semantic.bound import Decision, may_serve
from llmctl.semantic.decide import likeness
from llmctl.semantic.evidence import Outcomes
from llmctl.semantic.gate import Facts, facts
from llmctl.semantic.index import Vector, packed
from llmctl.semantic.journal import Journal, JournalStatus
from llmctl.semantic.records import Entry, Outcome, evidence_kind
from llmctl.semantic.shelves import Candidate, Shelves, group_of
from llmctl.semantic.sources import good_source

log = logging.getLogger(__name__)

NEIGHBOURS = 8
"""Questions that are compared with the one asked by what they say: the nearest ones."""
FOLLOW_S = 2.0
"""Between two looks at what other proxies have added."""
OUTCOMES_KEPT_S = 30 * 86400.0
ID_DIGITS = 12

Judge = Callable[[Facts, Facts, float], float]
"""Says how likely two questions of this cosine mean the same: 0 where they cannot."""
Agree = Callable[["Question", str], Awaitable[bool]]
"""Asks the model itself whether another question means the same."""


class Question(Struct, kw_only=True):
    """What an eligible request asks, and what was found for it."""

    text: str
    key: bytes
    """Of its own answer."""
    scope: bytes
    tenant: str
    model: EngineModel
    embedder: str = ""
    vector: Vector | None = None
    candidate: Candidate | None = None
    likeness: float = 0.0
    """How likely it means the same."""
    decision: Decision | None = None
    agreed: bool | None = None
    """What the model said of question and candidate; None where it was not asked."""

    @property
    def kind(self) -> str:
        """Which outcomes speak for its candidate."""
        return evidence_kind(tenant=self.tenant, embedder=self.embedder)


class Found(Struct, frozen=True, kw_only=True):
    """An answer that will do."""

    replay: Replay
    similarity: float
    source: str
    """Id of the entry: the first digits of its answer's key."""


class SemanticStatus(Struct, frozen=True, kw_only=True):
    """State of the tier for ``/health``."""

    mode: str
    healthy: bool
    detail: str
    embedder: str
    entries: int
    """Questions known in this process."""
    journal: JournalStatus
    counts: dict[str, int]


class Library(Struct, frozen=True, kw_only=True):
    """What is known, and what it takes to know it."""

    journal: Journal
    shelves: Shelves
    outcomes: Outcomes
    executor: Executor
    """Has one thread, on which all heavy work is done."""
    counts: Counter[str]
    """What has happened since the start, by name."""
    clock: Clock


class Judgement(Struct, frozen=True, kw_only=True):
    """How candidates are judged."""

    judge: Judge = likeness
    agree: Agree | None = None
    """Has the last word before an answer is given."""
    draw: Callable[[], float] = random.random
    """From 0 to 1: picks those that are asked all the same, though they might be served."""


class SemanticTier:
    """Finds and learns."""

    def __init__(
        self,
        config: SemanticConfig,
        library: Library,
        *,
        embedding: Embedding,
        answers: Answers,
        judgement: Judgement | None = None,
    ) -> None:
        self.counts = library.counts
        self._config = config
        self._journal = library.journal
        self._shelves = library.shelves
        self._outcomes = library.outcomes
        self._executor = library.executor
        self._clock = library.clock
        self._embedding = embedding
        self._answers = answers
        self._judgement = judgement or Judgement()
        self._tasks = Tasks()
        self._learning = Tasks()

    # -- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the journal and begin to load what is in it, and the embedder, in the background."""
        await self._journal.start()
        self._embedding.start()
        # what the gate reads at first is read before somebody waits for it
        self._executor.submit(facts, "warm")
        self._tasks.start(self._follow(), name="semantic follower")

    async def close(self) -> None:
        """Stop looking and learning, write what is queued, and let go."""
        await self._tasks.close()
        await self._learning.close()
        await self._embedding.close()
        await self._shelves.close()
        await self._journal.close()
        self._executor.shutdown(wait=False, cancel_futures=True)

    def status(self) -> SemanticStatus:
        """Describe the tier."""
        journal = self._journal.status()
        detail = self._embedding.detail or journal.detail
        return SemanticStatus(
            mode=self._config.mode,
            healthy=not detail,
            detail=detail,
            embedder=self._embedding.last,
            entries=len(self._shelves),
            journal=journal,
            counts=dict(self.counts),
        )

    async def idle(self) -> None:
        """Wait until everything given to ``learn`` has been learnt."""
        await self._learning.idle()

    async def _follow(self) -> None:
        while True:
            await self.follow()
            await asyncio.sleep(FOLLOW_S)

    async def follow(self) -> None:
        """Take up what other proxies have added."""
        await self._shelves.follow()
        await self._outcomes.follow()

    # -- before the engine is asked --------------------------------------------------------------

    def question(
        self,
        request: MessagesRequest,
        *,
        key: bytes,
        tenant: str,
        model: EngineModel,
        key_of: Callable[[MessagesRequest], bytes],
    ) -> Question | None:
        """Return what a request in normal form asks, None where it is not one to look at.

        ``key`` is that of its answer, ``key_of`` gives the one of another request. The caller has
        seen that the client sent one message and no tools.
        """
        text = self._words(request) if self._wanted(tenant, model) else None
        if text is None:
            return None
        wordless = Turn(role="user", content=[TextBlock(text="")])
        return Question(
            text=text,
            key=key,
            scope=key_of(replace(request, messages=[wordless])),
            tenant=tenant,
            model=model,
        )

    def _wanted(self, tenant: str, model: EngineModel) -> bool:
        tenants, models = self._config.tenants, self._config.models
        if tenants and tenant not in tenants:
            return False
        return not models or any(find_model(name, (model,)) for name in models)

    def _words(self, request: MessagesRequest) -> str | None:
        """Return the only words of a request, None where there is more to it."""
        if request.tools is not None or len(request.messages) != 1:
            return None
        turn = request.messages[0]
        if turn.role != "user" or len(turn.content) != 1:
            return None
        block = turn.content[0]
        if not isinstance(block, TextBlock) or len(block.text) > self._config.max_chars:
            return None
        return block.text if block.text.strip() else None

    async def find(self, question: Question) -> Found | None:
        """Return an answer where the error bound allows it; notes in ``question`` what was seen.

        In shadow mode nothing is awaited: what would have been found is worked out by ``learn``.
        """
        self.counts["asked"] += 1
        try:
            return await self._find(question)
        except Exception:
            # a bug of ours: the engine is there to answer
            self.counts["failed"] += 1
            log.exception("the semantic cache could not look")
            return None

    async def _find(self, question: Question) -> Found | None:
        if self._config.mode != "on" or not await self._look(question):
            return None
        candidate, decision = question.candidate, question.decision
        if candidate is None or decision is None or not decision.serve:
            return None
        replay = await self._answers.get(candidate.known.key)
        if replay is None:
            self._gone(question, candidate)
            return None
        if not await self._agrees(question, candidate):
            return None
        self.counts["served"] += 1
        self._shelves.used(candidate.known.key)
        self._note(question, candidate, decision, same=None)
        return Found(
            replay=replay,
            similarity=candidate.similarity,
            source=candidate.known.key.hex()[:ID_DIGITS],
        )

    async def _look(self, question: Question) -> bool:
        """Fill in the vector and, where the gate lets one pass, candidate and decision."""
        made = await self._embedding.vector(question.text)
        if made is None:
            return False
        question.embedder, question.vector = made
        group = group_of(question.embedder, question.scope)
        try:
            async with asyncio.timeout(self._embedding.budget_s):
                near = await self._shelves.nearest(group, question.vector, NEIGHBOURS)
                if not near:
                    return True
                loop = asyncio.get_running_loop()
                likenesses = await loop.run_in_executor(
                    self._executor, _likenesses, self._judgement.judge, question.text, near
                )
        except TimeoutError:
            self.counts["index_slow"] += 1
            return False
        best = max(likenesses)
        if best > 0:
            question.candidate, question.likeness = near[likenesses.index(best)], best
            self._decide(question, question.candidate)
        else:
            self.counts["blocked"] += 1
        return True

    def _decide(self, question: Question, candidate: Candidate) -> None:
        evidence = self._outcomes.evidence(candidate.known.key, question.kind)
        question.decision = may_serve(
            evidence, question.likeness, self._config.error_rate, draw=self._judgement.draw()
        )
        self.counts["candidates"] += 1

    async def _agrees(self, question: Question, candidate: Candidate) -> bool:
        """Ask the model, where that is wanted, and remember what it said."""
        agree = self._judgement.agree
        if agree is None:
            return True
        if question.agreed is None:
            question.agreed = await agree(question, candidate.known.question)
            self.counts["verified" if question.agreed else "refused"] += 1
        return question.agreed

    def _gone(self, question: Question, candidate: Candidate) -> None:
        """Forget a question whose answer the cache no longer has."""
        self.counts["gone"] += 1
        self._shelves.drop(candidate.known.key)
        question.candidate = question.decision = None

    # -- after it has answered -------------------------------------------------------------------

    def learn(self, question: Question, replay: Replay) -> None:
        """Take an answer of the engine that is being kept; returns at once."""
        self._learning.start(self._learn(question, replay), name="semantic learning")

    async def _learn(self, question: Question, replay: Replay) -> None:
        if self._config.mode == "shadow":
            await self._look(question)
        if question.vector is None:
            return
        said = _said(replay.message)
        if question.candidate is not None and question.decision is not None:
            await self._compare(question, question.candidate, question.decision, said)
        if said is None or not good_source(said):
            self.counts["not_kept"] += 1
            return
        now = self._clock.now()
        self._shelves.add(
            Entry(
                key=question.key,
                scope=question.scope,
                embedder=question.embedder,
                question=question.text,
                vector=packed(question.vector),
                created=now,
                expires=now + self._config.ttl_s,
                tenant=question.tenant,
                model=question.model.name,
            ),
            question.vector,
        )
        self.counts["kept"] += 1

    async def _compare(
        self, question: Question, candidate: Candidate, decision: Decision, said: str | None
    ) -> None:
        """Note whether the candidate's answer would have been right."""
        replay = await self._answers.get(candidate.known.key)
        if replay is None:
            self._gone(question, candidate)
            return
        if not await self._agrees(question, candidate):
            # never among what is served, so no part of what is counted for that
            return
        stored = _said(replay.message)
        same = False
        if said is not None and stored is not None:
            loop = asyncio.get_running_loop()
            same = await loop.run_in_executor(self._executor, same_answer, stored, said)
        self.counts["same" if same else "different"] += 1
        self._note(question, candidate, decision, same=same)
        log.info(
            "semantic cache: similarity %.3f, %s, answers %s",
            candidate.similarity,
            "would be served" if decision.explore_probability < 1 else "not allowed yet",
            "agree" if same else "differ",
            extra={"source": candidate.known.key.hex()[:ID_DIGITS]},
        )

    def _note(
        self, question: Question, candidate: Candidate, decision: Decision, *, same: bool | None
    ) -> None:
        servable = decision.explore_probability < 1
        if servable and same is not None:
            self.counts["servable_same" if same else "servable_different"] += 1
        now = self._clock.now()
        self._outcomes.note(
            Outcome(
                entry=candidate.known.key,
                kind=question.kind,
                similarity=candidate.similarity,
                likeness=question.likeness,
                risk=decision.risk,
                servable=servable,
                same=same,
                at=now,
                expires=now + OUTCOMES_KEPT_S,
            )
        )


def _likenesses(judge: Judge, text: str, near: list[Candidate]) -> list[float]:
    asked = facts(text)
    return [judge(asked, one.known.facts, one.similarity) for one in near]


def _said(message: Message) -> str | None:
    """Return the text of a complete answer, None where it is cut or calls tools."""
    if message.stop_reason != "end_turn":
        return None
    if any(isinstance(block, ToolUseBlock) for block in message.content):
        return None
    return "".join(block.text for block in message.content if isinstance(block, TextBlock)) or None
