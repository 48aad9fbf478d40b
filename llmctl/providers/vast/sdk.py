"""The official package, loaded when first used, with its side effects taken back.

Importing it costs about a second. It reads the base URL from the environment once, at import;
here the URL is always given.
"""

import functools
import ipaddress
import logging
import threading
from typing import Any
from urllib.parse import urlsplit

_loading = threading.Lock()


def load() -> Any:
    """Return the class ``VastAI``; blocking, and slow the first time."""
    with _loading:
        return _load()


@functools.cache
def _load() -> Any:
    import vastai
    from vastai.api import client

    # it shows its log on stderr, whatever the application does
    log = logging.getLogger("vastai")
    log.handlers.clear()
    log.propagate = True
    log.setLevel(logging.NOTSET)
    client.VastSession = _contained(client.VastSession)
    return vastai.VastAI


def _contained(session: Any) -> Any:
    """Return the package's HTTP session, kept from what it takes out of the surroundings."""

    class Session(session):  # type: ignore[misc]
        def prepare_request(self, request: Any) -> Any:
            # without an ``auth`` of its own, an entry for the host in ~/.netrc replaces the key
            request.auth = _unchanged
            return super().prepare_request(request)

        def send(self, request: Any, **settings: Any) -> Any:
            if is_loopback(request.url):
                self.trust_env = False  # a proxy cannot reach this machine's loopback
            with self:
                return super().send(request, **settings)

    return Session


def _unchanged(request: Any) -> Any:
    return request


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
