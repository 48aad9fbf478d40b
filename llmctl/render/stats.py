"""Totals of the usage record as tables, JSON and CSV."""

import csv
import io
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any

import msgspec

from llmctl.core.usage import CacheOutcome
from llmctl.ledger.queries import LedgerSeries, LedgerSummary
from llmctl.ledger.totals import Totals
from llmctl.render.amounts import count, latency
from llmctl.render.json import document
from llmctl.render.tables import Cell, narrowed
from llmctl.render.wrapping import wrapped

GROUPS = ("model", "tenant", "backend")
"""What a summary can be divided by."""

_HEADER = ("requests", "failed", "hits", "in", "out", "tok/s", "p50", "p95", "p99")
_SPARE = ("p99", "tok/s", "p95", "in", "failed")
"""Columns a narrow terminal does without, the first first; JSON and CSV have them all."""
_TIERS = {"exact": "exact cache", "semantic": "semantic cache", "shared": "shared generation"}
_TITLES = {"hour": "%Y-%m-%d %H:%M", "day": "%Y-%m-%d", "month": "%Y-%m"}
_TIMES = ("since", "until", "start", "end")


def stats_text(summary: LedgerSummary, *, by: str | None = None, width: int | None = None) -> str:
    """Return the figures of all requests and a table by model; or a table ``by`` one of GROUPS.

    By backend and tenant as well, where there is more than one. ``in`` and ``out`` are tokens,
    ``p50`` and on the time to the first of them.
    """
    if not summary.total.requests:
        return "no requests\n"
    groups = {"model": summary.by_model, "backend": summary.by_backend, "tenant": summary.by_tenant}
    if by is not None:
        return _table(by, {**groups[by], "all": summary.total}, width) + _failed(
            summary.errors, width
        )
    parts = [_facts(summary.total, summary.errors, width)]
    parts += [
        _table(kind, group, width)
        for kind, group in groups.items()
        if kind == "model" or len(group) > 1
    ]
    return "\n".join(parts)


def series_text(
    series: LedgerSeries, *, zone: tzinfo | None = UTC, width: int | None = None
) -> str:
    """Return a line for each period that had requests, and one for all."""
    if not series.total.requests:
        return "no requests\n"
    names = {_title(period.start, series.by, zone): period.total for period in series.periods}
    return _table(series.by, {**names, "all": series.total}, width) + _failed(series.errors, width)


def stats_document(answer: LedgerSummary | LedgerSeries, source: str) -> str:
    """Return one JSON document: sums, where they are from, times in RFC 3339."""
    return document(_with_times(msgspec.to_builtins(answer)) | {"source": source})


def stats_csv(answer: LedgerSummary | LedgerSeries, *, by: str = "model") -> str:
    """Return a header and a row for each model, tenant, engine or period."""
    rows: list[dict[str, Cell]]
    if isinstance(answer, LedgerSeries):
        rows = [
            {"start": rfc3339(each.start), "end": rfc3339(each.end), **_figures(each.total)}
            for each in answer.periods
        ]
    else:
        groups: dict[str, Totals] = getattr(answer, f"by_{by}")
        rows = [{by: name, **_figures(totals)} for name, totals in groups.items()]
    first = ["start", "end"] if isinstance(answer, LedgerSeries) else [by]
    written = io.StringIO()
    writer = csv.DictWriter(written, [*first, *_figures(Totals())], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def rfc3339(moment: float) -> str:
    """Return epoch seconds as ``2026-11-23T04:00:00Z``."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _facts(total: Totals, errors: Mapping[str, int], width: int | None) -> str:
    rows = [["requests", f"{total.requests:,}"]]
    if errors:
        rows.append(["failed", f"{total.errors:,}: {_listed(errors)}"])
    answered = [f"{_TIERS[tier]} {share:.1%}" for tier, share in total.tier_ratios.items() if share]
    if total.hit_ratio is not None:
        engine = 1 - sum(total.tier_ratios.values())
        rows.append(["answered by", ", ".join([*answered, f"engine {engine:.1%}"])])
    if bypassed := total.cache.get(CacheOutcome.BYPASS, 0):
        rows.append(["no cache", f"{bypassed:,} wanted none, or failed before it was asked"])
    cached = f" ({count(total.cached_prompt_tokens)} from the engine's own cache)"
    known = cached if total.cached_prompt_tokens else ""
    rows.append(
        ["tokens", f"{count(total.prompt_tokens)} in{known}, {count(total.completion_tokens)} out"]
    )
    if total.tokens_per_s is not None:
        rows.append(["speed", f"{total.tokens_per_s:,.1f} tokens/s"])
    if (first := total.first_token_ms) is not None:
        waits = {"p50": first.p50, "p95": first.p95, "p99": first.p99}
        shown = ", ".join(f"{name} {latency(ms)}" for name, ms in waits.items())
        rows.append(["first token", shown])
    return "".join(_wrapped(title, text, width) for title, text in rows)


def _wrapped(title: str, text: str, width: int | None) -> str:
    return wrapped(f"{title:<13}{text}", width, indent=13) + "\n"


def _failed(errors: Mapping[str, int], width: int | None) -> str:
    return "\n" + _wrapped("failed", _listed(errors), width) if errors else ""


def _listed(errors: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in errors.items())


def _table(kind: str, group: Mapping[str, Totals], width: int | None) -> str:
    rows = [_row(name or "-", totals) for name, totals in group.items()]
    return narrowed(rows, (kind, *_HEADER), width=width, spare=_SPARE, right=_HEADER)


def _row(name: str, totals: Totals) -> list[Cell]:
    first, speed, hits = totals.first_token_ms, totals.tokens_per_s, totals.hit_ratio
    waits = (
        [None] * 3 if first is None else [latency(ms) for ms in (first.p50, first.p95, first.p99)]
    )
    return [
        name,
        totals.requests,
        totals.errors,
        None if hits is None else f"{hits:.1%}",
        count(totals.prompt_tokens),
        count(totals.completion_tokens),
        speed,
        *waits,
    ]


def _title(start: float, by: str, zone: tzinfo | None) -> str:
    return datetime.fromtimestamp(start, zone).strftime(_TITLES[by])


def _figures(totals: Totals) -> dict[str, Cell]:
    first = totals.first_token_ms
    return {
        "requests": totals.requests,
        "errors": totals.errors,
        **{outcome.value: totals.cache.get(outcome, 0) for outcome in CacheOutcome},
        "hit_ratio": _rounded(totals.hit_ratio),
        "prompt_tokens": totals.prompt_tokens,
        "completion_tokens": totals.completion_tokens,
        "cached_prompt_tokens": totals.cached_prompt_tokens,
        "tokens_per_s": totals.tokens_per_s,
        "first_token_p50_ms": None if first is None else first.p50,
        "first_token_p95_ms": None if first is None else first.p95,
        "first_token_p99_ms": None if first is None else first.p99,
    }


def _rounded(ratio: float | None) -> float | None:
    return None if ratio is None else round(ratio, 6)


def _with_times(fields: Any) -> Any:
    if isinstance(fields, list):
        return [_with_times(each) for each in fields]
    if not isinstance(fields, dict):
        return fields
    return {
        name: rfc3339(value) if name in _TIMES and isinstance(value, float) else _with_times(value)
        for name, value in fields.items()
    }
