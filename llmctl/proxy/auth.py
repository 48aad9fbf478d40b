"""Who is asking: tokens by digest, and a growing delay for those who guess."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256

from aiohttp import web

from llmctl.core.clock import Clock
from llmctl.protocol.errors import ApiError
from llmctl.proxy.peers import peer_name

FREE_FAILURES = 10
WINDOW_S = 60.0
MAX_DELAY_S = 2.0
MAX_PEERS = 1024

OPEN_TENANT = "local"
"""Tenant of everybody when authentication is off."""


class Authenticator:
    """Maps a request's token to its tenant.

    ``tenants`` maps SHA-256 hex digests to tenant names; None turns authentication off. Looking a
    digest up tells nothing about the tokens behind other digests, whatever the time it takes.
    """

    def __init__(self, tenants: Mapping[str, str] | None, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock
        self._failures: OrderedDict[str, tuple[float, int]] = OrderedDict()

    @property
    def required(self) -> bool:
        return self._tenants is not None

    async def tenant(self, request: web.BaseRequest) -> str:
        """Return the tenant; raises ``ApiError`` 401, later and later for a peer that guesses."""
        if self._tenants is None:
            return OPEN_TENANT
        for digest in digests(request):
            tenant = self.tenant_of(digest)
            if tenant is not None:
                return tenant
        await self.delay(request)
        raise ApiError(
            401, "invalid token: send the one `llmctl env` prints as x-api-key or Bearer"
        )

    def tenant_of(self, digest: str) -> str | None:
        """Return whose token has this SHA-256 hex digest, now; without authentication anybody's."""
        return OPEN_TENANT if self._tenants is None else self._tenants.get(digest)

    async def delay(self, request: web.BaseRequest) -> None:
        """Count a failure against the peer, and wait as long as its failures ask for."""
        await asyncio.sleep(self._penalty(peer_name(request.remote or "")))

    def _penalty(self, peer: str) -> float:
        now = self._clock.monotonic()
        since, count = self._failures.pop(peer, (now, 0))
        if now - since > WINDOW_S:
            since, count = now, 0
        self._failures[peer] = (since, count + 1)
        if len(self._failures) > MAX_PEERS:
            self._failures.popitem(last=False)
        return min(max(count + 1 - FREE_FAILURES, 0) * 0.1, MAX_DELAY_S)


def digest_of(token: bytes) -> str:
    """Return what is known of a token."""
    return sha256(token).hexdigest()


def digests(request: web.BaseRequest) -> list[str]:
    """Return the digests of the tokens in a request's headers."""
    return [digest_of(token) for token in _tokens(request)]


def _tokens(request: web.BaseRequest) -> list[bytes]:
    """Return what was offered; a client with both variables set sends both headers."""
    found = []
    if key := request.headers.get("x-api-key"):
        found.append(key.encode("utf-8", "surrogateescape"))
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value:
        found.append(value.strip().encode("utf-8", "surrogateescape"))
    return found
