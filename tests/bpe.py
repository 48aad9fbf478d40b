"""A byte-level vocabulary trained in the test, and the textbook encoder to compare with.

It is trained across spaces, digits and punctuation, so that a pre-tokenizer that cuts in the wrong
place changes counts.
"""

import itertools
from collections import Counter
from functools import cache
from typing import Any

import regex

from tests.emulators.vocabulary import byte_letters

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<tool_call>", "</tool_call>"]

CORPUS = (
    "I'll say it's 1234567 o'clock, won't you? We've DON'T-know HTTPServer getHTTPResponseCode2x. "
    "def parse(self, x=10):\n    if x != 3.14:\n        return {'a': [1, 22, 333]}  # done\n\n\n"
    "Привет, мир! Как дела? Ελληνικά και αγγλικά. 漢字カナひらがな、日本語の文章。한국어 문장입니다. "
    "naïve café — “quoted”… →→ ✓ 🙂🙂👍🏽 ١٢٣ ½ x²\t\ttab\r\nwindows\r\n  \n   indent (a)/(b) //path/to/x;\n"
    "हिन्दी में पाठ ไทย tiếng Việt ###===--- ;;; ... !!! <tag attr='v'>&amp;</tag> A1B2 3c4D 0x1F "
)
LONGEST = 6
"""Bytes of a token: short ones, so that there are many and every cut parts some."""


@cache
def merges() -> tuple[tuple[str, str], ...]:
    """Return the most frequent pairs of the corpus in the order of training."""
    letters = byte_letters()
    symbols = [letters[byte] for byte in CORPUS.encode()]
    learned: list[tuple[str, str]] = []
    while True:
        pairs = Counter(
            pair for pair in itertools.pairwise(symbols) if len("".join(pair)) <= LONGEST
        )
        if not pairs:
            return tuple(learned)
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        learned.append(best)
        symbols = _merged(symbols, best)


def show(pre: str = "qwen2", **more: Any) -> dict[str, Any]:
    """Return ``model_info`` of a verbose ``/api/show``; ``more`` overrides its keys."""
    tokens = list(dict.fromkeys([*byte_letters(), *("".join(pair) for pair in merges())]))
    kinds = [1] * len(tokens) + [3] * len(CONTROL) + [4] * len(USER_DEFINED)
    info = {
        "model": "gpt2",
        "pre": pre,
        "tokens": [*tokens, *CONTROL, *USER_DEFINED],
        "token_type": kinds,
        "merges": [" ".join(pair) for pair in merges()],
        "add_bos_token": False,
    }
    return {f"tokenizer.ggml.{key}": value for key, value in (info | more).items()}


def textbook_count(text: str, pattern: str) -> int:
    """Count tokens by the definition: cut, then merge the pair that was learned first, again."""
    ranks = {pair: rank for rank, pair in enumerate(merges())}
    letters = byte_letters()
    special = regex.compile("|".join(map(regex.escape, CONTROL + USER_DEFINED)))
    plain = special.split(text)
    count = len(plain) - 1
    for piece in itertools.chain(*(regex.findall(pattern, part, regex.V1) for part in plain)):
        symbols = [letters[byte] for byte in piece.encode()]
        while known := [pair for pair in itertools.pairwise(symbols) if pair in ranks]:
            symbols = _merged(symbols, min(known, key=ranks.__getitem__))
        count += len(symbols)
    return count


def _merged(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in symbols:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged
