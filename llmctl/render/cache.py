"""What is in the cache, and what became of it, for people and as JSON documents."""

import textwrap
from typing import Any

import msgspec

from llmctl.core.money import decimal_text
from llmctl.core.rental import Step, StepState
from llmctl.core.reports_cache import (
    CacheCheck,
    CacheEntry,
    CacheListing,
    CacheStats,
    CacheTest,
    CacheUsage,
    Cleared,
    ShownEntry,
    WarmProgress,
    WarmReport,
)
from llmctl.render.amounts import count, duration, latency, size, usd
from llmctl.render.json import document
from llmctl.render.stats import rfc3339
from llmctl.render.tables import Cell, table
from llmctl.semantic.report import SemanticReport

_LEAST_EXCERPT = 20
_ORDERS = {"meaning": "by meaning", "words": "by their words", "created": "newest first"}


def listing_text(listing: CacheListing, *, now: float, width: int | None = None) -> str:
    """Return a line for each entry, cut at ``width`` columns; None does not cut."""
    if not listing.entries:
        return "no cached answer fits\n"
    tenants = {entry.tenant for entry in listing.entries}
    header = ["id", "age", "model", "tokens", "size"]
    header += ["tenant"] if len(tenants) > 1 else []
    header += ["alike"] if listing.by != "created" else []
    rows = [_row(entry, header, now) for entry in listing.entries]
    lines = table(rows, header=header, right={"age", "tokens", "size", "alike"}).splitlines()
    texts = ["question", *(entry.excerpt or "-" for entry in listing.entries)]
    column = max(map(len, lines)) + 2
    room = None if width is None else max(width - column, _LEAST_EXCERPT)
    text = "".join(
        f"{line:<{column}}{_cut(said, room)}".rstrip() + "\n"
        for line, said in zip(lines, texts, strict=True)
    )
    shown, total = len(listing.entries), listing.total
    order = _ORDERS[listing.by]
    return text + (f"{shown} of {total:,}, {order}\n" if total > shown else f"{order}\n")


def _row(entry: CacheEntry, header: list[str], now: float) -> list[Cell]:
    cells: dict[str, Cell] = {
        "id": entry.id,
        "age": duration(max(now - entry.created, 0.0)),
        "model": entry.model,
        "tokens": entry.completion_tokens,
        "size": size(entry.bytes),
        "tenant": entry.tenant,
        "alike": f"{entry.similarity or 0:.3f}",
    }
    return [cells[name] for name in header]


def _cut(text: str, room: int | None) -> str:
    return text if room is None or len(text) <= room else text[: room - 1] + "…"


def listing_document(listing: CacheListing) -> str:
    """Return the same as a JSON document."""
    entries = [_entry(entry) for entry in listing.entries]
    return document({"entries": entries, "total": listing.total, "by": listing.by})


def _entry(entry: CacheEntry) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(entry)
    for name in ("created", "expires", "accessed"):
        moment = fields.pop(name)
        fields[f"{name}_at"] = None if moment is None else rfc3339(moment)
    return fields


def shown_text(shown: ShownEntry, *, now: float) -> str:
    """Return an entry with its answer."""
    entry = shown.entry
    tokens = f"{entry.prompt_tokens:,} in, {entry.completion_tokens:,} out"
    rows: list[list[Cell]] = [
        ["id", entry.id],
        ["tenant", entry.tenant],
        ["model", f"{entry.model}, asked for as {entry.asked}" if entry.asked else entry.model],
        ["made", f"{rfc3339(entry.created)}, {duration(max(now - entry.created, 0.0))} ago"],
        ["until", rfc3339(entry.expires)],
        ["tokens", f"{tokens}; the engine took {latency(entry.total_ms)}"],
        ["size", size(entry.bytes)],
        ["ended by", shown.stop_reason or "-"],
    ]
    parts = [table(rows), f"question\n{_indented(entry.excerpt or '-')}"]
    parts.append(f"answer\n{_indented(_answer(shown.content))}")
    return "\n".join(parts)


def _answer(content: list[object]) -> str:
    parts = []
    for block in content:
        fields = msgspec.convert(block, dict[str, Any])
        kind = fields.get("type")
        if kind == "text":
            parts.append(fields["text"])
        elif kind == "thinking":
            parts.append(f"[thinks] {fields['thinking']}")
        else:
            parts.append(
                f"[calls {fields.get('name')}] {msgspec.json.encode(fields.get('input')).decode()}"
            )
    return "\n".join(parts)


def _indented(text: str) -> str:
    return textwrap.indent(text, "  ").rstrip() + "\n"


def shown_document(shown: ShownEntry) -> str:
    """Return the same as a JSON document."""
    fields = _entry(shown.entry)
    fields |= {"stop_reason": shown.stop_reason, "content": shown.content}
    return document(fields | {"questions": shown.questions})


def cleared_text(cleared: Cleared) -> str:
    """Return what was removed, or would be."""
    answers = "1 cached answer" if cleared.entries == 1 else f"{cleared.entries:,} cached answers"
    if cleared.dry_run:
        return f"would remove {answers} from {cleared.location}\n"
    text = f"removed {answers} from {cleared.location}\n"
    if cleared.key_dropped:
        text += "the key is a new one: no copy of what was cached can be read again\n"
    return text


