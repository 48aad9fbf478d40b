"""Fit what the semantic cache decides by, on the tuning half of ``semantic_pairs.jsonl``.

That is the weights of ``llmctl.semantic.decide`` and the outcomes ``llmctl.semantic.bound`` knows.

``python -m benchmarks.semantic_fit``. Prints both tables; needs the local embedder.
"""

import json
from collections import Counter

import numpy as np

from benchmarks.semantic_data import TUNING, Pair, cosines, pairs
from llmctl.semantic.bound import EDGES, class_of, risk_of
from llmctl.semantic.decide import WEIGHTS, features
from llmctl.semantic.gate import compare, facts

PENALTY = 1e-3
STEPS = 20_000
RATE = 0.5


def table(some: list[Pair], similar: dict[tuple[str, str], float]) -> np.ndarray:
    """Return one row of features a pair."""
    rows = []
    for pair in some:
        found = compare(facts(pair.a), facts(pair.b))
        rows.append(list(features(found, similar[pair.a, pair.b]).values()))
    return np.array(rows)


def fit(rows: np.ndarray, same: np.ndarray) -> np.ndarray:
    """Return the weights of a logistic model, by plain descent with a small penalty."""
    weights = np.zeros(rows.shape[1])
    for _ in range(STEPS):
        likely = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (likely - same) / len(same)
        # the bias, which comes first, is free
        slope[1:] += PENALTY * weights[1:]
        weights -= RATE * slope
        # nothing that is off speaks for a pair, whatever this half happens to say
        weights[1:] = np.minimum(weights[1:], 0)
    return weights


def main() -> None:
    some = [pair for pair in pairs() if pair.half == TUNING]
    rows = table(some, cosines(some))
    same = np.array([float(pair.same) for pair in some])
    weights = fit(rows, same)
    print(json.dumps(dict(zip(WEIGHTS, weights.round(2).tolist(), strict=True)), indent=4))
    likely = 1 / (1 + np.exp(-rows @ weights))
    seen, wrong = Counter[int](), Counter[int]()
    for pair, share in zip(some, likely, strict=True):
        if compare(facts(pair.a), facts(pair.b)).reason is None:
            place = class_of(risk_of((), float(share)))
            seen[place] += 1
            wrong[place] += not pair.same
    print([(wrong[place], seen[place]) for place in range(len(EDGES))])


if __name__ == "__main__":
    main()
