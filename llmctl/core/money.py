"""Money as integer micro-dollars; rounded only where it is shown, and then in ``render``."""

import math
from decimal import Decimal
from typing import NewType

MicroUsd = NewType("MicroUsd", int)
"""Millionths of a US dollar; a price per hour where the name says so."""

HOUR_S = 3600
_MILLION = 1_000_000


def micro_usd(dollars: float | str | Decimal) -> MicroUsd:
    """Return dollars as micro-dollars, to the nearest; raises ``ValueError`` for what is no number.

    Floats go through their shortest text, so that 0.1 is 100,000 and not a little more.
    """
    try:
        amount = Decimal(str(dollars))
        return MicroUsd(int((amount * _MILLION).to_integral_value()))
    except (ArithmeticError, ValueError):
        raise ValueError(f"{dollars!r} is not an amount of money") from None


def cost(usd_per_hour: MicroUsd, seconds: float) -> MicroUsd:
    """Return what ``seconds`` at an hourly price come to, rounded up."""
    return MicroUsd(math.ceil(usd_per_hour * max(seconds, 0.0) / HOUR_S))


def decimal_text(amount: MicroUsd, *, places: int = 4) -> str:
    """Return dollars as a decimal string, e.g. ``"0.3400"``: the form of JSON documents."""
    return f"{Decimal(amount) / _MILLION:.{places}f}"
