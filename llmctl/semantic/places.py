"""From where a journal is to the journal. SQLite and redis-py are imported when they are used."""

import hmac
from pathlib import Path

from llmctl.core.clock import Clock
from llmctl.semantic.journal import Address, Journal, MemoryJournal, limits


def house_of(secret: bytes) -> str:
    """Return the name under which the proxies of one install find each other's rows.

    Others could not use them: their keys and seals differ.
    """
    return hmac.digest(secret, b"semantic journal", "sha256").hex()[:16]


def open_journal(
    place: Address | Path | None, *, max_entries: int, secret: bytes, clock: Clock
) -> Journal:
    """Return the journal in a file or a Redis, yet to be started; None keeps nothing."""
    bounds = limits(max_entries)
    if place is None:
        return MemoryJournal()
    if isinstance(place, Path):
        from llmctl.semantic.sqlite import SqliteJournal

        return SqliteJournal(place, bounds, clock=clock)
    from llmctl.semantic.redis import RedisJournal

    return RedisJournal(place, bounds, house=house_of(secret), clock=clock)
