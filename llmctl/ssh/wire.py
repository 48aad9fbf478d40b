"""The messages of SSH's connection protocol that tunnels send, as bytes (RFC 4254)."""

import struct

OPEN = 90
OPEN_CONFIRMATION = 91
OPEN_FAILURE = 92
WINDOW_ADJUST = 93
DATA = 94
EXTENDED_DATA = 95
EOF = 96
CLOSE = 97
REQUEST = 98
CHANNEL_SUCCESS = 99
CHANNEL_FAILURE = 100
GLOBAL_REQUEST = 80
REQUEST_SUCCESS = 81
REQUEST_FAILURE = 82

KEEPALIVE = struct.pack(">BI21s?", GLOBAL_REQUEST, 21, b"keepalive@openssh.com", True)
"""A request that every server answers, if only by refusing it."""
REFUSAL = bytes([REQUEST_FAILURE])
"""Our answer to a server's own keepalive, which must be answered too."""

_data = struct.Struct(">BII").pack
_short = struct.Struct(">BI").pack


def open_direct_tcpip(number: int, window: int, packet: int, host: str, port: int) -> bytes:
    """Ask for a connection from the machine to ``host:port`` (§7.2)."""
    kind, target, origin = b"direct-tcpip", host.encode(), b"127.0.0.1"
    return b"".join(
        (
            struct.pack(">BI", OPEN, len(kind)) + kind,
            struct.pack(">III", number, window, packet),
            struct.pack(">I", len(target)) + target + struct.pack(">I", port),
            struct.pack(">I", len(origin)) + origin + struct.pack(">I", 0),
        )
    )


def data(remote: int, pieces: list[memoryview], size: int) -> bytes:
    """Carry ``size`` bytes, the sum of ``pieces``."""
    return b"".join((_data(DATA, remote, size), *pieces))


def window_adjust(remote: int, size: int) -> bytes:
    """Allow ``size`` more bytes to be sent to us."""
    return _data(WINDOW_ADJUST, remote, size)


def eof(remote: int) -> bytes:
    """Say that no more data follow in this direction."""
    return _short(EOF, remote)


def close(remote: int) -> bytes:
    """End the channel; it is gone once both sides have said so."""
    return _short(CLOSE, remote)


def request_refused(remote: int) -> bytes:
    """Answer a request about a channel: we know none."""
    return _short(CHANNEL_FAILURE, remote)
