"""Sparklines: a row of figures as a row of characters, for terminals and for plain text."""

from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = " ▁▂▃▄▅▆▇█"
_PLAIN = " .:-=+*#"


def sparkline(values: Sequence[float | None], *, width: int, blocks: bool) -> str:
    """Return at most ``width`` characters, the last values to the right; heights share one scale.

    Where there are more values than columns, each column is the highest of its share, so that a
    peak is never lost. None and 0 are blank; whatever is above zero shows at least a little.
    """
    if width < 1 or not values:
        return ""
    columns = min(width, len(values))
    cuts = [len(values) * number // columns for number in range(columns + 1)]
    heights = [max((value or 0.0) for value in values[begin:end]) for begin, end in pairwise(cuts)]
    most, marks = max(heights), _BLOCKS if blocks else _PLAIN
    return "".join(_mark(height, most, marks) for height in heights)


def _mark(height: float, most: float, marks: str) -> str:
    if height <= 0:
        return marks[0]
    return marks[max(1, round(height / most * (len(marks) - 1)))]
