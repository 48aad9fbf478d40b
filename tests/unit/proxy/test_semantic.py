"""The semantic tier: what it may look at, what it serves, and what it learns from answers."""

from collections import Counter

import msgspec
import pytest

pytest.importorskip("numpy")

from llmctl.cache.memory import MemoryStore
from llmctl.cache.policy import FULL, NONE, REFRESH
from llmctl.config.schema import SemanticConfig
from llmctl.protocol.anthropic import Message, TextBlock, TokenUsage, ToolUseBlock
from llmctl.protocol.engine import EngineModel
from llmctl.protocol.message import Replay
from llmctl.proxy.answers import Answers
from llmctl.proxy.semantic import Judgement, Library, SemanticTier
from llmctl.semantic.bound import NOTHING, Prior
from llmctl.semantic.evidence import Outcomes
from llmctl.semantic.gate import conflict
from llmctl.semantic.index import unit
from llmctl.semantic.records import OUTCOME, read_outcome
from llmctl.semantic.shelves import LocalShelves
from tests.clocks import ManualClock
from tests.emulators.embedding import embedding
from tests.sealing import entries_in
from tests.unit.proxy.test_pipeline import Stage as PipelineStage
from tests.unit.semantic.library import AtOnce, ListJournal, seal

MODEL = EngineModel(name="m:7b", digest="d")
QUESTION = "How do I reverse a list in Python?"
ALIKE = "how do I reverse a list in Python"


class Embedding:
    """Embeds by words; None is what a request gets from one that is out."""

    detail, last, ready, budget_s = "", "words", True, 60.0

    def __init__(self) -> None:
        self.out = False
        self.asked: list[str] = []

    def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def vector(self, text: str):
        self.asked.append(text)
        return None if self.out else ("words", unit(embedding(text)))


def message(text: str = "Use reversed().", **fields) -> Message:
    wanted = {
        "model": "m:7b",
        "content": [TextBlock(text=text)],
        "stop_reason": "end_turn",
        "usage": TokenUsage(input_tokens=1, output_tokens=1),
    }
    return Message(**(wanted | fields))


def near_enough(a, b, similarity: float) -> float:
    """Judge by the vectors alone what the gate lets pass."""
    return 0.0 if conflict(a, b) else min(similarity, 1.0)


class Stage:
    """A tier in a pipeline, without an engine: ``answered`` is what one would have said."""

    def __init__(self, tmp_path, *, agree=None, **config) -> None:
        self.clock = ManualClock()
        self.journal = ListJournal()
        self.pipeline = PipelineStage(tmp_path).pipeline
        store = MemoryStore(max_bytes=10_000_000, clock=self.clock)
        self.answers = Answers(
            entries_in(store, self.clock, tmp_path),
            memory_bytes=1_000_000,
            ttl_s=3600,
            clock=self.clock,
        )
        self.embedding = Embedding()
        self.draw = 1.0
        self.judge = near_enough
        counts: Counter[str] = Counter()
        wishes = {"mode": "on", "error_rate": 0.5} | config
        executor = AtOnce()
        library = Library(
            journal=self.journal,
            shelves=LocalShelves(
                self.journal,
                seal(),
                max_entries=1000,
                clock=self.clock,
                executor=executor,
                counts=counts,
            ),
            outcomes=Outcomes(self.journal, seal(), counts=counts, before=Prior(known=NOTHING)),
            executor=executor,
            counts=counts,
            clock=self.clock,
        )
        self.tier = SemanticTier(
            SemanticConfig(**wishes),
            library,
            embedding=self.embedding,
            answers=self.answers,
            judgement=Judgement(
                judge=lambda *told: self.judge(*told), agree=agree, draw=lambda: self.draw
            ),
        )
        self.pipeline.semantic = self.tier

    def question(self, text=QUESTION, *, tenant="tenant", use=FULL, **fields):
        body = {"model": "claude-x", "max_tokens": 100, **fields}
        body.setdefault("messages", [{"role": "user", "content": text}])
        ask = self.pipeline.understand(msgspec.json.encode(body), tenant)
        return self.pipeline.question(ask, use)

    async def find(self, text=QUESTION, **fields):
        question = self.question(text, **fields)
        return question, await self.tier.find(question)

    async def learn(self, question, said: Message) -> None:
        replay = Replay(said)
        self.answers._keep(question.key, replay, 3600.0)
        self.tier.learn(question, replay)
        await self.tier.idle()

    async def answered(self, text=QUESTION, said="Use reversed().", **fields) -> None:
        """Ask what nobody may answer from the cache yet, and take the engine's answer."""
        question, found = await self.find(text, **fields)
        assert found is None
        await self.learn(question, message(said) if isinstance(said, str) else said)

    async def trusted(self, **fields) -> None:
        """Make it sure of itself."""
        for wider in range(6):
            question, found = await self.find(ALIKE.replace(" ", "  ", wider), **fields)
            if found is None:
                await self.learn(question, message())

    def outcomes(self):
        rows = [placed for kind, placed in self.journal.rows if kind == OUTCOME]
        return [read_outcome(placed, seal()) for placed in rows]


