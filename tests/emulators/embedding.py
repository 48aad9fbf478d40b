"""Vectors that are alike where texts share words: what the emulated engines embed with."""

import hashlib
import math
import re

DIMENSIONS = 256
WORD = re.compile(r"\w+")


def embedding(text: str) -> list[float]:
    """Return the unit vector of a text: its words and pairs of words, hashed."""
    words = WORD.findall(text.lower())
    vector = [0.0] * DIMENSIONS
    for feature in [*words, *map(" ".join, zip(words, words[1:], strict=False))] or [""]:
        digest = hashlib.blake2b(feature.encode(), digest_size=4).digest()
        vector[digest[0]] += 1.0 if digest[1] & 1 else -1.0
    length = math.sqrt(sum(value * value for value in vector)) or 1.0
    return [value / length for value in vector]
