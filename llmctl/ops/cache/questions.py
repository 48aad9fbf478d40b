"""The questions that the semantic tier knows, out of its journal."""

from llmctl.ops.cache.access import Access
from llmctl.semantic.journal import START
from llmctl.semantic.records import ENTRY, Entry, read_entry


async def questions(access: Access) -> list[Entry]:
    """Return what can be read and has not expired; none without a semantic tier."""
    if access.journal is None:
        return []
    now, after = access.clock.now(), START
    known: list[Entry] = []
    page = await access.journal.indexed()
    while True:
        opened = (read_entry(placed, access.entries.seal) for placed in page)
        known += [entry for entry in opened if entry is not None and entry.expires > now]
        page = await access.journal.read(ENTRY, after)
        if not page:
            return known
        after = page[-1].position
