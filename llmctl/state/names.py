"""Names in the record of what is rented, read in a millisecond and without what the store needs."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from llmctl.core.sqlitefile import connect

_WAIT_S = 0.05


class Named(NamedTuple):
    """A rental that is not gone."""

    name: str
    provider: str
    instance_id: str
    """Empty until the market has given one."""
    model: str


def rented(path: Path) -> list[Named]:
    """Return what is on record by name; nothing where the file is missing or cannot be read."""
    if not path.exists():
        return []
    try:
        with closing(connect(path, busy_timeout_s=_WAIT_S, read_only=True)) as connection:
            rows = connection.execute(
                """SELECT name, provider, coalesce(instance_id, ''),
                    coalesce(json_extract(CAST(record AS TEXT), '$.model'), '')
                    FROM rentals WHERE phase != 'gone' ORDER BY name"""
            )
            return [Named(*row) for row in rows]
    except sqlite3.Error:
        return []
