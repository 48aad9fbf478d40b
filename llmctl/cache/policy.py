"""What a request's ``cache-control`` header asks of the response cache."""

from msgspec import Struct


class CacheUse(Struct, frozen=True, kw_only=True):
    """Whether the cache may answer a request, and may keep the answer."""

    read: bool
    write: bool


FULL = CacheUse(read=True, write=True)
REFRESH = CacheUse(read=False, write=True)
NONE = CacheUse(read=False, write=False)


def cache_use(cache_control: str | None, *, enabled: bool = True) -> CacheUse:
    """Read the header as RFC 9111 §5.2.1 means it: ``no-store`` keeps out, ``no-cache`` refreshes.

    ``max-age=0`` asks for a fresh answer too. Unknown directives change nothing.
    """
    if not enabled:
        return NONE
    if not cache_control:
        return FULL
    directives = {part.strip().lower() for part in cache_control.split(",")}
    if "no-store" in directives:
        return NONE
    if directives & {"no-cache", "max-age=0"}:
        return REFRESH
    return FULL
