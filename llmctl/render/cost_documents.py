"""The cost report for programs: one JSON document, or rows of CSV."""

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.reports_cost import CostReport, CostRow, Limit, Money, Use
from llmctl.render.json import document

PLACES = 6
"""Micro-dollars, so that sums of documents add up."""
_TIMES = ("at", "since", "until", "begins", "ends")
_MONEY = tuple(name for name in Money.__struct_fields__ if name.endswith("_usd"))
_MONEY_TIMES = tuple(name for name in Money.__struct_fields__ if name.endswith("_s"))


def cost_document(report: CostReport) -> str:
    """Return everything as JSON: money as decimal text, times in RFC 3339, unknown as null."""
    fields = _shown(msgspec.to_builtins(report, builtin_types=(Decimal,)))
    fields["money"] = _money(report.money)
    fields["rows"] = [_row(row) for row in report.rows]
    fields["use"] = _use(report.use)
    limits = zip(fields["spend"]["limits"], report.spend.limits, strict=True)
    fields["spend"]["limits"] = [shown | _of_limit(limit) for shown, limit in limits]
    return document(fields)


def cost_csv(report: CostReport) -> str:
    """Return a line for each row of the report, with a header; unknown is empty."""
    header = [report.group_by, "begins", "ends", *_MONEY, "difference_usd", "spent_usd"]
    header += [*_MONEY_TIMES, *Use.__struct_fields__]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, header, lineterminator="\n")
    writer.writeheader()
    for row in report.rows:
        shown = _row(row)
        money = shown["money"] or {}
        writer.writerow(
            {
                report.group_by: row.name,
                "begins": shown["begins"],
                "ends": shown["ends"],
                **money,
                **{name: shown["use"][name] for name in Use.__struct_fields__},
            }
        )
    return stream.getvalue()


def _row(row: CostRow) -> dict[str, Any]:
    shown: dict[str, Any] = _shown(msgspec.to_builtins(row))
    return shown | {"money": _money(row.money), "use": _use(row.use)}


def _money(money: Money | None) -> dict[str, Any] | None:
    if money is None:
        return None
    derived = {"difference_usd": money.difference_usd, "spent_usd": money.spent_usd}
    shown: dict[str, Any] = _shown(msgspec.to_builtins(money) | derived)
    return shown


def _use(use: Use) -> dict[str, Any]:
    shown: dict[str, Any] = _shown(msgspec.to_builtins(use))
    return shown | {"answers": use.answers, "tokens": use.tokens}


def _of_limit(limit: Limit) -> dict[str, Any]:
    return {"share": round(limit.share, 6), "left_usd": decimal_text(limit.left_usd, places=PLACES)}


def _shown(fields: Any) -> Any:
    """Return fields with money and times as text, in inner ones too."""
    if isinstance(fields, list):
        return [_shown(each) for each in fields]
    if not isinstance(fields, dict):
        return fields
    return {name: _field(name, value) for name, value in fields.items()}


def _field(name: str, value: Any) -> Any:
    if isinstance(value, dict | list):
        return _shown(value)
    if isinstance(value, int) and "usd" in name.split("_"):
        return decimal_text(MicroUsd(value), places=PLACES)
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, float):
        return _time(value) if name in _TIMES else round(value, 6)
    return value


def _time(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
