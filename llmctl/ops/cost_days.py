"""Days and months as people of a place count them; pure.

A zone is a ``tzinfo``, or None for that of this machine. Days have 23 or 25 hours where the clocks
change, and none is ever missing or counted twice.
"""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from msgspec import Struct

from llmctl.config.quantities import seconds
from llmctl.core.errors import ConfigError

Zone = tzinfo | None
_EPOCH = date(1970, 1, 1)
_DAY = timedelta(days=1)


class Day(Struct, frozen=True, kw_only=True):
    """A day, or what a range holds of it; ``begins`` belongs to it, ``ends`` to the next."""

    date: date
    begins: float
    """Unix time."""
    ends: float

    @property
    def number(self) -> int:
        """Days since 1970-01-01."""
        return (self.date - _EPOCH).days


def find_zone(name: str) -> Zone:
    """Return the zone ``UTC``, ``local`` or ``Europe/Berlin`` names; raises ``ConfigError``."""
    if name.lower() == "local":
        return None
    if name.upper() == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError  # 3 ms, for those who name a place

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(
            f"the time zone cannot be {name!r}: there is no such time zone on this machine",
            hint='--timezone or budget.timezone take "UTC", "local" or a name as "Europe/Berlin"',
        ) from None


def date_of(moment: float, zone: Zone) -> date:
    """Return the local date at a moment."""
    # whole seconds, as fromtimestamp rounds: the last microsecond of a day is not the next one
    return datetime.fromtimestamp(math.floor(moment), zone).date()  # without a zone it is local


def begin_of(day: date, zone: Zone) -> float:
    """Return the first moment of a day, Unix time; where midnight is left out, the one after."""
    return datetime.combine(day, time.min, zone).timestamp()


def days(since: float, until: float, zone: Zone) -> list[Day]:
    """Return the days that a range touches, the first and the last cut to it."""
    found = []
    for each in _whole_days(since, until, zone):
        begins, ends = max(each.begins, since), min(each.ends, until)
        if begins < ends:
            found.append(Day(date=each.date, begins=begins, ends=ends))
    return found


def day_of(moment: float, zone: Zone) -> Day:
    """Return the whole day a moment is in."""
    today = date_of(moment, zone)
    return Day(date=today, begins=begin_of(today, zone), ends=begin_of(today + _DAY, zone))


def month_of(moment: float, zone: Zone) -> Day:
    """Return the month a moment is in; its date is the first."""
    first = date_of(moment, zone).replace(day=1)
    following = (first + 31 * _DAY).replace(day=1)
    return Day(date=first, begins=begin_of(first, zone), ends=begin_of(following, zone))


def offsets(since: float, until: float, zone: Zone) -> list[tuple[float | None, int]]:
    """Return how far local time is ahead of UTC, until each change of it in a range; in seconds."""
    found: list[tuple[float | None, int]] = []
    current = _offset(since, zone)
    for each in _whole_days(since, until, zone):
        after = _offset(each.ends, zone)
        if after != current:
            found.append((_change(max(each.begins, since), each.ends, zone), current))
            current = after
    return [*found, (None, current)]


def read_moment(text: str, *, now: float, zone: Zone) -> float:
    """Read ``7d`` (ago), ``2026-11-01`` (its beginning), a date with a time, ``today``, ``month``.

    Raises ``ValueError``.
    """
    if text == "today":
        return day_of(now, zone).begins
    if text == "month":
        return month_of(now, zone).begins
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None:
        try:
            return now - seconds(text)
        except ValueError:
            raise ValueError(
                'expected a time ago such as "7d" or "24h", a date such as "2026-11-01", '
                '"today" or "month"'
            ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def _whole_days(since: float, until: float, zone: Zone) -> Iterator[Day]:
    day = date_of(since, zone)
    begins = begin_of(day, zone)
    while begins < until:
        ends = begin_of(day + _DAY, zone)
        if begins < ends:  # a place may leave a whole day out
            yield Day(date=day, begins=begins, ends=ends)
        day, begins = day + _DAY, ends


def _offset(moment: float, zone: Zone) -> int:
    here = datetime.fromtimestamp(math.floor(moment), zone)
    offset = (here if zone is not None else here.astimezone()).utcoffset()
    return round(offset.total_seconds()) if offset is not None else 0


def _change(begins: float, ends: float, zone: Zone) -> float:
    """Return the second from which on the offset is that of ``ends``."""
    low, high = int(begins), int(ends)
    wanted = _offset(ends, zone)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(middle, zone) == wanted:
            high = middle
        else:
            low = middle
    return float(high)
