"""The screen of ``stats --watch``, and its line where nothing can be drawn."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from llmctl.core.model import PartHealth
from llmctl.core.reports_live import GpuUse, LiveReport, ProxyState, Stream, Trouble
from llmctl.render.amounts import clock, count, duration, latency
from llmctl.render.bars import bars
from llmctl.render.progress import HEARTBEAT_S
from llmctl.render.sparks import sparkline
from llmctl.render.tables import Cell, narrowed, table

FAILURES = 3
_NAMES, _FIGURES = 12, 22
"""Columns left and right of a sparkline."""
_MIB_PER_GIB = 1024
_BAR = 10
_RED, _BOLD, _PLAIN = "\033[1;31m", "\033[1m", "\033[0m"


class Look(NamedTuple):
    """What the terminal can do."""

    width: int
    blocks: bool
    """Whether it has the characters of bars."""
    colour: bool


def live_text(report: LiveReport, look: Look) -> str:
    """Return the whole screen: the last quarter of an hour, streams, engines, cards, failures."""
    parts = [_head(report, look)]
    if report.proxy is None:
        parts.append(f"{report.problem}\n")
    else:
        parts += [_figures(report.proxy, look), _streams(report.proxy, look)]
        parts.append(_engines(report.proxy.health.backends, look))
    if report.gpus:
        parts.append(_cards(report.gpus, look))
    if report.proxy is not None and report.proxy.failures:
        parts.append(_failures(report.proxy.failures[:FAILURES], look))
    return "\n".join(parts)


class Log:
    """Lines for pipes and files: what is news, and a sign of life every half minute."""

    def __init__(self) -> None:
        self._said, self._at = "", float("-inf")

    def news(self, report: LiveReport) -> str:
        """Return a line, or nothing where the last one still says it."""
        line = live_line(report)
        if line == self._said and report.at - self._at < HEARTBEAT_S:
            return ""
        self._said, self._at = line, report.at
        return f"{_clock(report.at)} {line}\n"


def live_line(report: LiveReport) -> str:
    """Return one look in one line."""
    if report.proxy is None:
        return report.problem
    state, recent = report.proxy, report.proxy.recent
    parts = [
        state.health.status,
        f"{state.open_total} open",
        f"{state.queued} queued",
        f"{state.tokens_per_s:.1f} tokens/s",
        f"{_requests_a_minute(state):.0f} requests/min",
    ]
    if recent.hit_ratio is not None:
        parts.append(f"{recent.hit_ratio:.1%} hits")
    if recent.p50_ms is not None:
        parts.append(f"first token {latency(recent.p50_ms)}")
    return ", ".join(parts)


def _head(report: LiveReport, look: Look) -> str:
    at = _clock(report.at)
    if report.proxy is None:
        text = f"llmctl at {report.url}"
    else:
        health = report.proxy.health
        text = f"llmctl {health.version} at {report.url}: {health.status}"
        since = f", up {duration(health.uptime_s)}"
        if len(text + since) < look.width - len(at):
            text += since
    room = look.width - len(at) - 1
    return f"{_painted(_cut(text, room, look).ljust(room), _BOLD, look)} {at}\n"


def _figures(state: ProxyState, look: Look) -> str:
    recent = state.recent
    requests = [
        float(cached + engine + failed)
        for cached, engine, failed in zip(recent.cached, recent.engine, recent.failed, strict=True)
    ]
    hits = "-" if recent.hit_ratio is None else f"{recent.hit_ratio:.1%} hits"
    p50, p95 = recent.p50_ms, recent.p95_ms
    waits = "-" if p50 is None or p95 is None else f"{latency(p50)}, p95 {latency(p95)}"
    failed = sum(recent.failed)
    rows: list[tuple[str, Sequence[float | None], str]] = [
        ("tokens/s", recent.tokens_per_s, f"{state.tokens_per_s:.1f} now"),
        ("requests", requests, f"{_requests_a_minute(state):.0f}/min, {hits}"),
        ("first token", recent.first_token_p50_ms, waits),
    ]
    if failed:
        rows.append(("failed", [float(each) for each in recent.failed], f"{failed:,}"))
    room = max(look.width - _NAMES - _FIGURES - 2, 0)
    minutes = len(requests) * recent.step_s / 60
    lines = [f"{'':{_NAMES}} last {minutes:g} min"[: look.width].rstrip() + "\n"]
    for name, values, figure in rows:
        graph = sparkline(values, width=room, blocks=look.blocks)
        lines.append(f"{name:{_NAMES}} {graph:{room}} {figure}".rstrip()[: look.width] + "\n")
    return "".join(lines)


def _requests_a_minute(state: ProxyState) -> float:
    """Return the rate of the last minute."""
    recent = state.recent
    steps = max(1, round(60 / recent.step_s))
    return float(sum(sum(kind[-steps:]) for kind in (recent.cached, recent.engine, recent.failed)))


def _streams(state: ProxyState, look: Look) -> str:
    shown = "" if state.everything else ", yours are shown"
    counted = f"{state.open_total} open{shown}, {state.queued} queued"
    title = _painted(counted[: look.width], _BOLD, look)
    if not state.open:
        return f"{title}\n"
    header = ("model", "tenant", "state", "age", "tokens", "tok/s")
    rows = [_stream(each) for each in state.open]
    figures = ("age", "tokens", "tok/s")
    text = narrowed(rows, header, width=look.width, spare=("tenant", "state"), right=figures)
    return f"{title}\n{_cropped(text, look)}"


def _stream(stream: Stream) -> list[Cell]:
    speed = "-" if stream.tokens_per_s is None else f"{stream.tokens_per_s:.1f}"
    age, tokens = clock(stream.age_s), count(stream.tokens)
    return [stream.model or "-", stream.tenant, stream.stage, age, tokens, speed]


def _engines(backends: Sequence[PartHealth], look: Look) -> str:
    rows: list[list[Cell]] = []
    for backend in backends:
        held = [
            one.name + ("" if one.gpu_share is None else f" {one.gpu_share:.0%} on the GPU")
            for one in backend.loaded
        ]
        detail = ", ".join(held) if backend.healthy else backend.detail
        word = "ready" if backend.healthy else "down"
        rows.append([backend.name, word, backend.in_flight, backend.queued, detail])
    return _cropped(table(rows, header=("engine", "state", "busy", "queue", "")), look)


def _cards(gpus: Sequence[GpuUse], look: Look) -> str:
    rows: list[list[Cell]] = []
    for card in gpus:
        share = card.used_mib / card.memory_mib if card.memory_mib else 0.0
        # a bar of the whole is there for the scale, and not shown
        bar = bars([share, 1.0], width=_BAR, blocks=look.blocks)[0]
        used, memory = card.used_mib / _MIB_PER_GIB, card.memory_mib / _MIB_PER_GIB
        busy = "-" if card.busy is None else f"{card.busy:.0%}"
        rows.append([card.machine, card.name, f"{used:.1f} of {memory:.1f} GiB", bar, busy])
    header = ("machine", "card", "memory", "", "use")
    text = narrowed(rows, header, width=look.width, spare=("", "card"), right=("memory", "use"))
    return _cropped(text, look)


def _failures(failures: Sequence[Trouble], look: Look) -> str:
    lines = [_painted("failed lately"[: look.width], _RED, look)]
    for each in failures:
        at = _clock(each.at)
        said = " ".join(each.message.split())
        line = f"{at}  {each.status} {each.type}  {each.model or '-'}: {said}"
        lines.append(_cut(line, look.width, look))
    return "\n".join(lines) + "\n"


def _cropped(text: str, look: Look) -> str:
    return "".join(f"{_cut(line, look.width, look)}\n" for line in text.splitlines())


def _cut(text: str, width: int, look: Look) -> str:
    """Shorten a line so that it is seen to go on."""
    if len(text) <= width:
        return text
    more = "…" if look.blocks else "..."
    return text[: max(width - len(more), 0)] + more[:width]


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def _painted(text: str, colour: str, look: Look) -> str:
    return f"{colour}{text}{_PLAIN}" if look.colour else text
