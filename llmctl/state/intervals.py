"""When a rental is billed, and at which price."""

from typing import Literal

from msgspec import Struct

from llmctl.core.money import MicroUsd
from llmctl.core.rental import Phase, Rental

_STOPPED = (Phase.STOPPED,)


class Interval(Struct, frozen=True, kw_only=True):
    """A time at one price."""

    begins: float
    """Unix time."""
    ends: float | None
    """None while it lasts."""
    usd_per_hour: MicroUsd | None
    """None where the market did not say."""
    kind: Literal["running", "stopped"]
    provider: str | None = None
    instance_id: str | None = None
    """Whose time it is; both are None in records of llmctl 0.2."""


def interval_of(rental: Rental, now: float) -> Interval | None:
    """Return the interval a rental is in; None before it exists, and after its end."""
    if rental.instance_id is None or not rental.phase.live or not rental.provider.paid:
        return None
    stopped = rental.phase in _STOPPED
    return Interval(
        begins=now,
        ends=None,
        usd_per_hour=rental.stopped_usd_per_hour if stopped else rental.usd_per_hour,
        kind="stopped" if stopped else "running",
        provider=rental.provider.value,
        instance_id=rental.instance_id,
    )
