"""How a browser comes by the right to look, since it cannot send a token of its own.

A code of one use, which whoever has the token is given for it, becomes a cookie. The cookie holds
the token's digest, sealed: nothing is kept here, a restart does not end it, and the removal of the
token does.
"""

import binascii
import secrets
import struct
from base64 import b64decode, urlsafe_b64encode
from collections import OrderedDict
from hashlib import sha256

from llmctl.cache.sealed import Seal
from llmctl.core.clock import Clock

CODE_S = 120.0
SESSION_S = 7 * 86_400.0
MAX_CODES = 64

_FORM = struct.Struct(">BI32s")
"""Version, end in epoch seconds, digest: sealed it is a multiple of three, without padding."""
_PURPOSE = b"cookie of /ui"
_VERSION = 1


class Codes:
    """Codes that were given out and not used yet; a few, and each for two minutes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: OrderedDict[str, tuple[float, str]] = OrderedDict()

    def issue(self, digest: str) -> str:
        """Return a new code for whoever has the token with this digest."""
        code = secrets.token_urlsafe(16)
        self._waiting[_hash(code)] = (self._clock.monotonic() + CODE_S, digest)
        if len(self._waiting) > MAX_CODES:
            self._waiting.popitem(last=False)
        return code

    def redeem(self, code: str) -> str | None:
        """Return the digest a code stands for, once; None for one that is used, late or wrong."""
        until, digest = self._waiting.pop(_hash(code), (0.0, ""))
        return digest if digest and self._clock.monotonic() < until else None


class Sessions:
    """Makes what a browser brings back, and reads it; what ``key`` has sealed ends with it."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._seal = Seal(key)
        self._clock = clock

    def cookie(self, digest: str) -> str:
        """Return the value of a cookie that is good for a week."""
        until = int(self._clock.now() + SESSION_S)
        content = _FORM.pack(_VERSION, until, bytes.fromhex(digest))
        return urlsafe_b64encode(self._seal.seal(content, _PURPOSE)).decode()

    def digest(self, cookie: str) -> str | None:
        """Return the digest in a cookie of ours, None for any other and for one that is late."""
        try:
            sealed = b64decode(cookie.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        content = self._seal.open(sealed, _PURPOSE)
        if content is None:
            return None
        version, until, digest = _FORM.unpack(content)
        if version != _VERSION or self._clock.now() >= until:
            return None
        return bytes(digest).hex()


def _hash(code: str) -> str:
    return sha256(code.encode("utf-8", "surrogatepass")).hexdigest()
