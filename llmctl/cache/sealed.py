"""Sealed values: what lies in a store is neither read nor changed without this install's key."""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VERSION = b"\x02"
"""First byte of a sealed value; values of earlier versions, which were plain, began with 1."""
KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
OVERHEAD_BYTES = len(VERSION) + _NONCE_BYTES + _TAG_BYTES


class Seal:
    """AES-256-GCM (NIST SP 800-38D) with a random 96-bit nonce per value.

    Random nonces are good for 2**32 values under one key, which 50 answers a second reach in three
    years. May be used by several threads.
    """

    __slots__ = ("_cipher", "_key")

    def __init__(self, key: bytes) -> None:
        """``key`` has 32 bytes; raises ``ValueError`` for any other length."""
        self.change(key)

    def change(self, key: bytes) -> bool:
        """Use another key from now on, which makes what was sealed unreadable; False if it is ours.

        Raises ``ValueError`` for a key that has not 32 bytes.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"a seal's key has {KEY_BYTES} bytes, not {len(key)}")
        if getattr(self, "_key", None) == key:
            return False
        self._key = key
        self._cipher = AESGCM(key)
        return True

    def __repr__(self) -> str:
        return "Seal(****)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a seal holds a key and is not to be pickled")

    def seal(self, value: bytes, bound_to: bytes) -> bytes:
        """Return ``value`` encrypted, 29 bytes longer; it opens only with the same ``bound_to``."""
        nonce = os.urandom(_NONCE_BYTES)
        return VERSION + nonce + self._cipher.encrypt(nonce, value, VERSION + bound_to)

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """Return the value; None for one changed, moved, cut, or sealed with another key."""
        if len(sealed) < OVERHEAD_BYTES or sealed[:1] != VERSION:
            return None
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], memoryview(sealed)[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, rest, VERSION + bound_to)
        except InvalidTag:
            return None
