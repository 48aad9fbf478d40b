"""Counts against engines that the test makes up: a vocabulary and a template of their own."""

import itertools
import json
import random
import re
from statistics import median

import pytest
from hypothesis import given

from llmctl.protocol.anthropic import MessagesRequest
from llmctl.protocol.dialogue import entries
from llmctl.protocol.engine import ChatPlan, EngineModel
from llmctl.protocol.modeltokens import MAX_BLOCKS, SAMPLE_CHARS, SAMPLES
from llmctl.protocol.normal import normalise
from llmctl.protocol.request import decode_for_count
from llmctl.protocol.templates import go_json
from llmctl.protocol.tokens import (
    IMAGE_TOKENS,
    MAX_LEARNED,
    MAX_MODELS,
    MAX_VOCABULARIES,
    TokenCounter,
)
from llmctl.protocol.vocabulary import Vocabulary
from tests.bpe import show
from tests.claude_shapes import Call, encode, main_request, prose, title_request, tool_turn
from tests.unit.protocol.conversations import body, conversations, some

MODEL = EngineModel(
    name="qwen3-coder:30b",
    digest="sha256:1",
    capabilities=frozenset({"completion", "tools", "vision"}),
    family="qwen3moe",
    renderer="qwen3-coder",
)
UNKNOWN = EngineModel(
    name="m", digest="sha256:2", capabilities=frozenset({"completion", "tools", "vision"})
)
CODE = """\
    def merge(self, other: "Table", *, keep: bool = True) -> int:
        \"\"\"Take the rows of another table in; returns how many were new.\"\"\"
        added = 0
        for key, row in other._rows.items():
            if key not in self._rows or not keep:
                self._rows[key] = dict(row, seen_at=time.time())
                added += 1
        return added

"""


class Spied(Vocabulary):
    """A vocabulary that notes what it was asked to encode."""

    encoded: list[str]

    def count(self, text: str) -> int:
        self.encoded.append(text)
        return super().count(text)


class Syllables:
    """Counts about as many tokens as a real vocabulary of common size."""

    def count(self, text: str) -> int:
        return len(re.findall(r" ?[A-Za-z]{1,7}|\d|[^\w\s]{1,2}|_|\s+|[^\x00-\x7f]", text))


class Engine:
    """Reports what a prompt has in its own vocabulary and template, like none that llmctl knows."""

    def __init__(self, vocabulary: Vocabulary | Syllables) -> None:
        self._vocabulary = vocabulary

    def report(self, request: MessagesRequest, model: EngineModel) -> int:
        count = self._vocabulary.count
        said = entries(ChatPlan(request=request, model=model, num_ctx=None, max_tokens=1))
        total = 9 + sum(count(f"{entry.text}\n") + 6 + 3 * (entry.role == "tool") for entry in said)
        total += sum(count(go_json(call.arguments)) + 14 for entry in said for call in entry.calls)
        if request.tools:
            total += 70 + sum(
                count(json.dumps([tool.name, tool.description, tool.input_schema])) + 5
                for tool in request.tools
            )
        return total + (0 if request.system else 21)


def vocabulary(pre: str = "qwen2") -> Vocabulary:
    made = Vocabulary.from_ollama_show(show(pre))
    assert made is not None
    return made


def spied() -> Spied:
    made = Spied.from_ollama_show(show())
    assert made is not None
    made.encoded = []
    return made


def normal(request: dict) -> MessagesRequest:
    return normalise(decode_for_count(encode(request)))


def ask(text: str, **fields: object) -> MessagesRequest:
    turns = [{"role": "user", "content": text}]
    return normal({"model": "m", "max_tokens": 1, "messages": turns, **fields})


def conversation(seed: int, turns: int = 4) -> list[dict]:
    """Return the requests of a made-up session: files are read, some are written."""
    dice = random.Random(seed)
    request = main_request(f"Please look at module {seed}")
    requests = [request]
    for turn in range(turns):
        lines = (CODE + prose(900, start=seed)).splitlines()
        text = "\n".join(dice.sample(lines, dice.randint(4, len(lines))) * dice.randint(1, 9))
        call = Call(id=f"t{seed}-{turn}", name="Read", input={"file_path": text[:30]}, result=text)
        request = tool_turn(request, [call], text="Reading." if turn % 2 else "")
        requests.append(request)
    return requests


# -- with a vocabulary ---------------------------------------------------------------------------


