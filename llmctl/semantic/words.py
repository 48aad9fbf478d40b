"""What single words mean: forms, synonyms, and which words carry nothing.

The tables are in ``lexicon.txt``. English only; words of other languages stand for themselves.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from llmctl.semantic.tables import table

VOWELS = frozenset("aeiouy")
Phrase = tuple[str, ...]


class Lexicon(NamedTuple):
    """The tables, in stems."""

    forms: dict[str, str]
    synonyms: dict[str, str]
    phrases: dict[str, list[tuple[Phrase, str]]]
    """By first stem, the longest first: the other stems and the word they amount to."""
    soft: dict[str, frozenset[int]]
    """Lines of loose synonyms a word is in."""
    light: frozenset[str]
    stop: frozenset[str]
    numbers: dict[str, str]
    negations: dict[str, str]
    quantities: dict[str, str]
    prepositions: dict[str, str]
    relations: frozenset[str]
    short: dict[str, str]
    confused: list[set[str]]
    """Words that look like slips of others."""


@lru_cache(maxsize=1)
def lexicon() -> Lexicon:
    """Return the tables, read once."""
    rows = {heading: [line.split() for line in lines] for heading, lines in table("lexicon.txt")}
    forms = _forms(rows)
    synonyms, phrases = _synonyms(rows, forms)

    def named(entry: str) -> str:
        stemmed = "_".join(_stems(entry, forms))
        return synonyms.get(stemmed, stemmed)

    def stem_in(word: str) -> str:
        return _stem(word, forms)

    soft: dict[str, set[int]] = {}
    for number, row in enumerate(rows["soft"]):
        for entry in row:
            soft.setdefault(named(entry), set()).add(number)
    return Lexicon(
        forms=forms,
        synonyms=synonyms,
        phrases=phrases,
        soft={word: frozenset(lines) for word, lines in soft.items()},
        light=frozenset(named(entry) for entry in _entries(rows["light"])),
        stop=frozenset(entry for entry in _entries(rows["stop"]) if "_" not in entry),
        relations=frozenset(_entries(rows["relations"])),
        numbers=_by_first(rows["numbers"]),
        negations=_by_first(rows["negations"]),
        quantities=_by_first(rows["quantities"]),
        prepositions=_by_first(rows["prepositions"]),
        short=_by_first(rows["short"]),
        confused=[{stem_in(entry) for entry in row} for row in rows["confused"]],
    )


def _entries(rows: list[list[str]]) -> Iterator[str]:
    for row in rows:
        yield from row


def _by_first(rows: list[list[str]]) -> dict[str, str]:
    return {entry: row[0] for row in rows for entry in row}


def _forms(rows: dict[str, list[list[str]]]) -> dict[str, str]:
    """Return the bare word of each irregular form, as the rules would write it."""
    whole = {entry: entry for entry in _entries(rows["whole"])}
    given = whole | {form: row[0] for row in rows["forms"] for form in row[1:]}
    return {form: word if word in given else _stem(word, given) for form, word in given.items()}


def _synonyms(
    rows: dict[str, list[list[str]]], forms: dict[str, str]
) -> tuple[dict[str, str], dict[str, list[tuple[Phrase, str]]]]:
    synonyms: dict[str, str] = {}
    phrases: dict[str, list[tuple[Phrase, str]]] = {}
    named = [("_".join(_stems(row[0], forms)), row) for row in rows["synonyms"]]
    named.append(("", [entry for entry in _entries(rows["stop"]) if "_" in entry]))
    for name, row in named:
        for entry in row:
            first, *others = _stems(entry, forms)
            if others:
                phrases.setdefault(first, []).append((tuple(others), name))
            else:
                synonyms.setdefault(first, name)
    for several in phrases.values():
        several.sort(key=lambda phrase: -len(phrase[0]))
    return synonyms, phrases


# -- forms ---------------------------------------------------------------------------------------


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return the form that ``word``, in lower case, shares with its other forms."""
    return _stem(word, lexicon().forms)


def _stems(entry: str, forms: dict[str, str]) -> Phrase:
    return tuple(_stem(word, forms) for word in entry.split("_"))


def _stem(word: str, forms: dict[str, str]) -> str:
    known = forms.get(word)
    if known is not None:
        return known
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("s"):
        return _singular(word, forms)
    for ending in ("ing", "ed"):
        if word.endswith(ending) and VOWELS & set(word[: -len(ending)]):
            return _base(word[: -len(ending)])
    return _final(word)


def _singular(word: str, forms: dict[str, str]) -> str:
    if word.endswith(("ss", "us", "is")):
        return word
    if word.endswith("ies"):
        return word[:-3] + "i"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return _stem(word[:-2], forms)
    return _stem(word[:-1], forms)


def _base(root: str) -> str:
    """Return what ``-ing`` and ``-ed`` leave, as the bare word is written."""
    if len(root) > 2 and root[-1] == root[-2] and root[-1] not in "lsz":
        return root[:-1]
    return _final(root)


def _final(word: str) -> str:
    """Drop the e that ``-ing`` drops; y becomes an i, as in the plural."""
    if word.endswith("e") and len(word) > 3 and word[-2] not in "aeiou":
        return word[:-1]
    if word.endswith("y") and len(word) > 2 and word[-2] not in VOWELS:
        return word[:-1] + "i"
    return word
