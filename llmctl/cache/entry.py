"""One cached answer as it lies in a store, before it is sealed: its times, origin and text.

Layout: format byte 1, created and expires (seconds since the epoch, big-endian doubles), length of
the description (32 bits), the description as MessagePack, the answer.
"""

import struct

import msgspec
from msgspec import Struct

_FORMAT = 1
_HEADER = struct.Struct(">BddI")
EXCERPT_CHARS = 500
ID_DIGITS = 12
"""Of a key's hexadecimal digits, those by which people name an entry."""


class EntryMeta(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an answer comes from: what ``cache list`` and ``cache show`` tell of it."""

    tenant: str
    model: str
    """Engine model that made it."""
    asked: str = ""
    """Model name as the client wrote it."""
    excerpt: str = ""
    """The last thing the user said, at most 500 characters of it."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_ms: float = 0.0
    """How long the engine took for it."""
    tier: str = "exact"


class Entry(Struct, frozen=True, kw_only=True):
    """An answer with its times; ``body`` is the message as the proxy writes it."""

    created: float
    expires: float
    """Seconds since the epoch; nothing may make an entry live longer."""
    described: bytes
    """``EntryMeta``, not decoded: a hit has no use for it."""
    body: bytes

    def meta(self) -> EntryMeta:
        """Return the description; raises ``msgspec.MsgspecError`` for one that is none."""
        return msgspec.msgpack.decode(self.described, type=EntryMeta)


def id_of(key: bytes) -> str:
    """Return the name of an entry; two of a billion share one with a chance of 0.2 %."""
    return key.hex()[:ID_DIGITS]


def describe(meta: EntryMeta) -> bytes:
    """Return what ``Entry.described`` holds; raises ``UnicodeEncodeError`` for lone surrogates."""
    return msgspec.msgpack.encode(meta)


def pack(entry: Entry) -> bytes:
    """Return the bytes of an entry."""
    header = _HEADER.pack(_FORMAT, entry.created, entry.expires, len(entry.described))
    return header + entry.described + entry.body


def unpack(value: bytes) -> Entry | None:
    """Return the entry; None for bytes of another format."""
    try:
        form, created, expires, length = _HEADER.unpack_from(value)
    except struct.error:
        return None
    start = _HEADER.size
    if form != _FORMAT or start + length > len(value):
        return None
    return Entry(
        created=created,
        expires=expires,
        described=value[start : start + length],
        body=value[start + length :],
    )
