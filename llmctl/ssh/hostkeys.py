"""Pinned host keys, by instance and generation: addresses of rented machines are used again."""

import base64
import binascii
from hashlib import sha256
from typing import Protocol


class HostKeys(Protocol):
    """Where pins are kept; a key is one line, ``ssh-ed25519 AAAA…``."""

    def pinned(self, instance: str, generation: str) -> str | None:
        """Return the key of this generation of the instance, None before first contact."""
        ...

    def pin(self, instance: str, generation: str, key: str) -> None:
        """Remember the key: from now on no other is accepted."""
        ...

    def unpin(self, instance: str) -> None:
        """Forget the keys of all its generations."""
        ...


def fingerprint(key_line: str) -> str:
    """Return ``SHA256:…`` of a public key line, as ``ssh-keygen -l`` shows it.

    Raises ``ValueError`` for what is no key line.
    """
    fields = key_line.split()
    if len(fields) < 2:
        raise ValueError(f"{key_line!r} is no public key line")
    try:
        blob = base64.b64decode(fields[1], validate=True)
    except binascii.Error as failure:
        raise ValueError(f"{key_line!r} is no public key line") from failure
    return "SHA256:" + base64.b64encode(sha256(blob).digest()).decode().rstrip("=")
