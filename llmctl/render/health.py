"""The state of a running proxy as lines."""

from llmctl.core.model import Health, PartHealth
from llmctl.render.amounts import duration
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


def _state(part: PartHealth) -> str:
    word = "ready" if part.healthy else "not ready"
    return f"{word}: {part.detail}" if part.detail else word
