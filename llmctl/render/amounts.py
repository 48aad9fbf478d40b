"""Money, sizes, rates and durations as people read them."""

from llmctl.core.money import MicroUsd

_UNITS = ("B", "kB", "MB", "GB", "TB")


def usd(amount: MicroUsd | None) -> str:
    """Return dollars with cents, small amounts with four places: ``$1.24``, ``$0.0003``."""
    if amount is None:
        return "-"
    dollars = amount / 1_000_000
    if amount == 0 or abs(dollars) >= 0.01:
        return f"${dollars:.2f}"
    return f"${dollars:.4f}"


def per_hour(amount: MicroUsd | None) -> str:
    """Return a price an hour: ``$0.342/h``."""
    return "-" if amount is None else f"${amount / 1_000_000:.3f}/h"


def size(count: float) -> str:
    """Return bytes in decimal units, as disks and networks count: ``18.6 GB``."""
    value = float(count)
    for unit in _UNITS:
        if value < 999.5 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def rate(bytes_per_s: float) -> str:
    """Return a transfer rate: ``84.0 MB/s``."""
    return f"{size(bytes_per_s)}/s"


def clock(seconds: float) -> str:
    """Return a running time: ``4:07``, ``1:04:07``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``3 h 12 min``, ``2 h``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    counts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((place for place, (count, _) in enumerate(counts) if count), len(counts) - 1)
    first_two = counts[first : first + 2]
    return " ".join(f"{count} {unit}" for count, unit in first_two if count) or "0 s"


def count(number: float) -> str:
    """Return a number in five characters or fewer: ``999``, ``9,999``, ``23.0M``."""
    if number < 9_999.5:
        return f"{number:,.0f}"
    value, units = number / 1000, "kMGT"
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.0f}{units[0]}" if value >= 99.95 else f"{value:.1f}{units[0]}"


def latency(ms: float) -> str:
    """Return a wait: ``0.4 ms``, ``432 ms``, ``2.13 s``, ``135 s``."""
    if ms < 999.5:
        return f"{ms:.1f} ms" if ms < 9.95 else f"{ms:.0f} ms"
    seconds = ms / 1000
    return f"{seconds:.2f} s" if seconds < 99.995 else f"{seconds:.0f} s"
