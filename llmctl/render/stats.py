"""Totals of the usage record as tables."""

from collections.abc import Mapping

from llmctl.ledger.queries import LedgerSummary, Totals
from llmctl.render.tables import Cell, table

_COLUMNS = ("requests", "errors", "hits", "shared", "prompt", "answer", "first ms")


def stats_text(summary: LedgerSummary) -> str:
    """Return one table by model, others by what there is more than one of, and what failed.

    ``prompt`` and ``answer`` are tokens; ``first ms`` is the median time to the first of them.
    """
    if not summary.total.requests:
        return "no requests yet\n"
    groups = {"backend": summary.by_backend, "tenant": summary.by_tenant}
    parts = [_table("model", {**summary.by_model, "all": summary.total})]
    parts += [_table(kind, group) for kind, group in groups.items() if len(group) > 1]
    if summary.total.hit_ratio is not None:
        parts.append(f"{summary.total.hit_ratio:.1%} of the answers came from the cache\n")
    if summary.errors:
        failed = ", ".join(f"{count} {name}" for name, count in summary.errors.items())
        parts.append(f"failed: {failed}\n")
    return "\n".join(parts)


def _table(kind: str, group: Mapping[str, Totals]) -> str:
    rows = [_row(name or "-", totals) for name, totals in group.items()]
    return table(rows, header=(kind, *_COLUMNS))


def _row(name: str, totals: Totals) -> list[Cell]:
    latency = totals.first_token_ms
    return [
        name,
        totals.requests,
        totals.errors,
        totals.cache.get("hit", 0),
        totals.cache.get("shared", 0),
        totals.prompt_tokens,
        totals.completion_tokens,
        None if latency is None else round(latency.p50),
    ]