@pytest.fixture
async def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


TURN = {"role": "user", "content": "hi"}
TOOL = {"name": "Read", "description": "reads", "input_schema": {"type": "object"}}
SERVER_TOOL = {"type": "web_search_20250305", "name": "web_search"}
IMAGE = {
    "type": "image",
    "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"tools": [SERVER_TOOL]},
        {"tools": [TOOL], "tool_choice": {"type": "none"}},
        {"messages": [TURN, {"role": "assistant", "content": "hello"}, TURN]},
        {"messages": [TURN, TURN]},
        {"messages": [TURN, {"role": "assistant", "content": "pre"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
        {"messages": [{"role": "user", "content": [IMAGE]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "tool_result", "tool_use_id": "t", "content": "x"},
                        {"type": "text", "text": "a"},
                    ],
                }
            ]
        },
        {"messages": [{"role": "system", "content": "be kind"}, TURN]},
        {"messages": [{"role": "user", "content": "a" * 2001}]},
        {"messages": [{"role": "user", "content": " \n "}]},
        {"use": NONE},
        {"use": REFRESH},
    ],
)
async def test_only_one_short_message_of_words_is_looked_at(stage, fields):
    assert stage.question(**fields) is None


async def test_one_message_of_words_is(stage):
    content = [{"type": "text", "text": QUESTION}]
    for fields in ({}, {"messages": [{"role": "user", "content": content}]}):
        question = stage.question(**fields, system="be kind", temperature=0.5)
        assert question.text == QUESTION


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, True),
        ({"tenants": ["tenant"]}, True),
        ({"tenants": ["other"]}, False),
        ({"models": ["m"]}, True),
        ({"models": ["other"]}, False),
    ],
)
async def test_tenants_and_models_are_chosen_by_the_operator(tmp_path, config, wanted):
    assert (Stage(tmp_path, **config).question() is not None) is wanted


@pytest.mark.parametrize(
    "other",
    [
        {"system": "other"},
        {"temperature": 0.1},
        {"max_tokens": 99},
        {"stop_sequences": ["x"]},
        {"thinking": {"type": "disabled"}},
        {"tenant": "other"},
    ],
)
async def test_everything_but_the_words_must_be_equal(stage, other):
    assert stage.question().scope == stage.question("something else").scope
    assert stage.question(**other).scope != stage.question().scope
    await stage.trusted()
    _, found = await stage.find(**other)
    assert found is None
    assert stage.tier.counts["served"] > 0


async def test_an_answer_is_given_once_outcomes_allow_it(stage):
    await stage.answered()
    question, found = await stage.find(ALIKE)
    assert found is None
    assert question.candidate is not None
    await stage.learn(question, message())
    await stage.trusted()
    _, found = await stage.find(QUESTION + " ")
    assert found is not None
    assert found.replay.message.content[0].text == "Use reversed()."
    assert found.similarity == pytest.approx(1.0, abs=0.001)
    assert len(found.source) == 12
    assert stage.outcomes()[-1].same is None
    assert stage.outcomes()[-1].servable


