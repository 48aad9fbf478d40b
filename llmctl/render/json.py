"""Machine output: one JSON document, for every ``--json``."""

import msgspec


def document(value: object) -> str:
    """Return ``value`` (structs, mappings, lists) as indented JSON with a newline at its end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n"


def line(value: object) -> str:
    """Return ``value`` as one line, for documents that follow each other (NDJSON)."""
    return msgspec.json.encode(value).decode() + "\n"
