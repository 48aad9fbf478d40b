"""What kind of answer a sentence asks for, and the words that only say so.

``how do I``, ``what is the best way to`` and ``I am trying to`` ask for the same, so they are taken
off and leave one sign; ``why``, ``when``, ``is there`` and ``write me`` leave others. The phrases
are in ``frames.txt``.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from llmctl.semantic.tables import table

POLITE, MIDDLE = "polite", "middle"
MOST_FRAMES = 4
"""Frames a sentence may begin with: ``please``, ``tell me``, ``how to``."""
LEADING = re.compile(
    r"(?:in|on|with|for|using|under|from|at|given|when|if|during|as|to|after|before|within|inside"
    r"|via) "
)
"""A sentence may begin with where or when, and ask after a comma."""
BARE_HOW = re.compile(r"^\w{3,}ing \S+ \S+ \S+|(?:^| )how$")
"""``Sorting a list in Python``, and a question that is put in the last word."""
WHAT = frozenset({"what", "what it does"})
SHARPER = (
    (
        WHAT | {"", "how", "how it does", "yes or no"},
        re.compile(r"\b(?:differ|differs|diff between|different from|differ from|vs|versus)\b"),
        "difference",
    ),
    (WHAT, re.compile(r"\b(?:mean|means|meant|meaning|definition of|stands? for)\b"), "meaning"),
    (WHAT, re.compile(r"\b(?:cost|costs|price)\b"), "cost"),
    # what did it buy, and what bought it
    (WHAT, re.compile(r"\b(?:do|does|did)\b(?! (?:i|we|you)\b)"), "what it does"),
)
"""Signs that a word further on makes more exact."""


class Asked(NamedTuple):
    """The sign of a sentence and which of its words said so."""

    sign: str
    start: int
    end: int


class Frames(NamedTuple):
    """All frames as one expression, whose groups are numbered, and the sign of each group."""

    pattern: re.Pattern[str]
    signs: tuple[str, ...]
    middle: re.Pattern[str]


@lru_cache(maxsize=1)
def frames() -> Frames:
    """Return the frames, read once."""
    names: dict[str, str] = {}
    found: list[tuple[str, str]] = []
    middle: list[str] = []
    for heading, lines in table("frames.txt"):
        full = [_filled_in(line, names) for line in lines]
        if heading.startswith("<"):
            names[heading] = full[0]
        elif heading == MIDDLE:
            middle = full
        else:
            found += ((heading, line) for line in full)
    groups = (f"(?P<f{place}>{line})(?: , | |$|(?<= ))" for place, (_, line) in enumerate(found))
    return Frames(
        re.compile("|".join(groups)),
        tuple("" if heading == POLITE else heading for heading, _ in found),
        re.compile(rf"(?<= )(?:{'|'.join(middle)})"),
    )


def _filled_in(line: str, names: dict[str, str]) -> str:
    for name, meaning in names.items():
        line = line.replace(name, meaning)
    return line


def asked(sentence: str) -> Asked:
    """Return what ``sentence`` asks for: words in lower case and commas, a blank between."""
    sign, at = _taken_off(sentence, 0)
    start = 0
    if not sign or LEADING.match(sentence):
        for place in _later_starts(sentence, at):
            later, end = _taken_off(sentence, place)
            if later:
                sign, at, start = later, end, place
                break
    if sign == "extent" and at > len("how "):
        # explain how it works
        sign = "how it does"
    if not sign and BARE_HOW.search(sentence):
        sign = "how"
    for signs, word, sharper in SHARPER:
        if sign in signs and word.search(sentence):
            sign = sharper
    return Asked(sign, sentence.count(" ", 0, start), _words_before(sentence, at))


def _later_starts(sentence: str, at: int) -> Iterator[int]:
    """Yield where else a question may begin: after a comma, or with a telling phrase."""
    comma = sentence.find(" , ", at)
    if comma >= 0:
        yield comma + 3
    middle = frames().middle.search(sentence, at)
    if middle:
        yield middle.start()


def _taken_off(sentence: str, at: int) -> tuple[str, int]:
    """Return the sign of the frames that begin at ``at``, and where they end."""
    known = frames()
    for _ in range(MOST_FRAMES):
        found = known.pattern.match(sentence, at)
        if found is None:
            break
        at = found.end()
        sign = known.signs[int((found.lastgroup or "f0")[1:])]
        if sign:
            return sign, at
    return "", at


def _words_before(sentence: str, at: int) -> int:
    return sentence.count(" ", 0, at) + (at == len(sentence) > 0)
