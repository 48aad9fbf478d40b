"""Takes a text down to what it asks for and the words that stand for something, in order."""

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from msgspec import Struct

from llmctl.semantic.frames import asked
from llmctl.semantic.order import conditions_last, is_attribute, straightened
from llmctl.semantic.scan import APOSTROPHE, LITERAL, NUMBER, STOP, WORD, Piece, Raw, pieces
from llmctl.semantic.tongue import ENGLISH, language_of
from llmctl.semantic.words import lexicon, stem

NAME, NEGATION, QUANTITY, RELATION = "name", "negation", "quantity", "relation"
UNREAD = "§"
"""Stands in a sentence for what is no word."""
STEMMED = frozenset({WORD, NUMBER})
JOINING = frozenset({"and", "nor"})
TENSES = {
    **dict.fromkeys(("did", "was", "were", "had"), "past"),
    **dict.fromkeys(("do", "does", "is", "are", "am", "has", "have"), "present"),
    **dict.fromkeys(("will", "gonna"), "future"),
}
FEWEST_DIFFERING = 2
"""Words without which a question about a difference says nothing."""
ASKING = frozenset({"what", "who", "which"})
MODAL = frozenset({"should", "would", "could", "might"})
PERSONS = {
    **dict.fromkeys(("i", "me", "my", "mine", "we", "us", "our", "ours"), "first"),
    **dict.fromkeys(("you", "your", "yours"), "second"),
}
ANYBODY = frozenset(
    {"", "how", "should", "possible", "must", "write", "fix", "quantity", "duration"}
)
"""Kinds of question in which I and you are anybody."""
DONE_TO = {"me": "first", "us": "first", "him": "third", "them": "third"}
OWNERS = {
    **dict.fromkeys(("my", "mine", "our", "ours"), "first"),
    **dict.fromkeys(("his", "hers", "their", "theirs", "its"), "third"),
}
QUESTIONS = frozenset({"what", "which", "who", "whom", "whose", "where", "when", "why", "how"})
ODD = "odd"
"""A question that none of the frames knows."""
POINTING = frozenset({"this", "these", "those"})
CLAUSES = frozenset({"and", "but", "or", "when", "if", "while", "yet"})
DO = frozenset({"do", "does", "did"})
DOERS = frozenset({"i", "you", "we", "one", "they", "he", "she", "it", "to", "that", "not"})
"""Before ``do`` they make it more than a help."""
PERFORM = "perform"
ATTRIBUTE = "~"
"""In the role of what is said of another word, which cannot go elsewhere."""
HOW_TO_DO_IT = (
    frozenset({"how"}),
    frozenset({"do", "can", "should", "could", "would", "to"}),
    frozenset({"i", "we", "you", "one"}),
    DO,
    frozenset({"it", "that", "this", "so"}),
)
ENDINGS = {"ll": "will", "re": "are", "ve": "have", "m": "am", "d": "would"}
IS_SHORT = frozenset(
    {"what", "how", "who", "where", "when", "why", "that", "there", "it", "he", "she"}
)
"""Words whose ``'s`` is no genitive."""
NOT_SHORT = {"won": "will", "can": "can", "shan": "shall"}
SAID = {
    "cost": frozenset({"cost"}),
    "difference": frozenset({"differ", "compar"}),
    "meaning": frozenset({"mean", "defin"}),
    "what": frozenset({"defin", "describ"}),
    "why": frozenset({"caus", "reason", "happen"}),
}
"""Words that say once more what is asked for."""


class Word(NamedTuple):
    """What one or several words of a text stand for."""

    text: str
    kind: str
    role: str
    """The preposition that governs it, empty for none."""


class Facts(Struct, frozen=True, kw_only=True):
    """What of a text must agree."""

    words: tuple[Word, ...]
    """In order, without those that carry nothing."""
    asks: tuple[str, ...]
    """What the questions and orders in it ask for, sorted."""
    tenses: frozenset[str]
    persons: frozenset[str]
    """Who is spoken of, where that is not anybody."""
    done_to: frozenset[str]
    """To whom of them something is done."""
    owners: frozenset[str]
    """Whose things are spoken of."""
    definite: frozenset[tuple[str, bool]]
    """What ``the`` stands before, and whether that is several."""
    language: str


