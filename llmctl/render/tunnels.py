"""Tunnels: a live line in a terminal, a plain line per change elsewhere, and a table."""

from collections.abc import Mapping, Sequence
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.render.amounts import duration, size
from llmctl.render.tables import table


class Held(Protocol):
    """A tunnel with its door, as ``ops`` yields it."""

    @property
    def status(self) -> TunnelStatus:
        """How it is."""
        ...

    @property
    def url(self) -> str:
        """Where it listens."""
        ...

    @property
    def instead_of(self) -> int | None:
        """The port that was taken."""
        ...


class Background(Protocol):
    """A tunnel of another process."""

    @property
    def name(self) -> str:
        """Of the instance."""
        ...

    @property
    def pid(self) -> int:
        """Of its process."""
        ...

    @property
    def held(self) -> Held | None:
        """None until it has opened its door."""
        ...


def tunnels_text(running: Sequence[Background]) -> str:
    """Return one line for each tunnel in the background."""
    if not running:
        return "no tunnel runs in the background\n"
    rows = [
        [
            each.name,
            each.held.status.state.value if each.held else "starting",
            each.held.url if each.held else "-",
            f"pid {each.pid}",
            each.held.status.detail if each.held else "",
        ]
        for each in running
    ]
    return table(rows)


def tunnel_line(status: TunnelStatus) -> str:
    """Return how a tunnel does in one line."""
    parts = [f"{status.name} {status.state.value}"]
    if status.uptime_s:
        parts.append(duration(status.uptime_s))
    if status.round_trip_ms is not None:
        parts.append(f"{status.round_trip_ms:.0f} ms")
    parts.append(f"{size(status.received_bytes)} in, {size(status.sent_bytes)} out")
    if status.reconnects:
        parts.append(f"{status.reconnects} reconnects")
    if status.detail:
        parts.append(status.detail)
    return ", ".join(parts)


class TunnelView:
    """Shows one tunnel for as long as the block lasts."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str], *, quiet: bool) -> None:
        self._stream = stream
        self._quiet = quiet
        plain = not stream.isatty() or environ.get("TERM") == "dumb" or "CI" in environ
        self._live: Live | None = None
        if not plain and not quiet:
            console = Console(file=stream, highlight=False, soft_wrap=True)
            self._live = Live(console=console, transient=True, refresh_per_second=4)
        self._last: tuple[str, str] | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, held: Held) -> None:
        """Show how it is now."""
        status = held.status
        first = self._last is None
        # every try says "connecting" and "down" again: that is one state to whoever reads a log
        trying = status.state in (TunnelState.CONNECTING, TunnelState.DOWN)
        now = ("trying" if trying else status.state.value, status.detail)
        changed, self._last = now != self._last, now
        if self._quiet:
            return
        if first and held.instead_of is not None:
            self._say(f"port {held.instead_of} is taken; listening at {held.url} instead")
        if self._live is not None:
            self._live.update(Text(tunnel_line(status), no_wrap=True, overflow="ellipsis"))
        elif changed:
            self._say(tunnel_line(status))

    def _say(self, line: str) -> None:
        if self._live is not None:
            self._live.console.print(Text(line))
        else:
            self._stream.write(line + "\n")
            self._stream.flush()