def test_a_known_template_is_exact() -> None:
    vocab, counter = vocabulary(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    request = ask("Read two files", system="Be brief.")
    prompt = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nRead two files<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
    assert counter.count(request, MODEL) == vocab.count(prompt)


def test_a_turn_pays_for_its_new_text_only() -> None:
    vocab, counter = spied(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    first, second, third = map(normal, conversation(1, turns=2))
    counter.count(first, MODEL)
    assert sum(map(len, vocab.encoded)) > 60_000
    for request in (second, third):
        vocab.encoded.clear()
        counter.count(request, MODEL)
        new = request.messages[-1].content[0]
        assert sum(map(len, vocab.encoded)) < len(new.content[0].text) + 300
    vocab.encoded.clear()
    counter.count(third, MODEL)
    assert vocab.encoded == []


def test_in_a_hurry_long_new_text_is_sampled_until_it_was_counted() -> None:
    vocab, counter = spied(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    request = ask(prose(60_000) + CODE * 20, system="Be brief.")
    hurried = counter.measure(request, MODEL, hurry=True)
    assert hurried.sampled
    assert sum(map(len, vocab.encoded)) <= SAMPLES * SAMPLE_CHARS + 200
    exact = counter.measure(request, MODEL)
    assert not exact.sampled
    assert hurried.tokens == pytest.approx(exact.tokens, rel=0.1)
    vocab.encoded.clear()
    assert counter.measure(request, MODEL, hurry=True) == exact
    assert vocab.encoded == []


@pytest.mark.parametrize("pieces", [1, 100])
def test_a_hurry_is_over_in_no_time_however_the_text_is_spread(pieces: int) -> None:
    vocab, counter = spied(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    words = prose(120_000)
    size = len(words) // pieces
    said = [words[start : start + size] for start in range(0, len(words), size)]
    turns = [
        {"role": role, "content": text}
        for role, text in zip(itertools.cycle(("user", "assistant")), said, strict=False)
    ]
    request = normal({"model": "m", "max_tokens": 9, "messages": turns})
    hurried = counter.measure(request, MODEL, hurry=True)
    assert sum(map(len, vocab.encoded)) <= 2 * SAMPLES * SAMPLE_CHARS + 200
    assert hurried.tokens == pytest.approx(counter.count(request, MODEL), rel=0.05)


@pytest.mark.parametrize("known", [True, False])
def test_a_hurry_does_not_hurt_short_texts(known: bool) -> None:
    counter = TokenCounter()
    counter.install(MODEL.digest, vocabulary() if known else None)
    request = ask(CODE, system="Be brief.")
    hurried = counter.measure(request, MODEL, hurry=True)
    assert hurried == counter.measure(request, MODEL)
    assert not hurried.sampled


def test_a_hurry_without_a_vocabulary() -> None:
    counter, request = TokenCounter(), ask(prose(60_000))
    hurried = counter.measure(request, MODEL, hurry=True)
    assert hurried.sampled
    assert hurried.tokens == pytest.approx(counter.count(request, MODEL), rel=0.05)


def test_a_new_prompt_over_the_same_tools_does_not_pay_for_them() -> None:
    vocab, counter = spied(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    counter.count(normal(main_request("one")), MODEL)
    vocab.encoded.clear()
    counter.count(normal(main_request("another")), MODEL)
    assert sum(map(len, vocab.encoded)) < 7000


def test_tools_that_changed_are_counted_again() -> None:
    counter = TokenCounter()
    counter.install(MODEL.digest, vocabulary())
    tools = main_request()["tools"]
    counts = {counter.count(ask("x", tools=tools[:number]), MODEL) for number in (1, 2, 3)}
    assert len(counts) == 3


def test_texts_beyond_the_limit_are_forgotten_and_counted_again() -> None:
    vocab, counter = spied(), TokenCounter()
    counter.install(MODEL.digest, vocab)
    counter.count(ask("the first"), MODEL)
    for number in range(MAX_BLOCKS):
        counter.count(ask(f"number {number}"), MODEL)
    vocab.encoded.clear()
    counter.count(ask("the first"), MODEL)
    assert any("the first" in text for text in vocab.encoded)


def test_without_the_capability_tools_are_not_sent_and_not_counted() -> None:
    counter = TokenCounter()
    counter.install("d", vocabulary())
    plain = EngineModel(name="m", digest="d", capabilities=frozenset({"completion"}))
    with_tools, without = ask("x", tools=main_request()["tools"]), ask("x")
    assert counter.count(with_tools, plain) == counter.count(without, plain)


def test_the_begin_token_is_counted() -> None:
    with_begin, without = TokenCounter(), TokenCounter()
    for counter, begins in ((with_begin, True), (without, False)):
        counter.install("sha256:2", Vocabulary.from_ollama_show(show(add_bos_token=begins)))
    assert with_begin.count(ask("x"), UNKNOWN) == without.count(ask("x"), UNKNOWN) + 1


@some
@given(conversations())
def test_no_conversation_is_too_odd(turns) -> None:
    counter, bare = TokenCounter(), TokenCounter()
    counter.install(MODEL.digest, vocabulary())
    for one in (counter, bare):
        shorter = normal(body(turns))
        before = one.measure(shorter, MODEL)
        longer = [*turns, {"role": "assistant", "content": "So"}, {"role": "user", "content": "Go"}]
        after = one.measure(normal(body(longer)), MODEL)
        assert 1 <= before.least <= before.tokens
        assert before.tokens < after.tokens


# -- learning ------------------------------------------------------------------------------------


@pytest.mark.parametrize("pre", ["qwen2", "gpt-2"])
def test_an_unknown_template_is_learned_from_a_few_reports(pre: str) -> None:
    vocab, counter = vocabulary(pre), TokenCounter()
    engine = Engine(vocab)
    counter.install(UNKNOWN.digest, vocab)
    for request in map(normal, [*conversation(1), title_request("a title"), *conversation(2)]):
        counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    errors = [
        counter.count(request, UNKNOWN) / engine.report(request, UNKNOWN) - 1
        for request in map(normal, [*conversation(7), *conversation(8), title_request("other")])
    ]
    assert median(map(abs, errors)) < 0.005
    assert min(errors) > -0.01


def test_estimates_calibrate_on_reports() -> None:
    counter, engine = TokenCounter(), Engine(Syllables())
    held_back = [normal(request) for seed in range(20, 24) for request in conversation(seed)]
    truth = [engine.report(request, UNKNOWN) for request in held_back]

    def errors() -> list[float]:
        counts = [counter.count(request, UNKNOWN) for request in held_back]
        return [count / exact - 1 for count, exact in zip(counts, truth, strict=True)]

    before = median(map(abs, errors()))
    for seed in range(4):
        for request in map(normal, conversation(seed)):
            counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    assert median(map(abs, errors())) < min(before, 0.01)
    assert min(errors()) > -0.02


def test_an_engine_like_no_other_is_learned_too() -> None:
    """Three times the usual number of tokens is not believed at first, and then it is."""
    counter, engine = TokenCounter(), Engine(vocabulary())
    for seed in range(4):
        for request in map(normal, conversation(seed)):
            counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    for request in map(normal, conversation(30)):
        exact = engine.report(request, UNKNOWN)
        assert counter.count(request, UNKNOWN) == pytest.approx(exact, rel=0.02)


def test_what_the_first_report_taught_holds_for_the_next_turn() -> None:
    counter, engine = TokenCounter(), Engine(Syllables())
    first, second = map(normal, conversation(3, turns=1))
    counter.learn(first, UNKNOWN, engine.report(first, UNKNOWN))
    exact = engine.report(second, UNKNOWN)
    assert TokenCounter().count(second, UNKNOWN) != pytest.approx(exact, rel=0.05)
    assert counter.count(second, UNKNOWN) == pytest.approx(exact, rel=0.02)


def test_a_report_far_out_is_ignored_and_so_is_none() -> None:
    counter, engine = TokenCounter(), Engine(vocabulary())
    request = normal(main_request())
    for _ in range(3):
        counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    before = counter.count(request, UNKNOWN)
    for reported in (0, -1, 30, 2_000_000):
        counter.learn(request, UNKNOWN, reported)
    assert counter.count(request, UNKNOWN) == before


def test_images_count_and_teach_nothing() -> None:
    counter = TokenCounter()
    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
    }
    plain = ask("look")
    pictured = normal(
        {
            "model": "m",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "look"}, image]}],
        }
    )
    before = counter.measure(plain, UNKNOWN)
    with_image = counter.measure(pictured, UNKNOWN)
    assert with_image.tokens == before.tokens + IMAGE_TOKENS
    assert with_image.least == before.least
    counter.learn(pictured, UNKNOWN, 5000)
    assert counter.measure(plain, UNKNOWN) == before


