"""Whether the words that two texts share stand in the same places.

Each word has a role, the preposition that governs it. Some may go unsaid or stand for others, and
a phrase of where or with what may come first or last. Whatever else moves, asks something else.
"""

from collections import Counter
from collections.abc import Set as AbstractSet

from llmctl.semantic.reader import LITERAL, NEGATION, NUMBER, RELATION, WORD, Facts
from llmctl.semantic.tongue import ENGLISH

PLACES = frozenset({"in", "of"})
FLOATING = frozenset({NEGATION, RELATION})
"""Kinds of words whose place says nothing that what they belong to does not say."""
MODAL = frozenset({"should", "can", "will", "must"})
LINKS = frozenset({"", "in", "of", "to", "from", "with", "for", "by", "versus"})
"""Prepositions that may go unsaid: Python lists, lists in Python."""
ALIKE = [
    {"in", "with"}, {"in", "of"}, {"in", "from"}, {"in", "for"}, {"of", "from"}, {"of", "for"},
    {"of", "to"}, {"of", "by"}, {"to", "for"}, {"between", "from"}, {"between", "to"},
]  # fmt: skip
"""Prepositions that may stand for each other."""
AGENTS = frozenset({"by", "versus"})
TURNING = frozenset({"in", "with"})
"""Prepositions of phrases that may come first or last."""
SYMMETRIC = frozenset({"between"})
BOUND = frozenset({"with", "from", "for", "by"})
"""Prepositions that matter right behind the same word: train a dog, train with a dog."""


def out_of_place(a: Facts, b: Facts) -> str | None:
    """Return why it makes a difference where the words stand, None where it makes none."""
    if ENGLISH not in {a.language} & {b.language}:
        same = [word.text for word in a.words] == [word.text for word in b.words]
        return None if same else "order differs"
    if sorted(_exact(a)) == sorted(_exact(b)) and _exact(a) != _exact(b):
        return "order differs"
    if _repeated(a) != _repeated(b):
        return "order differs"
    roles_a, roles_b = _roles(a), _roles(b)
    terse = bool(a.asks) != bool(b.asks)
    if _swapped(roles_a, roles_b, terse=terse):
        return "direction differs"
    first_a, first_b = ({word.role for word in side.words[:1]} for side in (a, b))
    fronted = (first_a ^ first_b) & TURNING
    places = {word: place for place, word in enumerate(roles_b)}
    for role in {"", *roles_a.values()} - SYMMETRIC:
        order = [places[w] for w in roles_a if roles_a[w] == role == roles_b.get(w)]
        order = _turned(order) if role in fronted else order
        if order != sorted(order):
            return "order differs"
    return None


def _turned(places: list[int]) -> list[int]:
    """Return ``places`` begun at the least: in Go a list in a map, a list in a map in Go."""
    least = places.index(min(places)) if places else 0
    return places[least:] + places[:least]


def _exact(side: Facts) -> list[str]:
    """Return numbers and quotations, in order, that no preposition governs."""
    return [word.text for word in side.words if word.kind in {NUMBER, LITERAL} and not word.role]


def _repeated(side: Facts) -> Counter[tuple[str, str]]:
    """Return words that occur more than once, each with the word before it."""
    counted = Counter(word.text for word in side.words)
    before = ("", *(word.text for word in side.words))
    return Counter(
        (other, word.text)
        for other, word in zip(before, side.words, strict=False)
        if counted[word.text] > 1 and word.kind == WORD
    )


def _roles(side: Facts) -> dict[str, str]:
    """Return the role of each word that occurs once, in order."""
    counted = Counter(word.text for word in side.words)
    return {
        word.text: word.role
        for word in side.words
        if counted[word.text] == 1 and word.kind not in FLOATING and word.text not in MODAL
    }


def _swapped(a: dict[str, str], b: dict[str, str], *, terse: bool) -> bool:
    common = a.keys() & b.keys()
    changed = [word for word in common if a[word] != b[word]]
    for word in changed:
        if not _may_replace(a[word], b[word]) or (not terse and _is_bound(word, a, b)):
            return True
        if _is_agent_first(word, a, b, common) or _is_agent_first(word, b, a, common):
            return True
        if not terse and (_has_left(word, a, b) or _has_left(word, b, a)):
            return True
    return any(
        _change_places(word, other, a, b) for word in changed for other in changed if word != other
    )


def _is_bound(word: str, a: dict[str, str], b: dict[str, str]) -> bool:
    """Tell whether only a preposition has come between two words: train dogs, train with dogs."""
    if "" not in {a[word], b[word]} or not BOUND & {a[word], b[word]}:
        return False
    before = [list(side)[: list(side).index(word)][-1:] for side in (a, b)]
    return before[0] == before[1] != [] and a[before[0][0]] == b[before[0][0]]


def _has_left(word: str, bare: dict[str, str], linked: dict[str, str]) -> bool:
    """Tell whether a word belongs to another one in ``linked``: Python lists, lists in Python."""
    role = linked[word]
    if bare[word] or not role or role in AGENTS:
        return False
    group = list(linked)
    at = start = group.index(word)
    while start and linked[group[start - 1]] == role:
        start -= 1
    after = list(bare)[list(bare).index(word) + 1 :]
    for other in group[at + 1 :]:
        if after[:1] != [other] or linked[other] != role:
            break
        del after[0]
    is_first = next(iter(bare)) == word
    return bool(start and after) and not is_first and after[0] != group[start - 1]


def _may_replace(role: str, other: str) -> bool:
    return {role, other} in ALIKE or ("" in {role, other} and {role, other} <= LINKS)


def _change_places(word: str, other: str, a: dict[str, str], b: dict[str, str]) -> bool:
    """Tell whether two words have taken each other's place: list of dicts, dict of lists."""
    if a[word] and a[word] == b[other]:
        return True
    return not a[word] and not b[other] and {b[word], a[other]} <= PLACES


def _is_agent_first(
    word: str, passive: dict[str, str], active: dict[str, str], common: AbstractSet[str]
) -> bool:
    """Tell whether ``word``, who does it in one text, has it done to them in the other."""
    if passive[word] != "by" or active[word]:
        return False
    for other, role in active.items():
        if other == word:
            return False
        if not role and other in common and not passive[other]:
            return True
    return False
