"""Weights that are learned from what an engine reports: a linear model with a Kalman filter.

The weights start from a guess with a known spread. Each report moves them as far as the spread of
each and the noise of the report allow, so that one report already helps and none can spoil much.
"""

from collections.abc import Sequence
from operator import mul


class Calibration:
    """Weights of some counts, and how sure they are."""

    def __init__(self, mean: Sequence[float], spread: Sequence[float]) -> None:
        """Start from weights ``mean``, each known to within ``spread`` (standard deviation)."""
        self.mean = list(mean)
        self._covariance = [
            [each * each if row == column else 0.0 for column in range(len(spread))]
            for row, each in enumerate(spread)
        ]

    @property
    def spread(self) -> list[float]:
        """Standard deviation of each weight."""
        return [max(row[index], 0.0) ** 0.5 for index, row in enumerate(self._covariance)]

    def value(self, counts: Sequence[float]) -> float:
        """Return the weighted sum of ``counts``."""
        value: float = sum(map(mul, self.mean, counts))
        return value

    def variance(self, counts: Sequence[float]) -> float:
        """Return the variance of ``value(counts)``."""
        variance: float = sum(map(mul, self.covariance(counts), counts))
        return max(variance, 0.0)

    def learn(self, counts: Sequence[float], *, error: float, variance: float) -> None:
        """Take in that ``value(counts)`` was ``error`` too small.

        ``variance`` is that of the error: of the value and of everything else that went into it.
        """
        shared = self.covariance(counts)
        self.mean = [
            weight + each * error / variance for weight, each in zip(self.mean, shared, strict=True)
        ]
        self._covariance = [
            [old - each * other / variance for old, other in zip(row, shared, strict=True)]
            for row, each in zip(self._covariance, shared, strict=True)
        ]

    def covariance(self, counts: Sequence[float]) -> list[float]:
        """Return the covariance of each weight with ``value(counts)``."""
        used = [(index, count) for index, count in enumerate(counts) if count]
        return [sum(row[index] * count for index, count in used) for row in self._covariance]
