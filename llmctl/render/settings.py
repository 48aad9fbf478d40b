"""The configuration as a table or a document."""

from collections.abc import Mapping
from typing import Any

import msgspec

from llmctl.config.origins import Origin
from llmctl.config.schema import Config
from llmctl.render.json import document
from llmctl.render.tables import table


def settings_table(config: Config, origins: Mapping[str, Origin] | None) -> str:
    """Return one ``section.key  value`` line a setting, with its origin where those are given."""
    rows = [[key, _shown(value)] for key, value in _flat(config).items()]
    if origins is None:
        return table(rows)
    return table([[key, value, str(origins[key])] for key, value in rows])


def settings_document(config: Config, origins: Mapping[str, Origin] | None) -> str:
    """Return the configuration as JSON; with origins, ``{"value", "origin"}`` by dotted key."""
    if origins is None:
        return document(config)
    flat = _flat(config)
    return document({key: {"value": flat[key], "origin": str(origins[key])} for key in flat})


def _flat(table: msgspec.Struct, prefix: str = "") -> dict[str, Any]:
    """Return every value by dotted key, engines and profiles under one key each."""
    found: dict[str, Any] = {}
    for name, content in msgspec.to_builtins(table).items():
        inner = getattr(table, name)
        if isinstance(inner, msgspec.Struct):
            found |= _flat(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = content
    return found


def _shown(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(entry["url"] if isinstance(entry, dict) else entry for entry in value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