def stats_text(stats: CacheStats, semantic: SemanticReport | None) -> str:
    """Return the state of the cache, what it was good for, and how far the semantic tier may go."""
    rows: list[list[Cell]] = [["store", f"{stats.store} {stats.location}"]]
    rows.append(["entries", _amount(stats)])
    if stats.ages is not None:
        ages = stats.ages
        shown = (duration(ages.newest_s), duration(ages.median_s), duration(ages.oldest_s))
        rows.append(["age", "newest {}, median {}, oldest {}".format(*shown)])
    if len(stats.by_model) > 1:
        models = ", ".join(f"{name} {number:,}" for name, number in stats.by_model.items())
        rows.append(["models", models])
    rows.append(["evicted", "unknown" if stats.evicted is None else f"{stats.evicted:,}"])
    if stats.unreadable:
        rows.append(["unreadable", f"{stats.unreadable:,}: of other installations, or changed"])
    if stats.rejected:
        rows.append(["rejected", f"{stats.rejected:,} by the running proxy: not as it wrote them"])
    rows += _usage_rows(stats.usage)
    if semantic is not None:
        rows += _semantic_rows(semantic)
    notes = "".join(f"note: {note}\n" for note in (stats.detail, stats.advice) if note)
    return table(rows) + notes


def _amount(stats: CacheStats) -> str:
    if stats.entries is None:
        return "unknown: no proxy answers, and they are in its memory"
    limit = f" of {size(stats.max_bytes)}" if stats.max_bytes else ""
    return f"{stats.entries:,}, {size(stats.bytes or 0)}{limit}"


def _usage_rows(usage: CacheUsage | None) -> list[list[Cell]]:
    if usage is None or not usage.requests:
        return [["requests", "none on record"]]
    rows: list[list[Cell]] = [["requests", f"{usage.requests:,}, {usage.looked:,} asked the cache"]]
    if usage.hit_ratio is not None:
        tiers = [
            f"{name} {tier.ratio:.1%} ({tier.hits:,})"
            for name, tier in usage.tiers.items()
            if tier.ratio is not None and (tier.hits or name == "exact")
        ]
        rows.append(["answered", ", ".join(tiers)])
    tokens = f"{count(usage.prompt_tokens_saved)} in, {count(usage.completion_tokens_saved)} out"
    rows.append(["saved", f"{tokens}; {usd(usage.saved_usd)} at the price of the cloud"])
    return rows


def _semantic_rows(report: SemanticReport) -> list[list[Cell]]:
    rows: list[list[Cell]] = [
        ["semantic", f"{report.entries:,} questions, {report.served:,} answers served"]
    ]
    if report.would_serve:
        between = f"{report.wrong_low:.2%} to {report.wrong_high:.2%}"
        seen = f"{report.wrong:,} of {report.would_serve:,} compared"
        rows.append(["wrong hits", f"{seen}: {between} with 95 % confidence"])
    return [*rows, ["advice", report.recommendation]]


def stats_document(stats: CacheStats, semantic: SemanticReport | None) -> str:
    """Return the same as a JSON document."""
    fields: dict[str, Any] = msgspec.to_builtins(stats)
    if stats.usage is not None:
        usage = fields["usage"]
        usage["saved_usd"] = decimal_text(stats.usage.saved_usd)
        since = usage.pop("since")
        usage["since"] = None if since is None else rfc3339(since)
    return document(fields | {"semantic": _semantic(semantic)})


def _semantic(report: SemanticReport | None) -> dict[str, Any] | None:
    if report is None:
        return None
    fields: dict[str, Any] = msgspec.to_builtins(report)
    fields["since"] = None if report.since is None else rfc3339(report.since)
    return fields


def warm_text(report: WarmReport) -> str:
    """Return what became of the prompts, and the first that failed."""
    tokens = f"{report.prompt_tokens:,} in, {report.completion_tokens:,} out"
    rows: list[list[Cell]] = [
        ["prompts", f"{report.prompts:,} in {duration(report.seconds)}"],
        ["hits", f"{report.hits:,} were in the cache"],
        ["misses", f"{report.misses:,} are in it now; {tokens}"],
    ]
    if report.uncached:
        rows.append(["not kept", f"{report.uncached:,}: the answer was cut, or the cache is off"])
    if report.errors:
        rows.append(["errors", f"{report.errors:,}"])
    failures = "".join(f"line {each.line}: {each.message}\n" for each in report.failures)
    return table(rows) + failures


def warm_step(step: WarmProgress, elapsed_s: float) -> Step:
    """Return how far ``cache warm`` has come, as a line of progress."""
    text = f"{step.done:,} of {step.total:,}: {step.hits:,} hits, {step.misses:,} misses"
    text += f", {step.errors:,} errors" if step.errors else ""
    state = StepState.DONE if step.done == step.total else StepState.PROGRESS
    # figures move, which is no news in a log
    return Step(name="warm", state=state, text=text, elapsed_s=elapsed_s)


def test_text(report: CacheTest, semantic: SemanticReport | None) -> str:
    """Return a line for each check."""
    header = ("check", "", "p50", "p95", "result")
    rows = [_check(check) for check in report.checks]
    text = f"{report.store} {report.location}\n\n"
    text += table(rows, header=header, right={"p50", "p95"})
    if semantic is not None:
        text += "\n" + table(_semantic_rows(semantic))
    return text


def _check(check: CacheCheck) -> list[Cell]:
    mark = {True: "ok", False: "WRONG", None: "-"}[check.ok]
    times = [None if ms is None else _ms(ms) for ms in (check.p50_ms, check.p95_ms)]
    return [check.name, mark, times[0] or "", times[1] or "", check.result]


def _ms(ms: float) -> str:
    return f"{ms * 1000:.0f} µs" if ms < 1 else latency(ms)


def test_document(report: CacheTest, semantic: SemanticReport | None) -> str:
    """Return the same as a JSON document."""
    fields: dict[str, Any] = msgspec.to_builtins(report)
    return document(fields | {"ok": report.ok, "semantic": _semantic(semantic)})
