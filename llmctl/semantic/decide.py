"""How likely two questions mean the same: one number out of what the gate saw and their vectors.

A logistic model, fitted by ``benchmarks/semantic_fit.py`` on half of ``semantic_pairs.jsonl``. Its
weights say what was found there: once the gate has let a pair pass, the vectors' similarity says
little more, and how much the two share says most.
"""

from math import exp

from llmctl.semantic.gate import Comparison, Facts, compare, plainly_differ

WEIGHTS = {
    "bias": 2.23,
    "manner": -2.05,
    "heavy": -1.83,
    "few": -0.13,
    "far": -0.94,
}
MANY = 4
"""Words in common beyond which more of them say nothing."""


def features(found: Comparison, similarity: float) -> dict[str, float]:
    """Return what the model weighs; ``similarity`` is the cosine of the vectors."""
    return {
        "bias": 1.0,
        "manner": float(found.reason is not None and not found.heavy),
        "heavy": float(min(found.heavy, MANY)),
        "few": float(max(0, MANY - found.common)),
        "far": max(0.0, 1 - similarity),
    }


def likeness(a: Facts, b: Facts, similarity: float) -> float:
    """Return how likely two texts mean the same, 0 where the gate says they cannot."""
    if plainly_differ(a, b):
        return 0.0
    found = compare(a, b)
    if found.reason is not None:
        return 0.0
    said = features(found, similarity)
    return 1 / (1 + exp(-sum(WEIGHTS[name] * value for name, value in said.items())))
