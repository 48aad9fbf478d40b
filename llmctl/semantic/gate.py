"""Whether two questions may mean the same, judged by what they name and how they are put.

Two short questions that mean the same name the same things. Whatever of one has no counterpart in
the other is evidence against, however near their vectors are: ``turn on`` and ``turn off``, Paris
and Lyon, 2 and 3. So words are taken down to what they stand for, and a pair passes only where
nothing of weight is left over and nothing has changed places.
"""

import re
from collections import Counter

from msgspec import Struct

from llmctl.semantic.position import out_of_place
from llmctl.semantic.reader import (
    LITERAL,
    NAME,
    NEGATION,
    NUMBER,
    QUANTITY,
    RELATION,
    WORD,
    Facts,
    Word,
    facts,
)
from llmctl.semantic.words import lexicon

MOST_LIGHT = 2
"""Words that carry little, on one side only, that a pair may have left over."""
EITHER_WAY = "difference"
"""The kind of question whose arguments may change places."""
TIMED = (("how",), ("how it does",), ("why",))
"""Kinds of question that are not asked without saying when."""
OPEN = frozenset({("how",), ("what",)})
"""Kinds of question that may be put without saying so."""
ADDRESSED = "second"
FEWEST_LETTERS = 5
"""A shorter word with two letters exchanged is often another."""
MOST_SLIPS = 4
DOUBLE = re.compile(r"(.)\1")
NAMED = {
    NUMBER: "numbers differ",
    LITERAL: "code or quotations differ",
    NEGATION: "negations differ",
    QUANTITY: "quantities differ",
    RELATION: "relations differ",
    NAME: "names differ",
}


class Comparison(Struct, frozen=True, kw_only=True):
    """How two texts differ."""

    reason: str | None
    """Why they cannot mean the same, None where they may."""
    common: int
    """Words they share."""
    heavy: int
    """Words of weight that one has and the other has not."""


def conflict(a: Facts, b: Facts) -> str | None:
    """Return why two texts cannot mean the same, None where they may. Symmetric."""
    return compare(a, b).reason


def plainly_differ(a: Facts, b: Facts) -> bool:
    """Tell at little cost whether two texts conflict; where they seem not to, ask ``conflict``."""
    return (_manner(a, b) or _kind_of_difference(*_left_over(a, b))) is not None


def compare(a: Facts, b: Facts) -> Comparison:
    """Return how two texts differ. Symmetric."""
    left_a, left_b = _left_over(a, b)
    reason = _manner(a, b) or _kind_of_difference(left_a, left_b)
    soft, left_a, left_b = _soft_matches(left_a, left_b)
    light = sum(_is_light(word) for word in (*left_a, *left_b))
    heavy = len(left_a) + len(left_b) - light
    if reason is None:
        reason = _words_left(left_a, left_b, light=light)
    if reason is None and not _either_way(a, b):
        reason = out_of_place(a, b)
    common = min(len(a.words) - len(left_a), len(b.words) - len(left_b)) - soft
    return Comparison(reason=reason, common=common, heavy=heavy)


def _manner(a: Facts, b: Facts) -> str | None:
    """Return what differs in the way two texts are put."""
    if a.language != b.language:
        return "languages differ"
    if not _same_request(a, b):
        return "requests differ"
    if not _same_time(a, b):
        return "tenses differ"
    if _other_persons(a, b):
        return "persons differ"
    if _denied(a, b):
        return "negations differ"
    return "numbers differ" if _other_number(a, b) else None


def _other_persons(a: Facts, b: Facts) -> bool:
    """Tell ``sends me`` from ``I send``, and ours from theirs."""
    if ADDRESSED in a.persons ^ b.persons or a.done_to != b.done_to:
        return True
    return bool(a.owners and b.owners) and a.owners != b.owners


def _other_number(a: Facts, b: Facts) -> bool:
    """Tell the argument from the arguments; a list and lists are the same."""
    return any((text, not several) in b.definite for text, several in a.definite - b.definite)


def _same_request(a: Facts, b: Facts) -> bool:
    """Tell whether two texts ask for the same kind of answer; bare keywords leave some open."""
    return a.asks == b.asks or (not (a.asks and b.asks) and (a.asks or b.asks) in OPEN)


