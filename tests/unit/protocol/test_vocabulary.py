import random

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from llmctl.protocol.excerpt import MOST_PIECES, PIECE_CHARS
from llmctl.protocol.pretokenizers import PATTERNS
from llmctl.protocol.vocabulary import Vocabulary
from tests.bpe import CORPUS, show, textbook_count

DISTINCT = {pattern: name for name, pattern in reversed(PATTERNS.items())}
"""One name for each pattern there is."""

SAMPLES = (
    CORPUS,
    "I'LL, it's WE'VE they'd 'Tis don’t",
    "1 22 333 4444 55555 1234567890 3.14 0x1F ١٢٣٤٥ ½²",
    "a  b   c    d\n\n\n  e \t f\r\n\r\n g \n",
    "漢字カナ、テスト 한국어 Привет café naïve tiếng हिन्दी",
    "🙂🙂👍🏽 👨‍👩‍👧 →✓ “…” —",
    "if (x!=3){return [1,2];} //done\n\t\t#!/bin/sh;;;===---",
    "HTTPServer getHTTPResponse2x camelCase snake_case UPPER",
    "trailing   ",
    "\n",
    "",
)

GOLDEN = {
    "deepseek-v3": (308, 31, 53, 24, 42, 30, 36, 32, 10, 1, 0),
    "tekken": (315, 31, 55, 24, 45, 30, 36, 32, 10, 1, 0),
    "gpt-4o": (308, 28, 53, 24, 45, 30, 36, 32, 10, 1, 0),
    "llama-bpe": (310, 31, 53, 24, 45, 30, 36, 32, 10, 1, 0),
    "seed-coder": (312, 31, 55, 24, 45, 30, 36, 32, 10, 1, 0),
    "qwen35": (308, 31, 55, 24, 42, 30, 36, 32, 10, 1, 0),
    "qwen2": (312, 31, 55, 24, 45, 30, 36, 32, 10, 1, 0),
    "smollm": (318, 31, 55, 24, 47, 30, 36, 32, 10, 1, 0),
    "gpt-2": (307, 31, 45, 24, 47, 30, 36, 32, 10, 1, 0),
}
"""Tokens of ``SAMPLES``; the integration test asks llama.cpp the same."""

letters = st.sampled_from(
    "abdehlrstvx ADEHLRSTVX'  \n\r\t0123456789.,;:!?/()[]{}<>=-_&#é漢カ한Пर्\u200d🙂²½\u00a0"
)
texts = st.lists(letters | st.sampled_from([CORPUS[n : n + 9] for n in range(0, 400, 7)])).map(
    "".join
)


def vocabulary(pre: str = "qwen2", **more: object) -> Vocabulary:
    made = Vocabulary.from_ollama_show(show(pre, **more))
    assert made is not None
    return made


@pytest.mark.parametrize("pre", DISTINCT.values())
def test_counts_are_llama_cpps(pre: str) -> None:
    counter = vocabulary(pre)
    assert tuple(map(counter.count, SAMPLES)) == GOLDEN[pre]


@pytest.mark.parametrize("pre", DISTINCT.values())
def test_merging_is_the_textbooks(pre: str) -> None:
    counter = vocabulary(pre)

    @settings(max_examples=15, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        assert counter.count(text) == textbook_count(text, PATTERNS[pre])

    check()


@pytest.mark.parametrize("pattern", DISTINCT)
def test_patterns_skip_nothing(pattern: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(st.text() | texts)
    def check(text: str) -> None:
        assert "".join(regex.findall(pattern, text, regex.V1)) == text

    check()


def test_special_tokens_are_one_each_wherever_they_stand() -> None:
    counter = vocabulary()
    assert counter.count("<|im_start|>") == 1
    assert counter.count("a<|im_end|>a<tool_call>") == 4
    assert counter.count("<|im_star|>") > 3
    assert counter.special == {
        "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pre", "stated", "tokens"),
    [
        ("qwen2", None, 0),
        ("qwen2", True, 1),
        ("llama-bpe", None, 1),
        ("llama-bpe", False, 0),
    ],
)
def test_begin_token_is_the_metadatas_or_else_the_pre_tokenizers(
    pre: str, stated: bool | None, tokens: int
) -> None:
    assert vocabulary(pre, add_bos_token=stated).begin_tokens == tokens


@pytest.mark.parametrize(
    "more",
    [
        {"pre": "unheard-of"},
        {"pre": None},
        {"model": "llama"},
        {"model": "bert"},
        {"tokens": None},
        {"merges": None},
        {"merges": []},
        {"token_type": None},
        {"token_type": [1, 1]},
        {"merges": ["a b", "ab zz"]},
        {"merges": ["\u2581 a"], "tokens": ["\u2581", "a", "\u2581a"], "token_type": [1, 1, 1]},
        {"merges": [" "], "tokens": [""], "token_type": [1]},
        {"merges": [["a", "b"]]},
        {"merges": "a b"},
        {"tokens": [1, 2], "token_type": [1, 1]},
        {"tokens": ["a", "b"], "token_type": ["1", "1"]},
    ],
)
def test_none_where_counts_could_not_be_exact(more: dict[str, object]) -> None:
    assert Vocabulary.from_ollama_show(show(**{"pre": "qwen2"} | more)) is None


def test_none_for_a_model_info_without_a_tokenizer() -> None:
    assert Vocabulary.from_ollama_show({"general.architecture": "qwen3moe"}) is None


def test_a_token_made_by_two_merges_keeps_the_first_rank() -> None:
    merges = ["a b", "b c", "ab c", "a bc"]
    tokens = [*show()["tokenizer.ggml.tokens"][:256], "ab", "bc", "abc"]
    counter = vocabulary(tokens=tokens, merges=merges, token_type=[1] * len(tokens))
    assert [counter.count(text) for text in ("ab", "bc", "abc", "abcbc", "acb")] == [1, 1, 1, 2, 3]


def test_the_source_lists_are_taken_over() -> None:
    info = show()
    Vocabulary.from_ollama_show(info)
    assert not {"tokenizer.ggml.tokens", "tokenizer.ggml.merges"} & info.keys()


@pytest.mark.parametrize("pre", ["qwen2", "smollm", "deepseek-v3"])
def test_endless_white_space_does_not_overflow_the_regular_expressions(pre: str) -> None:
    assert 0 < vocabulary(pre).count(" " * 6 * PIECE_CHARS + "x") < 6 * PIECE_CHARS


@pytest.mark.parametrize("run", ["\n", " \n", "a", "'", "🙂"])
def test_endless_runs_of_anything_are_counted(run: str) -> None:
    text = run * (PIECE_CHARS // len(run)) + "x"
    assert 0 < vocabulary().count(text) <= len(text.encode())


def test_a_very_long_text_is_inferred_from_a_part() -> None:
    counter = vocabulary()
    words = ["return ", "Привет, ", "x != 3.14\n", "one two ", "café "]
    text = "".join(random.Random(1).choices(words, k=300_000))
    exact = sum(
        counter.count(text[at : at + PIECE_CHARS]) for at in range(0, len(text), PIECE_CHARS)
    )
    assert len(text) > MOST_PIECES * PIECE_CHARS
    assert abs(counter.count(text) / exact - 1) < 0.005


def test_half_a_surrogate_pair_is_counted_like_any_other_flaw() -> None:
    assert vocabulary().count("a\ud83dz") >= 3
