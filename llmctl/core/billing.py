"""What a market says it charged, in words that fit all of them."""

from msgspec import Struct

from llmctl.core.money import MicroUsd
from llmctl.core.rental import ProviderName


class Charge(Struct, frozen=True, kw_only=True):
    """One line of a market's bill: an amount for one instance over some time."""

    provider: ProviderName
    instance_id: str
    label: str = ""
    """The instance's, where the bill shows it."""
    begins: float
    """Unix time."""
    ends: float
    """Never before ``begins``."""
    amount: MicroUsd
    """Everything; below zero for a refund."""
    traffic: MicroUsd = MicroUsd(0)
    """The part of it that is traffic."""
    rounding: MicroUsd = MicroUsd(0)
    """How far ``amount`` may be from the true one because the market rounds what it shows."""


class Bill(Struct, frozen=True, kw_only=True):
    """What a market shows for a range of time; it lags behind, by minutes or by a day."""

    provider: ProviderName
    charges: list[Charge]
