"""A tunnel to an engine, as every room sees it."""

import re
from enum import StrEnum

from msgspec import Struct


class TunnelState(StrEnum):
    """How the SSH connection of a tunnel is."""

    DOWN = "down"
    """None: not tried yet, waiting for the next try, or given up."""
    CONNECTING = "connecting"
    UP = "up"
    SUSPECT = "suspect"
    """The other end is late with an answer; requests go on."""


class TunnelStatus(Struct, frozen=True, kw_only=True):
    """What a tunnel says of itself."""

    name: str
    state: TunnelState
    where: str = ""
    """``root@203.0.113.7:40022``; empty before the first connection."""
    detail: str = ""
    """Why it is not up, or what is wrong with the engine behind it; empty while all is well."""
    given_up: bool = False
    """The machine refused our key or showed another one of its own: it is not tried again."""
    uptime_s: float = 0.0
    """Since this connection was made."""
    connections: int = 0
    """Made so far."""
    round_trip_ms: float | None = None
    """Of the last answered keepalive."""
    received_bytes: int = 0
    """Through the tunnel to here, over all its connections."""
    sent_bytes: int = 0
    channels: int = 0
    """Open now; one of them is the spare."""

    @property
    def reconnects(self) -> int:
        """How often the connection had to be made again."""
        return max(0, self.connections - 1)


def engine_host(name: str) -> str:
    """Return the host under which the engine of an instance stands in URLs and in the ledger.

    Lower case letters, digits and hyphens of its name; followed by ``.localhost`` there.
    """
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-") or "engine"
