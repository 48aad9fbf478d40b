"""vast.ai's charges, and what their words mean; pure.

One row is one contract over some time, by default a day. Amounts are dollars with three decimals,
so each may be half a tenth of a cent away from what was counted.
"""

import math
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.billing import Charge
from llmctl.core.errors import ProviderError
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import ProviderName
from llmctl.providers.vast.api import words

ROUNDING = MicroUsd(500)
DAY_S = 86_400
_SOURCE = "instance-"
_TRAFFIC = ("bwd", "bwu")


class ChargeItem(Struct, frozen=True, kw_only=True):
    """A part of a row."""

    type: str = ""
    amount: float = 0.0


class ChargeRow(Struct, frozen=True, kw_only=True):
    """The fields llmctl reads; without the first four a row is not one of this API."""

    source: str
    start: float
    end: float
    amount: float
    metadata: Any = None
    items: list[ChargeItem] | None = None


def days(since: float, until: float) -> dict[str, Any]:
    """Return the filter for the UTC days that a range touches; both bounds are needed."""
    first = math.floor(since / DAY_S) * DAY_S
    last = max(math.ceil(until / DAY_S) * DAY_S - 1, first)
    return {"day": {"gte": first, "lte": last}, "type": {"in": ["instance"]}}


def read_charges(answer: object) -> tuple[list[Charge], str | None]:
    """Read one page: its charges, and where the next one begins.

    Raises ``ProviderError`` for all that is no page: what cannot be read is not free.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
        said = words(answer) if isinstance(answer, dict) else ""
        raise ProviderError(f"vast.ai shows no charges{f': {said}' if said else ''}")
    token = answer.get("next_token")
    if token is not None and not isinstance(token, str):
        raise ProviderError(f"vast.ai's charges go on at {token!r}, which cannot be followed")
    try:
        rows = msgspec.convert(answer["results"], list[ChargeRow], strict=False)
    except msgspec.ValidationError as exc:
        raise ProviderError(f"vast.ai shows a charge that cannot be read: {exc}") from exc
    found = [_charge(row) for row in rows if row.source.startswith(_SOURCE)]
    return found, token or None


def _charge(row: ChargeRow) -> Charge:
    label = row.metadata.get("label") if isinstance(row.metadata, dict) else None
    traffic = sum(_money(each.amount) for each in row.items or () if each.type in _TRAFFIC)
    return Charge(
        provider=ProviderName.VAST,
        instance_id=row.source.removeprefix(_SOURCE),
        label=label if isinstance(label, str) else "",
        begins=row.start,
        ends=max(row.start, row.end),
        amount=_money(row.amount),
        traffic=MicroUsd(traffic),
        rounding=ROUNDING,
    )


def _money(dollars: float) -> MicroUsd:
    if not math.isfinite(dollars):
        raise ProviderError(f"vast.ai shows a charge of {dollars} dollars")
    return micro_usd(dollars)
