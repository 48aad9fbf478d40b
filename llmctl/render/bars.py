"""Bar charts of one line each, for terminals and for plain text."""

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


def bars(values: Sequence[float | None], *, width: int, blocks: bool) -> list[str]:
    """Return a bar for each value, the longest ``width`` columns wide; None and 0 have none.

    ``blocks`` are eighths of a column, where the terminal has the characters; ``#`` otherwise.
    Whatever is above zero shows at least a little.
    """
    most = max((each for each in values if each is not None), default=0.0)
    if most <= 0:
        return [""] * len(values)
    return [_bar(max(each or 0.0, 0.0) / most * width, blocks=blocks) for each in values]


def _bar(length: float, *, blocks: bool) -> str:
    if not length:
        return ""
    if not blocks:
        return "#" * max(round(length), 1)
    whole, eighths = divmod(max(round(length * 8), 1), 8)
    return _FULL * whole + _EIGHTHS[eighths].strip()
