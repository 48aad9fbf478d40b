"""Brings the words of a clause into one order: that of a plain active statement.

``How can two lists be merged`` merges two lists, an item that is damaged is a damaged item, and
``npm or yarn`` asks what ``yarn or npm`` asks. What then stands elsewhere means something else.
"""

from llmctl.semantic.scan import NUMBER, STOP, WORD, Raw
from llmctl.semantic.words import lexicon, stem

BE = frozenset({"is", "are", "am", "was", "were", "be", "been", "being", "get", "gets", "got"})
LEADING_BE = frozenset({"is", "are", "was", "were"})
RELATIVE = frozenset({"that", "which", "who"})
ASKING = frozenset({"which", "what", "whose", "whether"})
ALREADY = frozenset({"already", "currently", "now"})
THINGS = frozenset({"that", "which"})
HAVING = frozenset({"has", "have", "contain", "contains"})
CONDITIONS = frozenset({"when", "if", "while", "once", "because", "after", "before", "using"})
"""With them a clause begins that may come first or last."""
COMPARED = {
    **dict.fromkeys(("larger", "bigger", "greater", "more", "longer", "higher"), "over"),
    **dict.fromkeys(("smaller", "less", "fewer", "shorter", "lower"), "under"),
    "earlier": "before",
    "later": "after",
}
"""Before ``than`` and a number, or a time."""
TIMES = frozenset({"earlier", "later"})


def conditions_last(sentence: list[Raw]) -> list[Raw]:
    """Put a clause about when or if behind the one that it introduces."""
    kinds = [raw.kind for raw in sentence]
    if not sentence or sentence[0].text not in CONDITIONS or STOP not in kinds:
        return sentence
    comma = kinds.index(STOP)
    rest = sentence[comma + 1 :]
    return [*rest, *sentence[:comma]] if rest else sentence


def straightened(words: list[Raw], *, before: str = "") -> list[Raw]:
    """Return the words in plain order, alternatives sorted; ``before`` them stood a word."""
    found = _attributes_first(_prepositions(words))
    return _alternatives_sorted(_verbs_first(found, begun=before in LEADING_BE))


def _prepositions(words: list[Raw]) -> list[Raw]:
    """Write ``larger than`` before a number as ``over``, and ``that have`` as ``with``."""
    found: list[Raw] = []
    for at, raw in enumerate(words):
        before = found[-1].text if found else ""
        counted = at + 1 < len(words) and words[at + 1].kind == NUMBER
        if raw.text == "than" and before in COMPARED and (counted or before in TIMES):
            found[-1] = Raw(COMPARED[before], WORD)
        elif raw.text in HAVING and before in THINGS and at > 1 and not _is_perfect(words, at):
            found[-1] = Raw("with", WORD)
        else:
            found.append(raw)
    return found


def _is_perfect(words: list[Raw], at: int) -> bool:
    """Tell ``that has failed`` from ``that has errors``."""
    return at + 1 == len(words) or _is_participle(words[at + 1]) or words[at + 1].text in BE


def _verbs_first(words: list[Raw], *, begun: bool) -> list[Raw]:
    """Put each passive verb before what it is done to; ``begun`` with a form of be."""
    start = 0
    for at, raw in enumerate(words):
        if raw.kind == STOP or raw.text in ASKING:
            start, begun = at + 1, False
        elif raw.text in LEADING_BE and at == start:
            begun = True
        elif _is_participle(raw) and _ends_here(words, at + 1):
            if begun or (at > start and words[at - 1].text in BE):
                verb = words.pop(at)
                words.insert(start, verb._replace(text=stem(verb.text)))
            begun = False
    return words


def _attributes_first(words: list[Raw]) -> list[Raw]:
    """Put what is said of a thing after ``that is`` before it."""
    at = 1
    while at + 2 < len(words):
        said = words[at].text in RELATIVE and words[at + 1].text in LEADING_BE
        last = at + 2 + (words[at + 2].text in ALREADY)
        if said and words[at - 1].kind == WORD and _is_said(words, last):
            words[at - 1 : last + 1] = [*words[at + 2 : last + 1], words[at - 1]]
        at += 1
    return words


def _is_said(words: list[Raw], at: int) -> bool:
    raw = words[min(at, len(words) - 1)]
    return raw.kind == WORD and not _is_small(raw) and _ends_here(words, at + 1)


def _alternatives_sorted(words: list[Raw]) -> list[Raw]:
    for at in range(1, len(words) - 1):
        before, after = words[at - 1], words[at + 1]
        adverbs = (
            words[at].text == "and" and before.text.endswith("ly") and after.text.endswith("ly")
        )
        if not (words[at].text == "or" or adverbs) or before.kind != after.kind:
            continue
        if after.text > before.text:
            continue
        if not _is_small(before) and not _is_small(after):
            words[at - 1], words[at + 1] = after, before
    return words


def is_attribute(words: list[Raw], at: int) -> bool:
    """Tell ``a locked file`` from ``a file is locked``, and from ``who locked it``."""
    if not at or not _is_participle(words[at]) or _ends_here(words, at + 1):
        return False
    return words[at].text.endswith("ed") or _is_small(words[at - 1])


def _is_participle(raw: Raw) -> bool:
    if raw.kind != WORD or raw.text.endswith(("ing", "s")):
        return False
    return stem(raw.text) != raw.text and (raw.text.endswith("ed") or raw.text in lexicon().forms)


def _ends_here(words: list[Raw], at: int) -> bool:
    """Tell whether a phrase is over: nothing comes, or something that begins another."""
    return at >= len(words) or words[at].kind == STOP or _is_small(words[at])


def _is_small(raw: Raw) -> bool:
    known = lexicon()
    return raw.kind == WORD and (raw.text in known.stop or raw.text in known.prepositions)
