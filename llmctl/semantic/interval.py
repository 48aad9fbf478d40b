"""What a count of wrong answers says about their true share, with confidence."""

from statistics import NormalDist


def wilson(wrong: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the lowest and the highest share of wrong answers that ``wrong`` of ``total`` allow.

    Wilson's score interval, two-sided: it stays inside 0 to 1 and keeps its promise for the rare
    events counted here, which the textbook's normal interval does not. Nothing counted allows all.
    """
    if not 0 <= wrong <= total:
        raise ValueError(f"{wrong} wrong of {total} is no count")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share, spread = wrong / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = (share * (1 - share) * spread + spread * spread / 4) ** 0.5 / (1 + spread)
    # by rounding only could it leave out the share that was seen
    return max(0.0, min(share, middle - reach)), min(1.0, max(share, middle + reach))


def at_most(wrong: int, total: int, confidence: float = 0.95) -> float:
    """Return the share that the true one does not exceed, one-sided: 0 of 268 gives 1 %."""
    return wilson(wrong, total, 2 * confidence - 1)[1]
