"""``cache forget`` and ``cache clear``: what goes here goes from every running proxy."""

from functools import partial

from llmctl.cache.entry import ID_DIGITS, EntryMeta, id_of
from llmctl.cache.marks import Mark
from llmctl.config.secrets import drop_cache_seal_key
from llmctl.core.errors import LlmctlError, NotFound
from llmctl.core.reports_cache import CacheFilter, Cleared
from llmctl.ops.cache.access import Access
from llmctl.ops.cache.look import digits, find, newest
from llmctl.ops.cache.questions import questions
from llmctl.semantic.records import Entry


async def forget(access: Access, text: str) -> Cleared:
    """Remove the entry whose id begins so, and the question the semantic tier knows of it.

    Raises ``NotFound`` and ``ConfigError`` as ``show`` does. A whole id that the store does not
    have is forgotten all the same: a proxy may have the answer in memory.
    """
    wanted = digits(text)
    missing: LlmctlError | None = None
    try:
        entry = id_of((await find(access, text)).key)
    except LlmctlError as failure:
        if len(wanted) < ID_DIGITS:
            raise
        entry, missing = wanted[:ID_DIGITS], failure
    removed = await _forget(access, Mark(before=access.clock.now(), entry=entry))
    if isinstance(missing, NotFound):
        raise missing
    return Cleared(entries=removed, location=access.entries.status().location)


async def plan_clear(access: Access, wish: CacheFilter) -> Cleared:
    """Count what ``clear`` would remove; 0 where only the proxy could."""
    if access.kind == "memory":
        count = 0
    elif wish.everything:
        count = sum([1 async for _ in access.store.scan()])
    else:
        count = (await newest(access, wish, limit=0)).total
    return Cleared(entries=count, location=access.entries.status().location, dry_run=True)


async def clear(access: Access, wish: CacheFilter, *, drop_key: bool = False) -> Cleared:
    """Remove what fits; raises ``LlmctlError`` where that is impossible.

    ``drop_key`` puts a new key in the place of the one that seals: whatever copies of the store
    there are, such as backups, can never be read again. It needs a wish for everything.
    """
    if wish.everything:
        return await _clear_all(access, drop_key=drop_key)
    before = access.clock.now() if wish.before is None else wish.before
    removed = await _forget(access, Mark(before=before, tenant=wish.tenant, model=wish.model))
    return Cleared(entries=removed, location=access.entries.status().location)


async def _clear_all(access: Access, *, drop_key: bool) -> Cleared:
    if access.journal is not None:
        await access.journal.clear()
    drop = partial(drop_cache_seal_key, access.paths.data)
    removed = await (access.entries.drop_key(drop) if drop_key else access.entries.clear())
    location = access.entries.status().location
    return Cleared(entries=removed, location=location, key_dropped=drop_key)


async def _forget(access: Access, mark: Mark) -> int:
    # questions first: they name the answers
    await _forget_questions(access, mark)
    return await access.entries.forget(mark)


async def _forget_questions(access: Access, mark: Mark) -> None:
    """Remove what the semantic tier knows of the entries that ``mark`` covers.

    What it has observed of them stays: it holds no words, and others learn from it.
    """
    if access.journal is None:
        return
    covered = [
        known.key
        for known in await questions(access)
        if mark.covers(known.key, known.created, partial(_about, known))
    ]
    if covered:
        await access.journal.forget(covered)


def _about(known: Entry) -> EntryMeta:
    return EntryMeta(tenant=known.tenant, model=known.model)