COMMA = Raw(",", STOP)
LETTERS = frozenset("bcdefghjklmnopqrstuvwxyz")
"""Names of one letter; where there is one, ``a`` is another."""


class _Reading(Struct):
    """What was found so far."""

    words: list[Word] = []
    asks: set[str] = set()
    tenses: set[str] = set()
    persons: set[str] = set()
    done_to: set[str] = set()
    owners: set[str] = set()
    definite: set[tuple[str, bool]] = set()


def facts(text: str) -> Facts:
    """Return the facts of ``text``, in time that grows with its length."""
    sentences = _sentences(text)
    language = language_of(text, [raw.text for sentence in sentences for raw in sentence])
    found = _Reading()
    for sentence in sentences:
        if language == ENGLISH:
            _read(conditions_last(_asked_before(sentence)), found)
        else:
            found.words += (Word(raw.text, raw.kind, "") for raw in sentence if raw is not COMMA)
    words = found.words
    if len(words) < (FEWEST_DIFFERING if "difference" in found.asks else 1):
        # shall and will, who are you: here the small words say it
        words = [Word(raw.text, raw.kind, "") for sentence in sentences for raw in sentence]
    return Facts(
        words=tuple(words),
        asks=tuple(sorted(found.asks)),
        tenses=frozenset(found.tenses),
        persons=frozenset(found.persons),
        done_to=frozenset(found.done_to),
        owners=frozenset(found.owners),
        definite=frozenset(found.definite),
        language=language,
    )


def _read(sentence: list[Raw], found: _Reading) -> None:
    """Add what an English sentence says."""
    said = " ".join(raw.text if raw.kind in {WORD, STOP} else UNREAD for raw in sentence)
    sign, start, end = asked(said)
    rest = (*sentence[:start], *sentence[end:])
    found.asks |= {sign or _odd(sentence)} - {""}
    found.tenses |= _tenses(sentence)
    found.done_to |= _found(rest, DONE_TO)
    found.owners |= _found(rest, OWNERS)
    found.definite |= _definite(rest)
    found.persons |= _persons(sentence, start, end, anybody=sign in ANYBODY)
    meant = _doing(sentence)
    before = meant[end - 1].text if end else ""
    standing = _standing(straightened(meant[:start])) + _standing(
        straightened(meant[end:], before=before), asking=end > start
    )
    if not CLAUSES.isdisjoint(raw.text for raw in sentence):
        standing = _denying(standing)
    again = SAID.get(sign, frozenset())
    found.words += (word for word in standing if word.text not in again)


# -- sentences -----------------------------------------------------------------------------------


def _is_article(after: list[Piece]) -> bool:
    """Tell ``a list`` from ``list a`` by what comes after it."""
    if not after or after[0].kind != WORD:
        return False
    word = after[0].text.lower()
    small = word in lexicon().stop or word in lexicon().prepositions or word in CLAUSES
    return not small and word not in LETTERS


def _asked_before(sentence: list[Raw]) -> list[Raw]:
    """Return what comes before ``how do I do that``, which asks nothing more."""
    tail = [raw.text for raw in sentence[-len(HOW_TO_DO_IT) :]]
    more = len(sentence) > len(tail) == len(HOW_TO_DO_IT)
    if more and all(word in known for word, known in zip(tail, HOW_TO_DO_IT, strict=True)):
        return sentence[: -len(HOW_TO_DO_IT)]
    return sentence