# -- several models, and state -------------------------------------------------------------------


def test_models_are_learned_apart() -> None:
    counter, engine = TokenCounter(), Engine(vocabulary())
    request = normal(main_request())
    other = EngineModel(name="n", digest="sha256:3", capabilities=UNKNOWN.capabilities)
    before = counter.count(request, other)
    for _ in range(3):
        counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    assert counter.count(request, other) == before != counter.count(request, UNKNOWN)


def test_a_vocabulary_takes_over_and_can_be_taken_back() -> None:
    counter, vocab = TokenCounter(), vocabulary()
    request = ask(CODE * 20)
    estimated = counter.count(request, MODEL)
    assert not counter.has_vocabulary(MODEL.digest)
    counter.install(MODEL.digest, vocab)
    assert counter.has_vocabulary(MODEL.digest)
    assert counter.count(request, MODEL) != estimated
    counter.install(MODEL.digest, None)
    assert not counter.has_vocabulary(MODEL.digest)
    assert counter.count(request, MODEL) == estimated


def test_only_the_vocabularies_used_last_are_kept() -> None:
    counter, vocab = TokenCounter(), vocabulary()
    digests = [f"d{number}" for number in range(MAX_VOCABULARIES + 1)]
    for digest in digests[:-1]:
        counter.install(digest, vocab)
    counter.count(ask("x"), EngineModel(name="m", digest=digests[0]))
    counter.install(digests[-1], vocab)
    kept = [digest for digest in digests if counter.has_vocabulary(digest)]
    assert kept == [digests[0], *digests[2:]]


