"""What a bench measured, what it means in money, and how it compares with earlier ones."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.reports_bench import Bench, BenchMoney, Figures, Prefill
from llmctl.render.amounts import duration, per_hour, usd
from llmctl.render.tables import Cell, narrowed, table
from llmctl.render.wrapping import folded, wrapped

_HEADER = (
    "when",
    "name",
    "gpu",
    "model",
    "first ms",
    "read/s",
    "write/s",
    "at once",
    "$/M",
    "change",
)
_SPARE = ("gpu", "at once", "first ms", "read/s", "change", "when", "model")
_RIGHT = ("$/M", "change")


def bench_text(bench: Bench, earlier: Bench | None, *, width: int | None = None) -> str:
    """Return the report of one run; ``earlier`` is the last of the same model and machine."""
    parts = [f"{wrapped(_subject(bench), width)}\n\n", _speeds(bench, earlier, width)]
    if bench.figures.levels:
        parts += ["\n", _levels(bench)]
    parts += ["\n", _money(bench, width)]
    if bench.stopped:
        parts.append(f"\nnot everything was measured: {bench.stopped}\n")
    return "".join(parts)


def bench_document(bench: Bench) -> dict[str, Any]:
    """Return what ``--json`` prints: money as decimal text, times in RFC 3339."""
    document: dict[str, Any] = _with_decimals(msgspec.to_builtins(bench))
    document["at"] = _moment(bench.at)
    if bench.money is not None:
        document["money"]["saved_share"] = round(bench.money.saved_share, 4)
    return document


def history_text(results: Sequence[Bench], *, width: int | None = None) -> str:
    """Return a line for each run, oldest first, with the change since the one before it."""
    if not results:
        return "nothing was measured yet: llmctl bench\n"
    last: dict[tuple[str, str], Bench] = {}
    rows: list[list[Cell]] = []
    for each in results:
        key = (each.name, each.model)
        rows.append(_row(each, last.get(key)))
        last[key] = each
    return narrowed(rows, _HEADER, width=width, spare=_SPARE, right=_RIGHT)


def _subject(bench: Bench) -> str:
    context = f", {bench.num_ctx:,} tokens of context" if bench.num_ctx else ""
    facts = [bench.engine, bench.gpu, per_hour(bench.usd_per_hour) if bench.usd_per_hour else ""]
    known = ", ".join(fact for fact in facts if fact)
    return f"{bench.model}{context} on {bench.name}" + (f" ({known})" if known else "")


def _speeds(bench: Bench, earlier: Bench | None, width: int | None) -> str:
    figures = bench.figures
    then = earlier.figures if earlier else Figures()
    rows: list[list[Cell]] = []
    if figures.load_s is not None:
        rows.append(["first answer", f"{figures.load_s:.1f} s", "with loading, if it was needed"])
    if (first := figures.first_token_ms) is not None:
        rows.append(["first token", f"{first:,.0f} ms", _moved(first, then.first_token_ms)])
    rows += [
        [title, f"{now.tokens_per_s:,.0f} tokens/s", _reading(now, before)]
        for title, now, before in (
            ("new prompt", figures.cold, then.cold),
            ("known prompt", figures.warm, then.warm),
        )
        if now is not None
    ]
    return folded(rows, width) if rows else "nothing was measured\n"


def _reading(now: Prefill, before: Prefill | None) -> str:
    text = f"{now.prompt_tokens:,} tokens in {now.first_token_ms:,.0f} ms"
    moved = _moved(now.tokens_per_s, before.tokens_per_s if before else None)
    return f"{text}, {moved}" if moved else text


def _levels(bench: Bench) -> str:
    rows = [
        [
            level.concurrency,
            level.tokens_per_s,
            level.each_tokens_per_s,
            round(level.first_token_ms),
        ]
        for level in bench.figures.levels
    ]
    return table(rows, header=("at once", "tokens/s", "each", "first ms"))


def _money(bench: Bench, width: int | None) -> str:
    money = bench.money
    if money is None:
        if bench.usd_per_hour is None:
            text = "no price is known: --usd-per-hour 0.40 works out what tokens cost"
            return wrapped(text, width) + "\n"
        return "too little was measured to work out what tokens cost\n"
    mix = money.mix
    rows: list[list[Cell]] = [
        ["a million tokens", usd(money.usd_per_million_tokens), _compared(money)],
        ["a million written", usd(money.usd_per_million_answer_tokens), "if it did nothing else"],
        ["breaks even at", f"{100 * money.break_even_utilisation:.1f} %", _busy(money)],
    ]
    if bench.spent_usd is not None:
        rows.append(["this run", usd(bench.spent_usd), f"in {duration(bench.seconds)}"])
    note = (
        f"for requests of {mix.prompt:,} prompt tokens ({mix.fresh:,} new) and {mix.answer:,} of "
        f"answer, {money.concurrency} at once"
    )
    return f"{folded(rows, width)}{wrapped(note, width)}\n"


def _compared(money: BenchMoney) -> str:
    cloud = f"{usd(money.cloud_usd_per_million_tokens)} at {money.cloud_model}"
    share = money.saved_share
    side = f"{100 * share:.0f} % less" if share >= 0 else f"{-100 * share:.0f} % more"
    return f"{cloud}: {side} if always busy"


def _busy(money: BenchMoney) -> str:
    if money.break_even_utilisation > 1:
        return "of the hour: it never does"
    return f"of the hour busy, {money.break_even_requests_per_hour:,.0f} requests an hour"


def _row(bench: Bench, earlier: Bench | None) -> list[Cell]:
    figures, fastest = bench.figures, bench.figures.fastest
    then = earlier.figures.fastest if earlier else None
    written = fastest.tokens_per_s if fastest else None
    return [
        datetime.fromtimestamp(bench.at, UTC).strftime("%Y-%m-%d %H:%M"),
        bench.name,
        bench.gpu or "-",
        bench.model,
        None if figures.first_token_ms is None else round(figures.first_token_ms),
        None if figures.cold is None else round(figures.cold.tokens_per_s),
        written,
        fastest.concurrency if fastest else None,
        usd(bench.money.usd_per_million_tokens) if bench.money else "-",
        _moved(written, then.tokens_per_s if then else None) or "-",
    ]


def _moved(now: float | None, before: float | None) -> str:
    """Return how far a figure is from the one before it: ``+12 %``; empty without one."""
    if not now or not before:
        return ""
    share = round(100 * (now - before) / before)
    return f"{share:+} %" if share else "same"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _with_decimals(value: Any) -> Any:
    """Return a document with micro-dollars as decimal text, told by the names of their fields."""
    if isinstance(value, list):
        return [_with_decimals(each) for each in value]
    if not isinstance(value, dict):
        return round(value, 4) if isinstance(value, float) else value
    return {
        name: decimal_text(MicroUsd(each))
        if isinstance(each, int) and ("usd_per" in name or name.endswith("_usd"))
        else _with_decimals(each)
        for name, each in value.items()
    }
