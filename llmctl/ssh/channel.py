"""One connection to the engine inside an SSH link: a direct-tcpip channel (RFC 4254 §5).

Three threads meet in it and none waits for another: the link's reader brings what arrived, its
writer takes what is to be sent, and the owner does the rest.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from paramiko import Message

from llmctl.core.errors import SshError
from llmctl.ssh import wire

MAX_PACKET = 32768
"""Of data in one message, both ways; larger ones gain little and hold others up."""
FULL_BACKLOG = 256 * 1024
"""Of bytes waiting to be sent, beyond which the owner is asked to pause."""
LOW_BACKLOG = 64 * 1024


class Sink(Protocol):
    """Who gets what arrives. Called in the link's threads, so nothing here may block or raise."""

    def data(self, chunk: bytes) -> None:
        """Take bytes; ``Channel.consumed`` is owed for them."""
        ...

    def eof(self) -> None:
        """No more data will come; writing goes on."""
        ...

    def closed(self, error: SshError | None) -> None:
        """The channel is closed, by either side, or broken with its link; said once."""
        ...

    def drained(self) -> None:
        """The backlog, which was full, is low again."""
        ...


class Carrier(Protocol):
    """The link as its channels see it."""

    def post(self, item: "Channel") -> None:
        """Let the writer ask a channel for its next message."""
        ...

    def forget(self, channel: "Channel") -> None:
        """Drop a channel of which nothing more will be heard, and give its number away again."""
        ...

    def violated(self, what: str) -> None:
        """Cut the link: the other end broke the protocol."""
        ...


