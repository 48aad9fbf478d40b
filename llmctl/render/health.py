"""The state of a running proxy as lines."""

from llmctl.core.model import Health, PartHealth
from llmctl.render.tables import table


def health_text(health: Health, url: str) -> str:
    """Return one line for the proxy and one for each of its parts."""
    uptime = duration(health.uptime_s)
    rows = [["proxy", url, f"{health.status}, llmctl {health.version}, up {uptime}"]]
    rows += [["backend", part.name, _state(part)] for part in health.backends]
    for title, part in (("cache", health.cache), ("ledger", health.ledger)):
        if part is not None:
            rows.append([title, f"{part.kind} {part.location}".strip() or "-", _state(part)])
    return table(rows)


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: ``3 h 12 min``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _state(part: PartHealth) -> str:
    word = "ready" if part.healthy else "not ready"
    return f"{word}: {part.detail}" if part.detail else word
