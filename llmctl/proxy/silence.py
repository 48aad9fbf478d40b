"""How long nothing may happen on a connection before something is done about it."""

from msgspec import Struct


class Silence(Struct, frozen=True, kw_only=True):
    """Limits in seconds; ``docs/adr/0004-silence.md`` says where they come from."""

    grace_s: float = 0.03
    """How long a failure may take to still become an HTTP status."""
    ping_s: float = 8.0
    """On a stream: until a sign of life is sent."""
    blank_s: float = 60.0
    """On an answer without stream: until it begins with white space. Idle sockets are cut at 300 s.
    """
    stall_s: float = 60.0
    """A client that takes nothing for this long is gone."""


SILENCE = Silence()
