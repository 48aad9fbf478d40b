"""The way into the proxy's page: a code that a browser can use once."""

from msgspec import Struct

from llmctl.ops.running import RunningProxy

_PATH = "/ui/code"


class Code(Struct, frozen=True, kw_only=True):
    """The proxy's answer."""

    code: str
    path: str
    """Where it is used."""
    expires_s: int


class PageLink(Struct, frozen=True, kw_only=True):
    """What a browser opens, once."""

    url: str
    expires_s: int


def page_link(proxy: RunningProxy) -> PageLink:
    """Ask for a code and return the link that logs in with it.

    The code stands behind a ``#``, which browsers send to nobody, so that it is in no log. Raises
    ``BackendError`` where nothing answers, ``AuthError`` where the token is refused.
    """
    given = proxy.decode(proxy.post(_PATH), _PATH, Code)
    return PageLink(url=f"{proxy.url}{given.path}#{given.code}", expires_s=given.expires_s)
