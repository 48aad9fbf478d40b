"""Hours, days and months of a time zone, as epoch seconds."""

from datetime import UTC, datetime, timedelta, tzinfo
from math import floor
from typing import Literal

By = Literal["hour", "day", "month"]
PERIODS: tuple[By, ...] = ("hour", "day", "month")


def bounds(at: float, by: By, zone: tzinfo | None = UTC) -> tuple[float, float]:
    """Return when the period around ``at`` begins and ends; None is the zone of this machine.

    Where clocks change, a day has 23 or 25 hours.
    """
    second = floor(at)  # a fraction would be rounded, and perhaps into the next period
    if by == "hour":
        local = _local(second, zone)
        begins = second - 60.0 * local.minute - local.second
        return begins, begins + 3600
    midnight = _local(second, zone).replace(hour=0, minute=0, second=0, fold=0)
    if by == "day":
        return midnight.timestamp(), (midnight + timedelta(days=1)).timestamp()
    first = midnight.replace(day=1)
    following = (first + timedelta(days=32)).replace(day=1)
    return first.timestamp(), following.timestamp()


def _local(at: float, zone: tzinfo | None) -> datetime:
    """Return wall-clock time; without a zone it is naive, which ``timestamp`` takes as local."""
    return datetime.fromtimestamp(at, zone)