def _sentences(text: str) -> list[list[Raw]]:
    found: list[list[Raw]] = [[]]
    all_pieces = list(pieces(text))
    named = any(kind == WORD and piece in LETTERS for kind, piece in all_pieces)
    for at, (kind, piece) in enumerate(all_pieces):
        if kind == WORD:
            # vitamin A is not a vitamin, and branch a is merged into branch b
            lettered = (piece == "A" and found[-1]) or (
                piece == "a" and named and not _is_article(all_pieces[at + 1 : at + 2])
            )
            found[-1] += (Raw("a^", WORD, True),) if lettered else _spelled_out(piece)
        elif kind != STOP:
            found[-1].append(Raw(piece, kind))
        elif found[-1]:
            if piece == ".":
                found.append([])
            else:
                found[-1].append(COMMA)
    return [sentence for sentence in found if sentence]


@lru_cache(maxsize=20_000)
def _spelled_out(word: str) -> tuple[Raw, ...]:
    """Return what a written word says: ``don't`` is do and not."""
    lower = word.lower().replace(APOSTROPHE, "'")
    lower = lexicon().short.get(lower, lower)
    capital = word[0].isupper()
    if word.isupper() and len(word) > 1 and (lower in lexicon().stop or _has_form(lower)):
        # US and IT are not us and it, and an acronym has no other form
        return (Raw(lower + "^", WORD, capital),)
    base, _, ending = lower.partition("'")
    if ending == "t" and base.endswith("n"):
        return Raw(NOT_SHORT.get(base, base[:-1]), WORD), Raw("not", WORD)
    said = "is" if ending == "s" and base in IS_SHORT else ENDINGS.get(ending)
    return Raw(base, WORD, capital), *((Raw(said, WORD),) if said else ())


def _has_form(word: str) -> bool:
    return word not in lexicon().synonyms and stem(word) != word


def _doing(sentence: list[Raw]) -> list[Raw]:
    """Tell ``do`` that says something from the one that only helps to ask."""
    found, helped = list(sentence), False
    for at, raw in enumerate(sentence):
        helped = helped and raw.kind != STOP and raw.text not in CLAUSES
        if raw.text not in DO:
            continue
        before = sentence[at - 1].text if at else ""
        after = sentence[at + 1].text if at + 1 < len(sentence) else COMMA.text
        ends = at > 0 and (after == COMMA.text or after in lexicon().prepositions)
        if helped or ends or before in DOERS:
            found[at] = Raw(PERFORM, WORD)
        helped = True
    return found


def _tenses(sentence: list[Raw]) -> set[str]:
    found = set()
    before = ""
    if len(sentence) > 1 and sentence[0].text in ASKING and sentence[1].text.endswith("ed"):
        found.add("past")
    for raw in sentence:
        tense = TENSES.get(raw.text)
        if raw.text == "have" and before in MODAL:
            tense = "past"
        # I was wondering
        if tense is not None and not (tense == "past" and before == "i"):
            found.add(tense)
        before = raw.text
    return found


def _persons(sentence: list[Raw], start: int, end: int, *, anybody: bool) -> set[str]:
    """Return who is spoken of beside those who ask, in words ``start`` to ``end``.

    Where I and you are ``anybody`` only what is yours is told from mine, unless you asked.
    """
    known = {"your": "second", "yours": "second"} if anybody else PERSONS
    if anybody and any(raw.text == "you" for raw in sentence[start:end]):
        return set()
    return _found((*sentence[:start], *sentence[end:]), known)


def _found(sentence: tuple[Raw, ...], known: dict[str, str]) -> set[str]:
    return {known[raw.text] for raw in sentence if raw.text in known}


def _definite(sentence: tuple[Raw, ...]) -> set[tuple[str, bool]]:
    return {
        (stem(raw.text), _is_plural(raw.text))
        for the, raw in pairwise(sentence)
        if the.text == "the" and raw.kind == WORD
    }


def _is_plural(word: str) -> bool:
    if word in lexicon().forms:
        return stem(word) != word and not word.endswith(("ed", "ing"))
    return word.endswith("s") and not word.endswith(("ss", "us", "is"))