def test_what_was_learned_survives_a_restart() -> None:
    counter, engine = TokenCounter(), Engine(vocabulary())
    for request in map(normal, conversation(1)):
        counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    state = json.dumps(counter.export_state())
    assert len(state) < 4000
    restarted = TokenCounter()
    restarted.load_state(json.loads(state))
    new = ask(CODE * 40)
    assert restarted.count(new, UNKNOWN) == pytest.approx(counter.count(new, UNKNOWN), rel=0.02)
    assert restarted.count(new, UNKNOWN) != TokenCounter().count(new, UNKNOWN)
    assert json.loads(state) == restarted.export_state()


def test_learned_weights_of_models_out_of_sight_are_kept() -> None:
    counter, engine = TokenCounter(), Engine(vocabulary())
    request = ask(CODE * 40)
    counter.learn(request, UNKNOWN, engine.report(request, UNKNOWN))
    taught = counter.count(request, UNKNOWN)
    for number in range(MAX_MODELS):
        counter.count(request, EngineModel(name="m", digest=f"d{number}"))
    assert counter.count(request, UNKNOWN) == pytest.approx(taught, rel=0.03)
    for number in range(MAX_LEARNED + MAX_MODELS):
        counter.count(request, EngineModel(name="m", digest=f"e{number}"))
    assert len(counter.export_state()["models"]) <= MAX_LEARNED
    assert counter.count(request, UNKNOWN) == TokenCounter().count(request, UNKNOWN)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"version": 0, "models": {"sha256:2": {"mean": [9.0], "spread": [1.0]}}},
        {"version": 1, "models": []},
        {"version": 1, "models": {"sha256:2": None}},
        {"version": 1, "models": {"sha256:2": {"mean": [9.0], "spread": [1.0]}}},
    ],
)
def test_state_that_does_not_fit_is_ignored(state: dict) -> None:
    counter = TokenCounter()
    counter.load_state(state)
    assert counter.count(ask("hello"), UNKNOWN) == TokenCounter().count(ask("hello"), UNKNOWN)


def test_defaults_are_of_the_right_size() -> None:
    """Rough sizes any modern vocabulary gives: 4 characters a token in prose, 1.5 in Chinese."""
    counter = TokenCounter()
    for text, chars_per_token in (
        (prose(8000), 4.3),
        (CODE * 20, 3.9),
        ("漢字の文章。" * 400, 1.0),
    ):
        count = counter.count(ask(text, system="s"), UNKNOWN)
        assert count == pytest.approx(len(text) / chars_per_token, rel=0.25)


def test_count_follows_the_length_of_a_text() -> None:
    counter = TokenCounter()
    counts = [counter.count(ask(CODE * times), UNKNOWN) for times in range(1, 30)]
    assert all(a < b for a, b in itertools.pairwise(counts))
