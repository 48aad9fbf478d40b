"""How alike two texts look, by their letters: good enough to find an entry again, no more."""

from collections import Counter
from math import sqrt

_GRAM = 3


def likeness(a: str, b: str) -> float:
    """Return 0 for texts without three letters in common in a row, 1 for texts of the same words.

    Cosine of the counts of three-letter sequences, within words and across their borders.
    """
    ours, theirs = _grams(a), _grams(b)
    if not ours or not theirs:
        return 0.0
    shared = sum(count * theirs[gram] for gram, count in ours.items() if gram in theirs)
    return shared / (_length(ours) * _length(theirs))


def _grams(text: str) -> Counter[str]:
    padded = f" {' '.join(text.casefold().split())} "
    if not padded.strip():
        return Counter()
    return Counter(padded[start : start + _GRAM] for start in range(len(padded) - _GRAM + 1))


def _length(grams: Counter[str]) -> float:
    return sqrt(sum(count * count for count in grams.values()))
