"""How many tokens a prompt made of known and new texts will have, learned from reports.

Weights (``calibration``) say what holds for all texts of an engine. What a single text has more or
less than they say is remembered with it, so a prompt that mostly repeats an earlier one is known
almost exactly.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite
from operator import mul
from typing import NamedTuple

from llmctl.protocol.calibration import Calibration

OUTLIER = 4.0
"""Standard deviations from which a report is not believed: a cut prompt, an image."""
REGIME = 3
"""Disbelieved reports in a row after which it is what was learned that is not believed."""
REPORT_NOISE = 0.002
"""Share by which reports differ for reasons that nothing here counts."""
NEGLIGIBLE = 0.01
"""Doubt below which a block is taken as known."""
SMALL = 0.01
"""Share of a prompt below which a block is too small to be settled by its report."""


class Block:
    """One text: its counts, and what reports taught about it alone."""

    __slots__ = ("counts", "doubt", "known", "spread")

    def __init__(self, counts: Sequence[float], spread: float) -> None:
        self.counts = counts
        self.spread = spread
        """Share by which weights that are right on the whole miss a single text."""
        self.doubt = 1.0
        """Share that still hangs on the weights: from 1 down to 0, known from reports."""
        self.known = 0.0
        """Tokens that no longer hang on the weights."""


class _Doubtful(NamedTuple):
    """A block that is not known yet."""

    block: Block
    times: int
    weighed: float
    """Tokens by the weights."""
    own: float
    """Variance of what this text has more or less than they say."""


class Forecast(NamedTuple):
    """Expected tokens of a prompt, and what its uncertainty is made of."""

    tokens: float
    variance: float
    counts: list[float]
    """Counts that the weights apply to: blocks as far as they are in doubt, then structure."""
    doubtful: list[_Doubtful]


class Forecaster:
    """Forecasts for one engine model."""

    def __init__(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        """Start from weights for the counts of blocks followed by those of the structure."""
        self.weights = Calibration(mean, spread)
        self._first_spread = tuple(spread)
        self._disbelieved = 0

    def learned(self) -> dict[str, list[float]]:
        """Return the weights and their spread, for ``resume``."""
        return {"mean": self.weights.mean, "spread": self.weights.spread}

    def resume(self, learned: object) -> None:
        """Go on from what ``learned`` returned; anything else is ignored."""
        if not isinstance(learned, dict):
            return
        mean, spread = _numbers(learned.get("mean")), _numbers(learned.get("spread"))
        if len(mean) == len(spread) == len(self._first_spread):
            self.weights = Calibration(mean, spread)

    def forecast(self, blocks: Iterable[Block], structure: Sequence[float]) -> Forecast:
        """Return what to expect of a prompt with these texts and this structure."""
        mean = self.weights.mean
        counts = [0.0] * (len(mean) - len(structure))
        tokens = sum(map(mul, mean[len(counts) :], structure))
        doubtful = []
        for block, times in Counter(blocks).items():
            weighed = sum(map(mul, mean, block.counts))
            tokens += times * (block.doubt * weighed + block.known)
            if block.doubt < NEGLIGIBLE:
                continue
            share = times * block.doubt
            counts = [a + share * b for a, b in zip(counts, block.counts, strict=True)]
            if block.spread:
                own = block.doubt * (block.spread * weighed) ** 2
                doubtful.append(_Doubtful(block, times, weighed, own))
        counts += structure
        own = sum(doubt.times**2 * doubt.own for doubt in doubtful)
        return Forecast(tokens, self.weights.variance(counts) + own, counts, doubtful)

    def learn(self, blocks: Sequence[Block], structure: Sequence[float], reported: int) -> None:
        """Take in that a prompt had ``reported`` tokens, unless that is hard to believe."""
        forecast = self.forecast(blocks, structure)
        error = reported - forecast.tokens
        noise = (1 + REPORT_NOISE * reported) ** 2
        if abs(error) > OUTLIER * (forecast.variance + noise) ** 0.5:
            self._disbelieved += 1
            if self._disbelieved < REGIME:
                return
            self._doubt_everything(blocks)
            forecast = self.forecast(blocks, structure)
            error = reported - forecast.tokens
        variance = forecast.variance + noise
        self._disbelieved = 0
        shared = self.weights.covariance(forecast.counts)
        settled = [
            self._settled(doubt, shared, variance) if doubt.weighed > SMALL * reported else 0.0
            for doubt in forecast.doubtful
        ]
        self.weights.learn(forecast.counts, error=error, variance=variance)
        for (block, times, _, own), share in zip(forecast.doubtful, settled, strict=True):
            weighed = sum(map(mul, self.weights.mean, block.counts))
            block.known += share * block.doubt * weighed + times * own / variance * error
            block.doubt *= 1 - share

    def _settled(self, doubtful: _Doubtful, shared: Sequence[float], variance: float) -> float:
        """Return how far a report settles a block: the square of their correlation.

        ``shared`` is the covariance of each weight with the prompt, ``variance`` the report's.
        """
        block, times, _, own = doubtful
        of_block = block.doubt**2 * self.weights.variance(block.counts) + own
        together: float = block.doubt * sum(map(mul, shared, block.counts)) + times * own
        return min(together**2 / (of_block * variance), 1.0)

    def _doubt_everything(self, blocks: Iterable[Block]) -> None:
        self.weights = Calibration(self.weights.mean, self._first_spread)
        for block in blocks:
            block.doubt, block.known = 1.0, 0.0


def _numbers(values: object) -> list[float]:
    """Return a list of finite numbers as it is, an empty one for anything else."""
    if not isinstance(values, list):
        return []
    usable = all(isinstance(value, int | float) and isfinite(value) for value in values)
    return values if usable else []