def _denied(a: Facts, b: Facts) -> bool:
    """Tell whether two texts of several clauses deny different words."""
    denied_a, denied_b = (
        {word.role for word in each.words if word.kind == NEGATION and word.role} for each in (a, b)
    )
    return bool(denied_a and denied_b) and denied_a != denied_b


def _kind_of_difference(left_a: list[Word], left_b: list[Word]) -> str | None:
    kinds = {word.kind for word in (*left_a, *left_b) if not _is_light(word)}
    return next((reason for kind, reason in NAMED.items() if kind in kinds), None)


def _words_left(left_a: list[Word], left_b: list[Word], *, light: int) -> str | None:
    if left_a and left_b:
        return "words differ"
    if light > MOST_LIGHT or light < len(left_a) + len(left_b):
        return "one says more"
    return None


def _same_time(a: Facts, b: Facts) -> bool:
    """Tell whether both or none speak of the past, and of the future; silence goes with either."""
    if not (a.tenses and b.tenses) and a.asks not in TIMED:
        return True
    return all((tense in a.tenses) == (tense in b.tenses) for tense in ("past", "future"))


def _left_over(a: Facts, b: Facts) -> tuple[list[Word], list[Word]]:
    counted_a, counted_b = (Counter(word.text for word in each.words) for each in (a, b))
    left_a = _beyond(a.words, counted_a - counted_b)
    left_b = _beyond(b.words, counted_b - counted_a)
    if _either_way(a, b) and not (left_a and left_b):
        # a Docker image and a Docker container are a Docker image and a container
        left_a = [word for word in left_a if word.text not in counted_b]
        left_b = [word for word in left_b if word.text not in counted_a]
    for word in left_a[:] if max(len(left_a), len(left_b)) <= MOST_SLIPS else ():
        meant = next((other for other in left_b if _is_misspelt(word, other)), None)
        if meant is not None:
            left_a.remove(word)
            left_b.remove(meant)
    return left_a, left_b


def _is_misspelt(word: Word, other: Word) -> bool:
    """Tell two letters that changed places, and a double letter that is single."""
    a, b = word.text, other.text
    if not {word.kind, other.kind} <= {WORD, NAME} or min(len(a), len(b)) < FEWEST_LETTERS:
        return False
    if a[0] != b[0] or {a, b} in lexicon().confused:
        return False
    if len(a) != len(b):
        return DOUBLE.sub(r"\1", a) == DOUBLE.sub(r"\1", b)
    wrong = [at for at in range(len(a)) if a[at] != b[at]]
    return (
        len(wrong) == 2
        and wrong[1] - wrong[0] == 1
        and a[wrong[0]] == b[wrong[1]]
        and (a[wrong[1]] == b[wrong[0]])
    )


def _either_way(a: Facts, b: Facts) -> bool:
    return EITHER_WAY in a.asks and EITHER_WAY in b.asks


def _beyond(words: tuple[Word, ...], extra: Counter[str]) -> list[Word]:
    found = []
    for word in words if extra else ():
        if extra[word.text] > 0:
            extra[word.text] -= 1
            found.append(word)
    return found


def _is_light(word: Word) -> bool:
    return word.text in lexicon().light


def _soft_matches(a: list[Word], b: list[Word]) -> tuple[int, list[Word], list[Word]]:
    """Pair words that mean nearly the same; returns how many pairs and what is left."""
    if a > b:
        soft, left_b, left_a = _soft_matches(b, a)
        return soft, left_a, left_b
    groups = lexicon().soft
    left_a, left_b = [], sorted(b)
    for word in sorted(a):
        lines = groups.get(word.text, frozenset())
        other = next((w for w in left_b if lines & groups.get(w.text, frozenset())), None)
        if other is None:
            left_a.append(word)
        else:
            left_b.remove(other)
    return len(a) - len(left_a), left_a, left_b


__all__ = [
    "Comparison",
    "Facts",
    "Word",
    "compare",
    "conflict",
    "facts",
    "plainly_differ",
]
