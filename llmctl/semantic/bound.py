"""Whether an entry may answer, such that the share of wrong ones among the served stays bounded.

No threshold on similarity separates questions that mean the same from those that do not, and where
the line runs differs per entry (vCache, arXiv 2502.03771). So there are two steps. Each candidate
gets a *risk*: how likely it is wrong, judged by its likeness and by what was seen of its own entry.
Risks only rank candidates; they need not be true. The bound comes from counts: of all outcomes seen
at this risk or lower, how many were wrong. A candidate is served where that share is below the
accepted one with 95 % confidence. Whoever ranks badly serves less, not worse.
"""

from bisect import bisect_left
from collections.abc import Sequence

from msgspec import Struct

from llmctl.semantic.interval import at_most

EDGES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper edges of the classes of risk."""
WEIGHT = 2.0
"""How many outcomes of its own weigh as much for an entry as its likeness does."""
LEAN = 8.0
"""How much worse a class may be by its own outcomes' bound than by that of all safer ones too."""
AUDITS = 10.0
MOST_AUDITS, FEWEST_AUDITS = 0.2, 0.02
"""Share of candidates that might be served and are asked all the same, at first and in the end."""


class Observation(Struct, frozen=True, array_like=True):
    """One outcome of an entry: at ``similarity`` its answer was, or was not, the engine's."""

    similarity: float
    same: bool


class Tally(Struct, frozen=True, array_like=True):
    """Outcomes of one class of risk."""

    wrong: int = 0
    total: int = 0


NOTHING = (Tally(),) * len(EDGES)
KNOWN = (*NOTHING[:6], Tally(0, 74), Tally(0, 244), *NOTHING[8:])
"""Outcomes on the half of ``benchmarks/semantic_pairs.jsonl`` that was tuned on."""


class Prior(Struct, frozen=True):
    """Outcomes of all entries, by class of risk."""

    tallies: tuple[Tally, ...] = NOTHING
    """Seen here."""
    known: tuple[Tally, ...] = KNOWN
    """Seen before: without these nothing is served until some hundred outcomes were."""

    @property
    def seen(self) -> int:
        """Return how many outcomes were seen here."""
        return sum(tally.total for tally in self.tallies)

    def with_outcome(self, risk: float, *, same: bool) -> "Prior":
        """Count one outcome of a candidate that had ``risk`` when it was decided on."""
        place = class_of(risk)
        tally = self.tallies[place]
        counted = Tally(tally.wrong + (not same), tally.total + 1)
        return Prior((*self.tallies[:place], counted, *self.tallies[place + 1 :]), self.known)

    def wrong_at_most(self, risk: float) -> float:
        """Return the bound of the best set of classes: with ``risk`` and all lower ones.

        The riskiest class of a set must have shown itself: many right outcomes of safer ones say
        nothing about it.
        """
        wrong = total = 0
        best = 1.0
        for edge, here, before in zip(EDGES, self.tallies, self.known, strict=True):
            own = Tally(here.wrong + before.wrong, here.total + before.total)
            wrong, total = wrong + own.wrong, total + own.total
            if edge >= risk and own.total:
                itself = max(own.wrong / own.total, at_most(own.wrong, own.total) / LEAN)
                best = min(best, max(at_most(wrong, total), itself))
        return best


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known when one entry is a candidate."""

    observations: Sequence[Observation] = ()
    """Of this entry, any order."""
    prior: Prior = Prior()
    """Of all entries of this kind."""


class Decision(Struct, frozen=True, kw_only=True):
    """What to do with a candidate."""

    serve: bool
    explore_probability: float
    """How often to ask the engine all the same; 1 where it must not be served."""
    wrong_estimate: float
    """Share of wrong answers among those like it, at most, with 95 % confidence."""
    risk: float
    """Rank to count the outcome at: see :meth:`Prior.with_outcome`."""


def class_of(risk: float) -> int:
    """Return the place of ``risk`` among the classes."""
    return min(bisect_left(EDGES, risk), len(EDGES) - 1)


def risk_of(observations: Sequence[Observation], similarity: float) -> float:
    """Return how likely the entry's answer is wrong at ``similarity``: the likeness, 0 to 1.

    Right outcomes at no higher similarity speak for it, wrong ones at no lower speak against it.
    """
    right = sum(seen.same and seen.similarity <= similarity for seen in observations)
    wrong = sum(not seen.same and seen.similarity >= similarity for seen in observations)
    return (WEIGHT * (1 - similarity) + wrong) / (WEIGHT + right + wrong)


def may_serve(
    evidence: Evidence, similarity: float, error_rate: float, *, draw: float = 1.0
) -> Decision:
    """Decide whether an entry may answer at ``similarity``: its likeness, 0 to 1.

    ``error_rate`` is the accepted share of wrong answers among those served. ``draw``, uniform from
    0 to 1, picks the candidates that are asked all the same.
    """
    risk = risk_of(evidence.observations, similarity)
    wrong = evidence.prior.wrong_at_most(risk)
    allowed = wrong <= error_rate
    audits = AUDITS / (1 + evidence.prior.seen)
    explore = min(MOST_AUDITS, max(FEWEST_AUDITS, audits)) if allowed else 1.0
    return Decision(
        serve=allowed and draw >= explore,
        explore_probability=explore,
        wrong_estimate=wrong,
        risk=risk,
    )
