"""``cache list`` and ``cache show``: what is in the cache."""

import heapq
import string
from collections.abc import Callable

import msgspec

from llmctl.cache.entries import Found
from llmctl.cache.entry import ID_DIGITS, id_of
from llmctl.core.errors import ConfigError, LlmctlError, NotFound
from llmctl.core.reports_cache import CacheEntry, CacheFilter, CacheListing, ShownEntry
from llmctl.ops.cache.access import Access
from llmctl.ops.cache.likeness import likeness
from llmctl.ops.cache.questions import questions
from llmctl.protocol.anthropic import load_message

FEWEST_DIGITS = 4


async def newest(access: Access, wish: CacheFilter, *, limit: int) -> CacheListing:
    """Return the newest entries; raises ``LlmctlError``."""
    return await _best(access, wish, lambda entry: entry.created, limit=limit, by="created")


async def nearest(access: Access, wish: CacheFilter, text: str, *, limit: int) -> CacheListing:
    """Return the entries whose question is most like ``text``: by meaning, else by its words.

    By meaning only where the semantic tier knows questions and its embedder is here. Raises
    ``LlmctlError``.
    """
    near = await _by_meaning(access, text)
    if near:
        return await _best(
            access,
            wish,
            lambda entry: near.get(entry.id),
            limit=limit,
            by="meaning",
        )
    return await _best(
        access, wish, lambda entry: likeness(text, entry.excerpt) or None, limit=limit, by="words"
    )


async def show(access: Access, text: str) -> ShownEntry:
    """Return the entry whose id begins so; raises ``NotFound``, or ``ConfigError`` for no id."""
    found = await find(access, text)
    message = load_message(found.entry.body)
    return ShownEntry(
        entry=_entry(found),
        stop_reason=message.stop_reason,
        content=[_without_id(msgspec.to_builtins(block)) for block in message.content],
        questions=[known.question for known in await questions(access) if known.key == found.key],
    )


async def find(access: Access, text: str) -> Found:
    """Return the only entry whose id begins so; raises as ``show`` does."""
    access.require_outside()
    wanted = digits(text)
    prefix = bytes.fromhex(wanted[: len(wanted) // 2 * 2])
    matching = [
        found async for found in access.entries.found(prefix) if found.key.hex().startswith(wanted)
    ]
    if not matching:
        raise NotFound(f"no cached answer has the id {text}", hint="llmctl cache list")
    if len(matching) > 1:
        ids = ", ".join(sorted(id_of(found.key) for found in matching)[:5])
        raise ConfigError(f"{len(matching)} cached answers have an id that begins so: {ids}")
    return matching[0]


def digits(text: str) -> str:
    """Return an id in lower case; raises ``ConfigError`` for what cannot be one."""
    wanted = text.strip().lower()
    if len(wanted) < FEWEST_DIGITS or not set(wanted) <= set(string.hexdigits) or len(wanted) > 64:
        raise ConfigError(
            f"{text[:80]!r} is no id of a cached answer: {ID_DIGITS} hexadecimal digits, "
            f"of which the first {FEWEST_DIGITS} may do",
            hint="llmctl cache list",
        )
    return wanted


async def _best(
    access: Access,
    wish: CacheFilter,
    rank: Callable[[CacheEntry], float | None],
    *,
    limit: int,
    by: str,
) -> CacheListing:
    access.require_outside()
    best: list[tuple[float, int, CacheEntry]] = []
    total = 0
    async for found in access.entries.found():
        entry = _entry(found)
        value = rank(entry) if _fits(entry, wish) else None
        if value is None:
            continue
        if by != "created":
            entry = msgspec.structs.replace(entry, similarity=round(value, 4))
        total += 1
        heapq.heappush(best, (value, total, entry))
        if len(best) > limit:
            heapq.heappop(best)
    return CacheListing(
        entries=[each[2] for each in sorted(best, reverse=True)], total=total, by=by
    )


async def _by_meaning(access: Access, text: str) -> dict[str, float]:
    """Return similarities by id; empty where nothing can be said."""
    known = await questions(access)
    if not known:
        return {}
    from llmctl.ops.cache.meaning import similarities

    try:
        return await similarities(known, text)
    except (ImportError, OSError) as failure:
        raise LlmctlError(
            f"the embedder cannot be loaded: {failure}", hint="pip install 'llmctl[semantic]'"
        ) from failure


def _fits(entry: CacheEntry, wish: CacheFilter) -> bool:
    if wish.tenant is not None and wish.tenant != entry.tenant:
        return False
    if wish.model is not None and wish.model not in (entry.model, entry.asked):
        return False
    return wish.before is None or entry.created <= wish.before


def _entry(found: Found) -> CacheEntry:
    meta = found.meta
    return CacheEntry(
        id=id_of(found.key),
        tenant=meta.tenant,
        model=meta.model,
        asked=meta.asked,
        tier=meta.tier,
        created=found.entry.created,
        expires=found.entry.expires,
        bytes=found.bytes,
        prompt_tokens=meta.prompt_tokens,
        completion_tokens=meta.completion_tokens,
        total_ms=round(meta.total_ms, 1),
        excerpt=meta.excerpt,
        accessed=found.accessed,
    )


def _without_id(block: dict[str, object]) -> dict[str, object]:
    """Return a block without the id it was given when it was made: every answer has new ones."""
    return {name: value for name, value in block.items() if name != "id"}
