"""Whether two answers of an engine amount to the same: the label of an observed outcome.

Wrong labels cost differently. Taking different answers for the same hides the tier's errors, taking
the same for different only keeps it from serving; so in doubt two answers differ.
"""

import re
from bisect import bisect_left
from collections import Counter
from typing import NamedTuple

from llmctl.semantic.reader import LITERAL, NEGATION, NUMBER, Word, facts

FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)(?:^[ \t]*```[^\S\n]*$|\Z)", re.DOTALL | re.MULTILINE)
MARKS = re.compile(r"[*#>|]+|^[ \t]*(?:[-+]|\d+[.)])[ \t]", re.MULTILINE)
LEAD = re.compile(r"\W*(yes|no|correct|incorrect|true|false)\b", re.IGNORECASE)
PRO = frozenset({"yes", "correct", "true"})
ENOUGH = 0.6
"""Share of all their words that two answers must have in common."""
ENOUGH_AROUND_CODE = 0.4
"""The same where what they say is mostly code, which is equal."""
IN_ORDER = 0.6
"""Share of the words in common that must stand in the same order."""
SHORT = 25
"""Words up to which an answer has to be a part of the other: ``Paris`` of a sentence about it."""


class Said(NamedTuple):
    """What an answer says."""

    code: list[str]
    lead: bool | None
    """Whether it begins with yes, or with no."""
    exact: Counter[str]
    """Numbers, names of things in code, quotations."""
    negations: int
    words: list[str]


def same_answer(a: str, b: str) -> bool:
    """Return whether ``a`` and ``b`` say the same. Symmetric; in doubt they do not."""
    if _squeezed(a) == _squeezed(b):
        return bool(a.strip() and b.strip())
    first, second = _said(a), _said(b)
    if first.code != second.code or first.lead != second.lead:
        return False
    if first.negations != second.negations:
        return False
    less, more = sorted((first, second), key=lambda said: len(said.words))
    if len(more.words) > SHORT:
        same = set(less.exact) == set(more.exact) and _share_enough(less, more)
    else:
        same = bool(less.words) and set(less.words) <= set(more.words)
    return same and _in_order(less, more)


def _share_enough(a: Said, b: Said) -> bool:
    words_a, words_b = set(a.words), set(b.words)
    enough = ENOUGH_AROUND_CODE if a.code else ENOUGH
    return len(words_a & words_b) >= enough * len(words_a | words_b)


def _in_order(a: Said, b: Said) -> bool:
    places = {word: place for place, word in enumerate(dict.fromkeys(b.words))}
    order = [places[word] for word in dict.fromkeys(a.words) if word in places]
    return longest_rise(order) >= IN_ORDER * len(order)


def _said(text: str) -> Said:
    prose = MARKS.sub(" ", FENCE.sub(" ", text))
    lead = LEAD.match(prose)
    words = facts(prose).words
    return Said(
        code=["".join(block.split()) for block in FENCE.findall(text)],
        lead=None if lead is None else lead[1].lower() in PRO,
        exact=Counter(word.text for word in words if _is_exact(word)),
        negations=sum(word.kind == NEGATION for word in words),
        words=[word.text for word in words],
    )


def _is_exact(word: Word) -> bool:
    return word.kind in {NUMBER, LITERAL}


def _squeezed(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".")


def longest_rise(places: list[int]) -> int:
    """Return how many of ``places`` already stand in rising order."""
    ends: list[int] = []
    for place in places:
        at = bisect_left(ends, place)
        ends[at : at + 1] = [place]
    return len(ends)
