"""How many connections there may be, in all and of one peer, and which make room for others.

First go those that have shown no token in a second: silent ones, and those of who guesses. Then
those on which nothing is asked; never one that is being answered. So nobody keeps others out.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from llmctl.proxy.peers import is_this_machine

PATIENCE_S = 1.0
"""Before that, who is connected may just not have been heard yet."""
MOST_OF_PEER = 512
"""Half of all that there may be. A team behind one router does not come near it."""


class Guest(Protocol):
    """A connection."""

    @property
    def idle(self) -> bool:
        """Whether nothing was asked on it that is not answered."""
        ...

    def force_close(self) -> None:
        """End it at once."""
        ...


class Room:
    """Counts the connections of every peer, as ``peer_name`` names it."""

    def __init__(
        self, *, most: int, most_of_peer: int | None, monotonic: Callable[[], float]
    ) -> None:
        """``most_of_peer`` None is a number that suits strangers, and none for this machine."""
        self.most = most
        self._most_of_peer = most_of_peer
        self._monotonic = monotonic
        self._peers: dict[str, dict[Guest, None]] = {}
        self._strangers: dict[Guest, float] = {}
        self._where: dict[Guest, str] = {}

    def __len__(self) -> int:
        return len(self._where)

    def enter(self, guest: Guest, peer: str) -> str:
        """Let a connection in; returns why it may not come, nothing where it may."""
        most = self._share(peer)
        if len(self._peers.get(peer, ())) >= most and not self._part_from([peer]):
            return f"{peer or 'this address'} has {most} connections in use"
        if len(self) >= self.most and not self._make_room(peer):
            return f"all {self.most} connections are in use"
        self._where[guest] = peer
        self._peers.setdefault(peer, {})[guest] = None
        self._strangers[guest] = self._monotonic()
        return ""

    def known(self, guest: Guest) -> None:
        """Note that a connection has shown a token."""
        self._strangers.pop(guest, None)

    def leave(self, guest: Guest) -> None:
        """Forget a connection; twice does no harm."""
        peer = self._where.pop(guest, None)
        if peer is None:
            return
        self._strangers.pop(guest, None)
        del self._peers[peer][guest]
        if not self._peers[peer]:
            del self._peers[peer]

    def _share(self, peer: str) -> int:
        if self._most_of_peer is not None:
            return self._most_of_peer
        return self.most if is_this_machine(peer) else min(MOST_OF_PEER, self.most)

    def _make_room(self, peer: str) -> bool:
        strangers = Counter(self._where[guest] for guest in self._strangers)
        rude = [each for each, _ in strangers.most_common(1)]
        by_size = sorted(self._peers, key=lambda each: -len(self._peers[each]))
        if self._part_from(rude + by_size):
            return True
        # one address that connects faster than it could be heard keeps no other out
        crowd = [each for each in rude if each != peer and strangers[each] > strangers[peer] + 1]
        return self._part_from(crowd, patience_s=0.0)

    def _part_from(self, peers: Iterable[str], *, patience_s: float = PATIENCE_S) -> bool:
        """End one connection of the first of these peers that has one to spare."""
        since = self._monotonic() - patience_s
        for peer in peers:
            guest = self._to_spare(self._peers.get(peer, ()), since)
            if guest is not None:
                self.leave(guest)
                guest.force_close()
                return True
        return False

    def _to_spare(self, guests: Iterable[Guest], since: float) -> Guest | None:
        """Return the oldest that was a stranger for too long, else the oldest that is idle."""
        idle = None
        for guest in guests:
            came = self._strangers.get(guest)
            if came is not None and came <= since:
                return guest
            if idle is None and came is None and guest.idle:
                idle = guest
        return idle