def _odd(sentence: list[Raw]) -> str:
    return ODD if any(raw.text in QUESTIONS for raw in sentence) else ""


# -- words ---------------------------------------------------------------------------------------


def _standing(sentence: list[Raw], *, asking: bool = False) -> list[Word]:
    """Return the words of a sentence that stand for something; ``asking``: after a question."""
    known = lexicon()
    stems = [stem(raw.text) if raw.kind in STEMMED else "" for raw in sentence]
    found: list[Word] = []
    role, fresh, at = "", False, 0
    while at < len(sentence):
        raw = sentence[at]
        text, length = _meaning(sentence, stems, at)
        at += length
        if raw.kind == STOP:
            role = ""
        elif text in known.prepositions and raw.kind == WORD:
            role, fresh = known.prepositions[text], True
            alone = at == len(sentence) or (asking and at == length)
            found += _telling(role, alone=alone)
        elif not text or text in JOINING:
            role = role if fresh or text else ""
        elif text in CLAUSES:
            role = ""
            found.append(_word(raw, text, role, alone=length == 1))
        elif text != "one" or _is_counted(sentence, at):
            mark = ATTRIBUTE if length == 1 and is_attribute(sentence, at - 1) else ""
            found.append(_word(raw, text, mark + role, alone=length == 1))
            fresh = False
    return found


def _meaning(sentence: list[Raw], stems: list[str], at: int) -> tuple[str, int]:
    """Return what the words from ``at`` on stand for, empty for nothing, and how many they are."""
    raw = sentence[at]
    known = lexicon()
    for others, name in known.phrases.get(stems[at], ()):
        end = at + 1 + len(others)
        if tuple(stems[at + 1 : end]) == others:
            return name, end - at
    if raw.kind != WORD:
        return raw.text, 1
    if raw.text in known.prepositions or raw.text in JOINING:
        return raw.text, 1
    if raw.text in known.stop:
        return (raw.text if _points(sentence, at) else ""), 1
    return known.synonyms.get(stems[at], stems[at]), 1


def _telling(preposition: str, *, alone: bool) -> list[Word]:
    """Return the word a preposition is by itself, if it is more than a link.

    What is money for, and what is in it: ``alone`` it is part of what is asked.
    """
    if preposition in lexicon().negations:
        return [Word(preposition, NEGATION, "")]
    telling = alone or preposition in lexicon().relations
    return [Word(preposition, RELATION, "")] if telling else []


def _denying(words: list[Word]) -> list[Word]:
    """Give each negation what it denies: the next word."""
    found = list(words)
    for at, word in enumerate(words[:-1]):
        if word.kind == NEGATION:
            found[at] = word._replace(role=words[at + 1].text)
    return found


def _points(sentence: list[Raw], at: int) -> bool:
    """Tell ``which flag is this`` from ``this flag``."""
    if sentence[at].text not in POINTING:
        return False
    after = sentence[at + 1] if at + 1 < len(sentence) else COMMA
    return after.kind == STOP or after.text in lexicon().stop


def _is_counted(sentence: list[Raw], at: int) -> bool:
    """Tell ``one file`` from ``one of them`` and ``which one is``; ``at`` is after the word."""
    if at >= len(sentence) or sentence[at].kind != WORD:
        return False
    return sentence[at].text not in lexicon().stop and sentence[at].text not in (
        lexicon().prepositions
    )


def _word(raw: Raw, text: str, role: str, *, alone: bool) -> Word:
    if raw.kind != WORD:
        return Word(text, raw.kind, role)
    known = lexicon()
    for name in (raw.text, text) if alone else (text,):
        if name in known.numbers:
            return Word(known.numbers[name], NUMBER, role)
        if name in known.negations:
            return Word(known.negations[name], NEGATION, "")
        if name in known.quantities:
            return Word(known.quantities[name], QUANTITY, "")
    return Word(text, NAME if raw.capital else WORD, role)


__all__ = ["LITERAL", "NUMBER", "WORD", "Facts", "Word", "facts"]
