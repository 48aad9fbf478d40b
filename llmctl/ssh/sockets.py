"""The TCP socket under an SSH connection: made with a deadline, read in large pieces."""

import contextlib
import os
import socket
from typing import Any

from llmctl.core.errors import SshError
from llmctl.core.rental import SshAddress

RECEIVE_BYTES = 256 * 1024


class BufferedSocket:
    """What paramiko needs of a socket, with one ``recv`` of 256 kB where it would make many.

    paramiko reads each SSH packet in two small pieces; one thread reads at a time.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._chunk = b""
        self._at = 0

    def recv(self, size: int) -> bytes:
        """Return at most ``size`` bytes; raises what a socket raises."""
        if self._at >= len(self._chunk):
            self._chunk, self._at = self._socket.recv(RECEIVE_BYTES), 0
        piece = self._chunk[self._at : self._at + size]
        self._at += len(piece)
        return piece

    @property
    def _closed(self) -> bool:
        """What paramiko looks at."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close, and wake whoever reads or writes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def open_socket(address: SshAddress, timeout_s: float) -> socket.socket:
    """Connect, with TCP_NODELAY; raises ``SshError`` with the address and the reason."""
    try:
        sock = socket.create_connection((address.host, address.port), timeout=timeout_s)
    except TimeoutError:
        raise SshError(f"cannot reach {address}: no answer within {timeout_s:g} s") from None
    except OSError as failure:
        raise SshError(f"cannot reach {address}: {reason(failure)}") from failure
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


def reason(failure: BaseException) -> str:
    """Return a network failure in a few words: ``connection refused``."""
    if isinstance(failure, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(failure, EOFError):
        return "it closed the connection"
    if isinstance(failure, OSError) and failure.errno is not None and failure.errno > 0:
        return os.strerror(failure.errno).lower()
    return str(failure) or type(failure).__name__
