"""Totals of the usage record as tables."""

from llmctl.ledger.queries import LedgerSummary, Totals
from llmctl.render.tables import Cell, table

_HEADER = ("", "requests", "errors", "hits", "shared", "prompt", "answer", "ms to first")


def stats_text(summary: LedgerSummary) -> str:
    """Return sums over everything, by model and by engine; tokens in thousands are not rounded."""
    if not summary.total.requests:
        return "no requests yet\n"
    rows = [_row("all", summary.total)]
    groups = (summary.by_model, summary.by_backend, summary.by_tenant)
    for group in groups:
        if len(group) > 1 or group is summary.by_model:
            rows += [_row(name or "-", totals) for name, totals in group.items()]
    text = table(rows, header=_HEADER)
    if summary.total.hit_ratio is not None:
        text += f"\n{summary.total.hit_ratio:.1%} of the answers came from the cache\n"
    if summary.errors:
        failed = ", ".join(f"{count} {name}" for name, count in summary.errors.items())
        text += f"\nfailed: {failed}\n"
    return text


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
