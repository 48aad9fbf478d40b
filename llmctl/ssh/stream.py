"""A channel as an asyncio transport, so that aiohttp speaks HTTP inside the tunnel."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from llmctl.core.errors import SshError
from llmctl.ssh.channel import Channel

MERGED_BYTES = 16 * 1024
"""Short chunks that wait are kept as one of up to this size: an object each would cost more."""
CLOSE_S = 10.0
"""How long ``close`` waits for what was written to be sent."""


class ChannelTransport(asyncio.Transport):
    """``asyncio.Transport`` and ``Sink`` in one; methods of the former belong to the loop.

    Data keep their order from the link's reader thread to ``data_received`` in the loop; while
    reading is paused they wait here, bounded by the channel's window.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, where: str) -> None:
        super().__init__({"peername": (where, 0)})
        self._loop = loop
        self._protocol: asyncio.Protocol | None = None
        self._channel: Channel | None = None
        self._lock = threading.Lock()
        self._chunks: deque[bytes | bytearray] = deque()
        self._woken = False
        self._eof = self._eof_told = False
        self._over = False
        self._error: SshError | None = None
        self._reading = True
        self._writing_paused = False
        self._closing = False
        self._lost = False
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, channel: Channel, protocol: asyncio.Protocol) -> None:
        """Connect both ends; what has arrived meanwhile follows."""
        self._channel, self._protocol = channel, protocol
        protocol.connection_made(self)
        self._wake()

    # -- Sink: the link's threads ----------------------------------------------------------------

    def data(self, chunk: bytes) -> None:
        """Keep a chunk for the loop."""
        with self._lock:
            last = self._chunks[-1] if self._chunks else None
            if isinstance(last, bytearray) and len(last) + len(chunk) <= MERGED_BYTES:
                last += chunk
            elif last is not None and len(chunk) < MERGED_BYTES:
                self._chunks.append(bytearray(chunk))
            else:
                self._chunks.append(chunk)
        self._wake()

    def eof(self) -> None:
        """Note that the other end writes no more."""
        self._eof = True
        self._wake()

    def closed(self, error: SshError | None) -> None:
        """Note that the channel is closed."""
        self._error = error
        self._over = True
        self._wake()

    def drained(self) -> None:
        """Let the protocol write again."""
        self._post(self._resume_writing)

    # -- reading ---------------------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Keep what arrives from now on."""
        self._reading = False

    def resume_reading(self) -> None:
        """Go on with what was kept."""
        if not self._reading:
            self._reading = True
            self._wake()

    def is_reading(self) -> bool:
        """Whether the protocol is being fed."""
        return self._reading and not self._closing

    # -- writing ---------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes for the link's writer thread."""
        if self._closing or self._channel is None:
            return
        full = not self._channel.write(data if isinstance(data, bytes) else bytes(data))
        if full and not self._writing_paused and self._protocol is not None:
            self._writing_paused = True
            self._protocol.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queue them as one."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Close the direction to the engine; its answer goes on."""
        if self._channel is not None:
            self._channel.write_eof()

    def can_write_eof(self) -> bool:
        """Return True: SSH channels close each direction on its own."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return how many bytes are not sent yet."""
        return 0 if self._channel is None else self._channel.backlog

    # -- ending ----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether ``close`` or ``abort`` was called, or the channel is lost."""
        return self._closing or self._lost or self._over

    def close(self) -> None:
        """Close once what was written is sent; nothing more is read."""
        if self._closing or self._channel is None:
            return
        self._closing = True
        self._forget_input()
        self._timer = self._loop.call_later(CLOSE_S, self.abort)
        self._channel.close()

    def abort(self) -> None:
        """Close now."""
        self._closing = True
        if self._channel is not None:
            self._channel.abort()
        self._forget_input()
        self._loop.call_soon(self._lose, None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who is fed."""
        assert self._protocol is not None
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Feed another one."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    # -- the loop --------------------------------------------------------------------------------

    def _wake(self) -> None:
        with self._lock:
            if self._woken:
                return
            self._woken = True
        self._post(self._deliver)

    def _post(self, call: Callable[[], object]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone, and who listened with it
            self._loop.call_soon_threadsafe(call)

    def _deliver(self) -> None:
        self._woken = False
        if self._protocol is None or self._channel is None or self._lost:
            return
        over, eof = self._over, self._eof  # before the chunks: what came first is told first
        while self._reading and not self._closing and (chunk := self._next_chunk()) is not None:
            self._channel.consumed(len(chunk))
            self._protocol.data_received(bytes(chunk))
        if over and (self._error is not None or self._closing or not self._chunks):
            self._tell_eof(eof)
            self._lose(self._error)
        elif eof and not self._chunks:
            self._tell_eof(eof)

    def _next_chunk(self) -> bytes | bytearray | None:
        with self._lock:
            return self._chunks.popleft() if self._chunks else None

    def _tell_eof(self, eof: bool) -> None:
        if not eof or self._eof_told or self._closing or self._protocol is None:
            return
        self._eof_told = True
        if not self._protocol.eof_received():
            self.close()

    def _lose(self, error: SshError | None) -> None:
        if self._lost or self._protocol is None:
            return
        self._lost = self._closing = True
        if self._timer is not None:
            self._timer.cancel()
        self._forget_input()
        cause = None if error is None else ConnectionResetError(error.message)
        self._protocol.connection_lost(cause)

    def _forget_input(self) -> None:
        with self._lock:
            self._chunks.clear()

    def _resume_writing(self) -> None:
        if self._writing_paused and not self._lost and self._protocol is not None:
            self._writing_paused = False
            self._protocol.resume_writing()


def protocol_of(factory: Callable[[], Any]) -> asyncio.Protocol:
    """Return a new protocol of ``factory``, which must make ``asyncio.Protocol``."""
    made = factory()
    assert isinstance(made, asyncio.Protocol)
    return made
