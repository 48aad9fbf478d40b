"""How many tokens a prompt made of known and new texts will have, learned from reports.

Weights (``calibration``) say what holds for all texts of an engine. What a single text has more or
less than they say is remembered with it, so a prompt that mostly repeats an earlier one is known
almost exactly.
"""

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


class Block:
    """One text: its counts, and what reports taught about it alone."""

    __slots__ = ("counts", "doubt", "expected", "spread")

    def __init__(self, counts: Sequence[float], spread: float) -> None:
        self.counts = counts
        self.spread = spread
        """Share by which weights that are right on the whole miss a single text."""
        self.doubt = 1.0
        """From 1, nothing known but the counts, to 0, known from reports."""
        self.expected = 0.0
        """Tokens according to reports."""


class Forecast(NamedTuple):
    """Expected tokens of a prompt, and what its uncertainty is made of."""

    tokens: float
    variance: float
    counts: list[float]
    """Counts that the weights apply to: blocks as far as they are in doubt, then structure."""
    doubtful: list[tuple[Block, float, float]]
    """Blocks with their tokens and the variance of these."""


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
        mean, spread = learned.get("mean"), learned.get("spread")
        if _numbers(mean, len(self._first_spread)) and _numbers(spread, len(self._first_spread)):
            self.weights = Calibration(mean, spread)

    def forecast(self, blocks: Iterable[Block], structure: Sequence[float]) -> Forecast:
        """Return what to expect of a prompt with these texts and this structure."""
        mean = self.weights.mean
        texts = len(mean) - len(structure)
        counts = [0.0] * texts
        tokens = sum(map(mul, mean[texts:], structure))
        doubtful = []
        for block in blocks:
            doubt = block.doubt
            weighed = sum(map(mul, mean, block.counts))
            block_tokens = doubt * weighed + (1 - doubt) * block.expected
            tokens += block_tokens
            if doubt > 0.01:
                counts = [a + doubt * b for a, b in zip(counts, block.counts, strict=True)]
            if block.spread:
                doubtful.append((block, block_tokens, doubt * (block.spread * weighed) ** 2))
        counts += structure
        own = sum(variance for _, _, variance in doubtful)
        return Forecast(tokens, self.weights.variance(counts) + own, counts, doubtful)

    def learn(self, blocks: Sequence[Block], structure: Sequence[float], reported: int) -> None:
        """Take in that a prompt had ``reported`` tokens, unless that is hard to believe."""
        forecast = self.forecast(blocks, structure)
        variance = forecast.variance + (1 + REPORT_NOISE * reported) ** 2
        error = reported - forecast.tokens
        limit = OUTLIER * variance**0.5
        if abs(error) <= limit:
            self._disbelieved = 0
        else:
            self._disbelieved += 1
            if self._disbelieved < REGIME:
                return
            self._doubt_everything(blocks)
            forecast = self.forecast(blocks, structure)
            variance = forecast.variance + error**2 / OUTLIER**2
        self.weights.learn(forecast.counts, error=error, variance=variance)
        for block, tokens, own in forecast.doubtful:
            share = own / variance
            block.expected = tokens + error * share
            block.doubt *= 1 - share

    def _doubt_everything(self, blocks: Iterable[Block]) -> None:
        self._disbelieved = 0
        self.weights = Calibration(self.weights.mean, self._first_spread)
        for block in blocks:
            block.doubt = 1.0


def _numbers(values: object, size: int) -> bool:
    return (
        isinstance(values, list)
        and len(values) == size
        and all(isinstance(value, int | float) and isfinite(value) for value in values)
    )