class Channel:
    """From ``opened`` to ``closed``; made by ``Link.open``. Everything but ``take`` is thread-safe.

    ``opened`` is called once, in a thread of the link, with an error or None.
    """

    def __init__(
        self,
        number: int,
        carrier: Carrier,
        *,
        window: int,
        sink: Sink | None,
        opened: Callable[[SshError | None], None],
    ) -> None:
        self.number = number
        self.backlog = 0
        """Bytes that ``write`` took and the writer has not yet sent."""
        self._carrier = carrier
        self._sink = sink
        self._opened = opened
        self._lock = threading.Lock()
        self._remote: int | None = None
        self._ended = False
        self._touched = False
        self._window = window
        self._threshold = window // 4
        self._in_window = window
        self._credit = 0
        self._refusals = 0
        self._out: deque[memoryview] = deque()
        self._out_window = 0
        self._out_packet = MAX_PACKET
        self._source: Callable[[int], bytes] | None = None
        self._queued = False
        self._thirsty = False
        self._eof_wanted = self._eof_sent = False
        self._close_wanted = self._close_sent = self._close_received = False

    # -- the owner -------------------------------------------------------------------------------

    def attach(self, sink: Sink) -> bool:
        """Take over a channel opened without a sink; False where the other end has used it."""
        with self._lock:
            if self._touched or self._ended or self._close_wanted:
                return False
            self._sink = sink
            return True

    def write(self, chunk: bytes) -> bool:
        """Queue bytes; returns False when the backlog is full and ``Sink.drained`` will be called.

        What is written after ``write_eof`` or ``close``, or to a lost channel, is dropped.
        """
        with self._lock:
            if self._eof_wanted or self._close_wanted or self._ended:
                return True
            if chunk:
                self._out.append(memoryview(chunk))
                self.backlog += len(chunk)
            full = self.backlog > FULL_BACKLOG
            self._thirsty |= full
        self._kick()
        return not full

    def pump(self, source: Callable[[int], bytes]) -> None:
        """Let the link's writer fetch what follows, as much as it asks for, until that is nothing.

        For much data: no packet changes hands between two threads. ``source`` must not block, nor
        call the channel.
        """
        with self._lock:
            if not (self._close_wanted or self._ended):
                self._source = source
        self._kick()

    def write_eof(self) -> None:
        """Say that nothing follows, after what is queued."""
        with self._lock:
            self._eof_wanted = True
        self._kick()

    def close(self) -> None:
        """Close after what is queued was sent."""
        with self._lock:
            self._close_wanted = True
        self._kick()

    def abort(self) -> None:
        """Close at once; what is queued is dropped, and the sink hears no more."""
        with self._lock:
            self._sink = None
            self._drop_backlog()
            self._close_wanted = True
        self._kick()

    def consumed(self, size: int) -> None:
        """Say that the sink is done with ``size`` bytes, so that more may come."""
        with self._lock:
            self._credit += size
            enough = self._credit >= self._threshold
        if enough:
            self._kick()

    # -- the link's writer -----------------------------------------------------------------------

    def take(self) -> bytes | None:
        """Return the next message to send, None where there is nothing to send now."""
        with self._lock:
            remote = self._remote
            if remote is None or self._ended or self._close_sent:
                return None
            if (reply := self._take_reply(remote)) is not None:
                return reply
            if self._out:
                return self._take_data(remote)
            return self._take_pumped(remote) or self._take_end(remote)

    def sent(self) -> None:
        """Go on after the message from ``take`` was sent, or there was none."""
        with self._lock:
            self._queued = again = self._ready()
            low = self._thirsty and self.backlog <= LOW_BACKLOG
            if low:
                self._thirsty = False
            done, gone = self._close_sent, self._close_sent and self._close_received
            sink = self._sink
        if again:
            self._carrier.post(self)
        if low and sink is not None:
            sink.drained()
        if done:
            self._end(None)
        if gone:
            self._carrier.forget(self)

    def _take_reply(self, remote: int) -> bytes | None:
        """Return what keeps the other end going.

        Through ``take`` like all else: sshd hangs up on whoever speaks of a channel after its end.
        """
        if self._refusals:
            self._refusals -= 1
            return wire.request_refused(remote)
        if self._credit < self._threshold or self._close_wanted:
            return None
        grant, self._credit = self._credit, 0
        self._in_window += grant
        return wire.window_adjust(remote, grant)

    def _take_end(self, remote: int) -> bytes | None:
        if self._close_wanted:
            self._close_sent = True
            return wire.close(remote)
        if self._eof_wanted and not self._eof_sent:
            self._eof_sent = True
            return wire.eof(remote)
        return None

    def _take_data(self, remote: int) -> bytes | None:
        room = min(self._out_window, self._out_packet)
        pieces: list[memoryview] = []
        left = room
        while left and self._out:
            piece = self._out.popleft()
            if len(piece) > left:
                self._out.appendleft(piece[left:])
                piece = piece[:left]
            pieces.append(piece)
            left -= len(piece)
        size = room - left
        if not size:
            return None
        self._out_window -= size
        self.backlog -= size
        return wire.data(remote, pieces, size)

    def _take_pumped(self, remote: int) -> bytes | None:
        room = min(self._out_window, self._out_packet)
        if self._source is None or not room:
            return None
        chunk = self._source(room)
        if not chunk:
            self._source = None
            return None
        self._out_window -= len(chunk)
        return wire.data(remote, [memoryview(chunk)], len(chunk))

    def _ready(self) -> bool:
        if self._remote is None or self._ended or self._close_sent:
            return False
        replies = self._credit >= self._threshold and not self._close_wanted
        if replies or self._refusals:
            return True
        if self._out or self._source is not None:
            return self._out_window > 0
        return self._close_wanted or (self._eof_wanted and not self._eof_sent)

    def _kick(self) -> None:
        with self._lock:
            if self._queued or not self._ready():
                return
            self._queued = True
        self._carrier.post(self)

    # -- the link's reader -----------------------------------------------------------------------

    def on_opened(self, message: Message) -> None:
        """Take the other end's confirmation: its number, window and packet size."""
        remote, window, packet = message.get_int(), message.get_int(), message.get_int()
        with self._lock:
            self._remote = remote
            self._out_window = window
            self._out_packet = min(packet, MAX_PACKET)
        self._opened(None)
        self._kick()

    def on_refused(self, error: SshError) -> None:
        """The other end does not open it."""
        with self._lock:
            self._ended, self._sink = True, None
        self._carrier.forget(self)
        self._opened(error)

    def on_data(self, message: Message) -> int:
        """Pass data on; returns how much it was."""
        chunk = message.get_binary()
        with self._lock:
            self._in_window -= len(chunk)
            violated = self._in_window < 0
            self._touched = True
            sink = self._sink
        if violated:
            self._carrier.violated(f"{-self._in_window} bytes more than were allowed")
        elif sink is not None:
            sink.data(chunk)
        return len(chunk)

    def on_window(self, message: Message) -> None:
        """The other end allows more bytes."""
        with self._lock:
            self._out_window += message.get_int()
        self._kick()

    def on_eof(self, _message: Message) -> None:
        """The other end has no more data."""
        with self._lock:
            self._touched = True
            sink = self._sink
        if sink is not None:
            sink.eof()
        else:
            self.close()  # a spare that the engine no longer wants

    def on_close(self, _message: Message) -> None:
        """The other end closes; answered with our own close, whatever was queued."""
        with self._lock:
            self._drop_backlog()
            self._close_wanted = self._close_received = True
            gone = self._close_sent and not self._queued
        self._end(None)
        self._kick()
        if gone:
            self._carrier.forget(self)

    def on_request(self, message: Message) -> None:
        """Refuse a request about the channel: sshd's ClientAliveInterval asks for an answer."""
        message.get_string()
        if message.get_boolean():
            with self._lock:
                self._refusals += 1
            self._kick()

    def on_lost(self, error: SshError) -> None:
        """The link is gone."""
        with self._lock:
            waiting = self._remote is None and not self._ended
            self._drop_backlog()
        if waiting:
            self.on_refused(error)
        else:
            self._end(error)

    def _unlink(self) -> None:
        """Do nothing: the transport says that it has ended, and the link will say why."""

    def _end(self, error: SshError | None) -> None:
        """Tell the sink, once. A channel that was closed still answers the other end's close."""
        with self._lock:
            self._ended = self._ended or error is not None
            self._touched = True
            sink, self._sink = self._sink, None
        if sink is not None:
            sink.closed(error)

    def _drop_backlog(self) -> None:
        self._source = None
        self._out.clear()
        self.backlog = 0
