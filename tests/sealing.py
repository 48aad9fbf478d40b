"""Sealed entries on a store of a test."""

from pathlib import Path

from llmctl.cache.entries import EntryStore
from llmctl.cache.entry import Entry, EntryMeta, describe, pack
from llmctl.cache.marks import Marks
from llmctl.cache.sealed import Seal
from llmctl.cache.store import Store
from tests.clocks import ManualClock

SEAL_KEY = b"\x05" * 32
ABOUT = EntryMeta(tenant="local", model="m", asked="claude-x", excerpt="hi")


def entries_in(store: Store, clock: ManualClock, directory: Path, **fields) -> EntryStore:
    """Return entries in ``store`` whose marks are in ``directory``."""
    marks = Marks(directory / "forgotten.json", clock=clock)
    return EntryStore(store, seal=Seal(SEAL_KEY), marks=marks, clock=clock, **fields)


def entry(created: float, body: bytes = b"body", *, ttl_s: float = 3600.0, **about) -> Entry:
    meta = EntryMeta(**({"tenant": "local", "model": "m"} | about))
    return Entry(created=created, expires=created + ttl_s, described=describe(meta), body=body)


def sealed(key: bytes, one: Entry) -> bytes:
    """Return the bytes of an entry as they lie in a store."""
    return Seal(SEAL_KEY).seal(pack(one), key)
