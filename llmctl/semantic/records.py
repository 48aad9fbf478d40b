"""What the semantic cache keeps: questions with their vectors, and how candidates turned out.

At rest everything but keys and expiry times is sealed: the words of a question can be guessed back
from its vector, so that is no less secret than they are.
"""

from typing import NamedTuple, Protocol

import msgspec
from msgspec import Struct

ENTRY, OUTCOME = 1, 2
"""Kinds of row in a journal."""


class Seal(Protocol):
    """Authenticated encryption, bound to a place: see ``cache.sealed``."""

    def seal(self, value: bytes, bound_to: bytes) -> bytes:
        """Return ``value`` so that only ``open`` with the same ``bound_to`` gives it back."""
        ...

    def open(self, sealed: bytes, bound_to: bytes) -> bytes | None:
        """Return the value, None where anything about it is not as it was sealed."""
        ...


class Entry(Struct, frozen=True, kw_only=True):
    """A question that was answered; the answer itself is in the response cache."""

    key: bytes
    """Key of its answer, 32 bytes."""
    scope: bytes
    """Key of everything about the request but the words: only within it may answers be shared."""
    embedder: str
    """What made the vector; vectors of two embedders do not compare."""
    question: str
    vector: bytes
    """Unit vector, little-endian float16."""
    created: float
    expires: float
    """Seconds since the epoch."""
    tenant: str
    model: str


class Outcome(Struct, frozen=True, kw_only=True):
    """What became of one candidate."""

    entry: bytes
    """Key of the entry that was the candidate."""
    kind: str
    """Outcomes of one kind are judged together: see ``evidence_kind``."""
    similarity: float
    """Cosine of the vectors."""
    likeness: float
    """How likely the two questions meant the same, judged by what they say."""
    risk: float
    """Rank it was judged at: ``bound.Decision.risk``."""
    servable: bool
    """Whether the error bound allowed to serve it."""
    same: bool | None
    """Whether its answer was the engine's; None where it was served and nobody knows."""
    at: float
    expires: float


class Row(NamedTuple):
    """A record as a journal keeps it."""

    kind: int
    key: bytes
    value: bytes
    """Sealed."""
    expires: float


class Placed(NamedTuple):
    """A row and where it stands; later rows have later positions."""

    position: str
    key: bytes
    value: bytes


def evidence_kind(*, tenant: str, embedder: str) -> str:
    """Return what outcomes must share to speak for each other.

    Another embedder ranks otherwise; another tenant could make others trust what they should not.
    """
    return f"{embedder} for {tenant}"


_encode = msgspec.msgpack.Encoder().encode
_decode_entry = msgspec.msgpack.Decoder(Entry).decode
_decode_outcome = msgspec.msgpack.Decoder(Outcome).decode


def entry_row(entry: Entry, seal: Seal) -> Row:
    """Seal an entry for its place in a journal."""
    value = seal.seal(_encode(entry), _bound(ENTRY, entry.key))
    return Row(ENTRY, entry.key, value, entry.expires)


def outcome_row(outcome: Outcome, key: bytes, seal: Seal) -> Row:
    """Seal an outcome under a ``key`` of its own: a copied row is the same outcome, not another."""
    return Row(OUTCOME, key, seal.seal(_encode(outcome), _bound(OUTCOME, key)), outcome.expires)


def read_entry(placed: Placed, seal: Seal) -> Entry | None:
    """Return the entry; None where its bytes are not what we once wrote in this place."""
    raw = seal.open(placed.value, _bound(ENTRY, placed.key))
    try:
        entry = None if raw is None else _decode_entry(raw)
    except (msgspec.MsgspecError, ValueError):
        return None
    return entry if entry is not None and entry.key == placed.key else None


def read_outcome(placed: Placed, seal: Seal) -> Outcome | None:
    """Return the outcome; None where its bytes are not what we once wrote in this place."""
    raw = seal.open(placed.value, _bound(OUTCOME, placed.key))
    try:
        return None if raw is None else _decode_outcome(raw)
    except (msgspec.MsgspecError, ValueError):
        return None


def _bound(kind: int, key: bytes) -> bytes:
    return b"llmctl semantic 1 %d " % kind + key