async def test_answers_that_differ_keep_it_from_serving(stage):
    for number in range(6, 36):
        text = ALIKE.replace(" ", " " * (1 + number // 6), 1 + number % 6)
        await stage.answered(text, said=f"answer number {number}")
    assert stage.tier.counts["different"] == 29
    assert stage.tier.counts["served"] == 0


async def test_the_gate_keeps_the_nearest_out(stage):
    await stage.trusted()
    question, found = await stage.find("How do I not reverse a list in Python?")
    assert (found, question.candidate) == (None, None)
    assert stage.tier.counts["blocked"] > 0


async def test_some_that_might_be_served_are_checked(stage):
    await stage.trusted()
    stage.draw = 0.0
    question, found = await stage.find(QUESTION)
    assert found is None
    await stage.learn(question, message())
    last = stage.outcomes()[-1]
    assert (last.servable, last.same) == (True, True)


async def test_shadow_serves_nothing_and_looks_after_the_answer(tmp_path):
    stage = Stage(tmp_path, mode="shadow")
    await stage.trusted()
    before = len(stage.embedding.asked)
    question, found = await stage.find(QUESTION)
    assert found is None
    assert len(stage.embedding.asked) == before
    await stage.learn(question, message())
    assert stage.tier.counts["served"] == 0
    assert stage.outcomes()[-1].servable
    assert stage.tier.counts["servable_same"] >= 1


@pytest.mark.parametrize(
    "said",
    [
        message("cut off in the", stop_reason="max_tokens"),
        message("ended", stop_reason="stop_sequence", stop_sequence="x"),
        message(
            "calling",
            content=[TextBlock(text="calling"), ToolUseBlock(id="", name="Read", input={})],
            stop_reason="tool_use",
        ),
        message("I'm sorry, but I can't help with that."),
        message(""),
    ],
)
async def test_only_whole_answers_become_sources(stage, said):
    await stage.answered(said=said)
    question, _ = await stage.find(ALIKE)
    assert question.candidate is None
    assert stage.tier.counts["not_kept"] == 1


async def test_a_source_whose_answer_is_gone_is_forgotten(stage):
    await stage.answered()
    await stage.answers.clear()
    await stage.answered(ALIKE)
    assert stage.tier.counts["gone"] == 1
    question, _ = await stage.find(QUESTION)
    assert question.candidate.known.question == ALIKE


async def test_a_source_whose_answer_is_gone_is_not_served(stage):
    await stage.trusted()
    await stage.answers.clear()
    _, found = await stage.find(QUESTION)
    assert found is None


async def test_without_a_vector_the_request_goes_on_and_nothing_is_learnt(stage):
    stage.embedding.out = True
    await stage.answered()
    assert stage.journal.rows == []
    assert len(stage.embedding.asked) == 1


async def test_a_bug_in_it_costs_no_request(stage, caplog):
    await stage.answered()

    def broken(*_):
        raise KeyError("bug")

    stage.judge = broken
    _, found = await stage.find(ALIKE)
    assert found is None
    assert stage.tier.counts["failed"] == 1
    assert "could not look" in caplog.text


async def test_the_model_has_the_last_word(tmp_path):
    said: list[tuple[str, str]] = []
    verdict = [True]

    async def agree(question, other) -> bool:
        said.append((question.text, other))
        return verdict[0]

    stage = Stage(tmp_path, agree=agree)
    await stage.trusted()
    assert stage.tier.counts["served"] > 0
    verdict[0] = False
    before = len(stage.outcomes())
    question, found = await stage.find(QUESTION)
    assert found is None
    assert said[-1][0] == QUESTION
    asked = len(said)
    await stage.learn(question, message("quite another thing"))
    assert len(said) == asked
    assert len(stage.outcomes()) == before
    assert stage.tier.counts["refused"] == 1


async def test_entries_outlive_their_time_nowhere(tmp_path):
    stage = Stage(tmp_path, ttl_s=100.0)
    await stage.trusted()
    stage.clock.advance(101)
    question, found = await stage.find(QUESTION)
    assert (found, question.candidate) == (None, None)


async def test_a_generation_in_flight_is_joined_rather(stage):
    question = stage.question()
    stage.pipeline._flights[question.key] = object()
    assert stage.question() is None


async def test_switched_off_there_is_no_question(stage):
    stage.pipeline.semantic = None
    assert stage.question() is None
