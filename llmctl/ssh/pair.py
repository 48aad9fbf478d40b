"""One local connection joined to one channel.

What comes from the machine is written to the local socket by the link's reader thread itself, as
long as the socket takes it: that costs a third of the CPU of a way through the event loop.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable

from llmctl.core.errors import SshError
from llmctl.ssh.channel import Channel

READ_BYTES = 128 * 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that makes ``close`` send a reset."""


class Pair:
    """Owns the local socket, which does not block, from ``begin`` to ``done``.

    Each direction ends on its own. A link that breaks resets the local connection: an orderly end
    would look like the end of an answer.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        local: socket.socket,
        *,
        done: Callable[["Pair"], None],
    ) -> None:
        self._loop = loop
        self._local = local
        self._done = done
        self._channel: Channel | None = None
        self._lock = threading.Lock()
        self._pending: deque[memoryview] = deque()
        self._owed = 0
        self._eof = False
        self._open = True
        self._reading = self._pumping = self._flushing = False
        self._local_eof = False
        self._channel_over = False

    def begin(self, channel: Channel) -> None:
        """Start to read from the local side."""
        with self._lock:
            self._channel, owed, self._owed = channel, self._owed, 0
        if owed:
            channel.consumed(owed)
        if self._open:
            self._read_on()
        else:
            channel.abort()

    def reset(self) -> None:
        """End both sides at once, and say so to the local one where its kind allows it."""
        self._finish(reset=True)

    # -- Sink: the link's threads ----------------------------------------------------------------

    def data(self, chunk: bytes) -> None:
        """Write to the local socket what it takes now; the rest is for the loop."""
        with self._lock:
            if not self._open:
                return
            sent = 0 if self._pending else self._send(chunk)
            if sent < 0:
                self._post(self.reset)
                return
            if sent < len(chunk):
                self._pending.append(memoryview(chunk)[sent:])
                self._post(self._flush_later)
            if (channel := self._channel) is None:
                self._owed += sent
        if sent and channel is not None:
            channel.consumed(sent)

    def eof(self) -> None:
        """Pass the end of this direction on, after what is pending."""
        self._post(self._end_of_remote)

    def closed(self, error: SshError | None) -> None:
        """End after what is pending, or at once where the link broke."""
        self._post(self.reset if error is not None else self._end_of_channel)

    def drained(self) -> None:
        """Read from the local side again."""
        self._post(self._read_on)

    def _more(self, size: int) -> bytes:
        """Read what has come from the local side; where that is nothing the loop takes over."""
        with self._lock:
            try:
                chunk = self._local.recv(size) if self._open else b""
            except OSError:
                chunk = b""
        if not chunk:
            self._post(self._read_again)
        return chunk

    # -- the loop --------------------------------------------------------------------------------

    def _post(self, call: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(call)

    def _send(self, chunk: bytes | memoryview) -> int:
        """Return how much the local socket took, -1 when it is broken."""
        try:
            return self._local.send(chunk)
        except BlockingIOError:
            return 0
        except OSError:
            return -1

    def _flush_later(self) -> None:
        if self._open and not self._flushing:
            self._flushing = True
            self._loop.add_writer(self._local, self._flush)

    def _flush(self) -> None:
        with self._lock:
            broken = self._send_pending() < 0
            empty = not self._pending
            owed, self._owed = self._owed, 0
        if owed and self._channel is not None:
            self._channel.consumed(owed)
        if broken:
            self.reset()
        elif empty:
            self._flushing = False
            self._loop.remove_writer(self._local)
            self._after_flush()

    def _send_pending(self) -> int:
        """Send as much as the local socket takes; returns -1 when it is broken."""
        while self._pending:
            piece = self._pending[0]
            sent = self._send(piece)
            if sent < 0:
                return -1
            self._owed += sent
            if sent < len(piece):
                self._pending[0] = piece[sent:]
                break
            self._pending.popleft()
        return 0

    def _after_flush(self) -> None:
        if self._pending or not self._open:
            return
        if self._eof:
            with contextlib.suppress(OSError):
                self._local.shutdown(socket.SHUT_WR)
        if self._channel_over:
            self._finish(reset=False)

    def _end_of_remote(self) -> None:
        self._eof = True
        self._after_flush()

    def _end_of_channel(self) -> None:
        self._channel_over = True
        self._after_flush()

    def _read_on(self) -> None:
        if self._open and not (self._reading or self._pumping or self._local_eof):
            self._reading = True
            self._loop.add_reader(self._local, self._read)

    def _read_again(self) -> None:
        self._pumping = False
        self._read_on()

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._local)

    def _read(self) -> None:
        assert self._channel is not None
        try:
            chunk = self._local.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.reset()
            return
        if not chunk:
            self._local_eof = True
            self._stop_reading()
            self._channel.write_eof()
        elif len(chunk) == READ_BYTES:
            self._stop_reading()
            self._pumping = True
            self._channel.write(chunk)
            self._channel.pump(self._more)
        elif not self._channel.write(chunk):
            self._stop_reading()

    def _finish(self, *, reset: bool) -> None:
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._pending.clear()
        self._stop_reading()
        if self._flushing:
            self._loop.remove_writer(self._local)
        if self._channel is not None:
            self._channel.abort()
        if reset and self._local.family != socket.AF_UNIX:
            with contextlib.suppress(OSError):
                self._local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._local.close()
        self._done(self)
