"""Bodies that came before: a repeat is found by its bytes, without being parsed."""

from llmctl.cache.memory import Lru
from llmctl.core.clock import Clock
from llmctl.protocol import canonical

_CLUES = 20_000
_CLUE_BYTES = 1024
_BODY_BYTES = 4 * 1024 * 1024
"""Of the bodies that were repeated last: to compare one costs a tenth of its digest."""
_LARGEST_BODY = 256 * 1024

_Clue = tuple[int, int]


class Repeats:
    """Gives bodies their raw keys."""

    def __init__(self, secret: bytes, *, ttl_s: float, clock: Clock) -> None:
        self._secret = secret
        self._ttl_s = ttl_s
        self._clues: Lru[_Clue, bool] = Lru(max_cost=_CLUES, clock=clock)
        self._keyed: Lru[tuple[str, _Clue], tuple[bytes, bytes]]
        self._keyed = Lru(max_cost=_BODY_BYTES, clock=clock)
        """Bodies with their keys."""

    def key(self, tenant: str, body: bytes) -> bytes:
        """Return the digest under which exactly these bytes are remembered.

        Empty for a body that nothing like was seen of: it cannot be known, and a digest costs an
        eighth of a hit. Claude Code names the session at the end of a body: the same request in
        another session is told apart by that, and the next turn of a conversation by its length.
        """
        clue = (len(body), hash(body[-_CLUE_BYTES:]))
        if self._clues.get(clue) is None:
            self._clues.put(clue, True, cost=1, ttl_s=self._ttl_s)
            return b""
        keyed = self._keyed.get((tenant, clue))
        if keyed is not None and keyed[0] == body:
            return keyed[1]
        key = canonical.raw_key(self._secret, tenant=tenant, body=body)
        if len(body) <= _LARGEST_BODY:
            self._keyed.put((tenant, clue), (body, key), cost=len(body), ttl_s=self._ttl_s)
        return key
