"""One SSH connection that carries channels, for days, and notices within seconds when it is dead.

paramiko does the transport layer (RFC 4253): keys, ciphers, packets. The connection layer
(RFC 4254) is spoken here, through the handler tables of the transport, because paramiko's own
sends from its reader thread, which stands still during a re-key, and blocks a thread per call.
What is used of its inner parts is pinned by tests/integration/tunnel/test_paramiko_contract.py.
"""

import contextlib
import heapq
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from paramiko import Message, SSHException

from llmctl.core.errors import SshError
from llmctl.ssh import wire
from llmctl.ssh.channel import MAX_PACKET, Channel, Sink
from llmctl.ssh.connect import Connection
from llmctl.ssh.heartbeat import INTERVAL_S, LIMIT_S, Heartbeat
from llmctl.ssh.sockets import reason

log = logging.getLogger(__name__)

FIRST_NUMBER = 1 << 16
"""Of our channels; paramiko counts its own from 0."""
WINDOWS = 8 * 1024 * 1024
"""Shared between channels as they open, within the two bounds below."""
MIN_WINDOW = 512 * 1024
MAX_WINDOW = 2 * 1024 * 1024
"""25 MB/s at 80 ms; each reader that stalls may hold as much."""
JOIN_S = 5.0
UNSENT_BYTES = 256 * 1024
"""What the kernel may hold back: behind more, keepalives and short writes would wait for long."""

_REASONS = {1: "not allowed for this key", 2: "nothing listens there", 4: "too many channels"}
"""RFC 4254 §5.1, as sshd means them."""

_Handler = Callable[[Any, Message], None]


class EngineRefused(SshError):
    """The link works; the port behind it cannot be reached."""


class Link:
    """Carries channels over a connection from ``start`` until ``ended`` is called.

    ``changed`` (suspect or not any more) and ``ended`` are called once each time in a thread of
    the link. Nothing but ``join`` blocks.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        changed: Callable[[], None],
        ended: Callable[[SshError], None],
        keepalive_s: float = INTERVAL_S,
        limit_s: float = LIMIT_S,
    ) -> None:
        self.where = str(connection.address)
        self.suspect = False
        self.received_bytes = 0
        self.sent_bytes = 0
        self._transport = connection.transport
        self._inner: Any = connection.transport  # what its type stubs leave out
        self._changed = changed
        self._ended = ended
        self._heart = Heartbeat(time.monotonic(), interval_s=keepalive_s, limit_s=limit_s)
        self._lock = threading.Lock()
        self._channels: dict[int, Channel] = {}
        self._free: list[int] = []
        self._error: SshError | None = None
        self._queue: queue.SimpleQueue[Channel | bytes | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._write, name=f"ssh-write {self.where}", daemon=True),
            threading.Thread(target=self._watch, name=f"ssh-watch {self.where}", daemon=True),
        ]
        self._take_over()

    @property
    def alive(self) -> bool:
        """Whether channels can be opened."""
        return self._error is None

    @property
    def round_trip_ms(self) -> float | None:
        """Of the last answered keepalive."""
        seconds = self._heart.round_trip_s
        return None if seconds is None else seconds * 1000

    @property
    def channels(self) -> int:
        """How many are open or half closed."""
        return len(self._channels)

    def start(self) -> None:
        """Begin to write and to watch."""
        _limit_unsent(self._transport.sock)
        for thread in self._threads:
            thread.start()

    def open(
        self,
        host: str,
        port: int,
        *,
        sink: Sink | None,
        opened: Callable[[SshError | None], None],
    ) -> Channel:
        """Ask for a channel to ``host:port`` as the machine sees it; ``opened`` says how it went.

        Raises ``SshError`` when the link is gone already.
        """
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)
            number = self._next_number()
            share = WINDOWS // (len(self._channels) + 1)
            window = min(MAX_WINDOW, max(MIN_WINDOW, share))
            channel = Channel(number, self, window=window, sink=sink, opened=opened)
            self._channels[number] = channel
            self._inner._channels.put(number, channel)  # noqa: SLF001
            self._inner.channels_seen[number] = True
        self.post(wire.open_direct_tcpip(number, window, MAX_PACKET, host, port))
        return channel

    def cut(self, why: str) -> None:
        """End the connection at once, whatever state it is in; returns without waiting."""
        self._fail(SshError(f"the link to {self.where} was cut: {why}"))
        # Transport.close() would wait behind whoever is blocked in a write to a dead link.
        self._transport.packetizer.close()
        self._transport.sock.close()

    def join(self) -> None:
        """Wait until the threads of a link that was cut have ended."""
        for thread in (self._transport, *self._threads):
            if thread.is_alive():
                thread.join(JOIN_S)

    # -- for channels ----------------------------------------------------------------------------

    def post(self, item: Channel | bytes) -> None:
        """Let the writer send a message, or ask a channel for its next one."""
        self._queue.put(item)

    def forget(self, channel: Channel) -> None:
        """Drop a channel that both sides have closed; its number may be given out again."""
        with self._lock:
            if self._channels.get(channel.number) is channel:
                del self._channels[channel.number]
                self._inner._unlink_channel(channel.number)  # noqa: SLF001
                heapq.heappush(self._free, channel.number)

    def violated(self, what: str) -> None:
        """Cut the link: the other end broke the protocol."""
        self.cut(f"the server sent {what}")

    # -- threads ---------------------------------------------------------------------------------

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._send(item)
            except (EOFError, OSError, SSHException) as error:
                self.cut(reason(error))
                return

    def _send(self, item: Channel | bytes) -> None:
        if isinstance(item, bytes):
            if item is wire.KEEPALIVE:
                self._heart.sent(time.monotonic())
            self._inner._send_user_message(Message(item))  # noqa: SLF001
            return
        message = item.take()
        if message is not None:
            self.sent_bytes += len(message)
            self._inner._send_user_message(Message(message))  # noqa: SLF001
        item.sent()

    def _watch(self) -> None:
        verdict = self._heart.look(time.monotonic())
        while not verdict.dead:
            if verdict.ask:
                self.post(wire.KEEPALIVE)
            self._transport.join(verdict.look_in_s)
            if not self._transport.is_alive():
                break
            now = time.monotonic()
            verdict = self._heart.look(now)
            self._suspect(self._heart.suspect(now))
        if verdict.dead:
            self.cut("it does not answer any more")
        self._fail(SshError(f"lost the link to {self.where}: {self._why()}"))
        self._queue.put(None)
        assert self._error is not None
        self._ended(self._error)

    def _suspect(self, suspect: bool) -> None:
        if suspect != self.suspect:
            self.suspect = suspect
            self._changed()

    def _why(self) -> str:
        failure = self._transport.saved_exception
        return "it was closed by the other end" if failure is None else reason(failure)

    def _fail(self, error: SshError) -> None:
        """Break every channel; the first reason given is the one that counts."""
        with self._lock:
            if self._error is None:
                self._error = error
            channels = list(self._channels.values())
            self._channels.clear()
        for channel in channels:
            channel.on_lost(self._error)

    def _next_number(self) -> int:
        if self._free:
            return heapq.heappop(self._free)
        return FIRST_NUMBER + len(self._channels)

    # -- paramiko's reader -----------------------------------------------------------------------

    def _take_over(self) -> None:
        """Put our handlers beside those of the transport, which keeps its own channels."""
        transport = self._inner
        theirs = transport._channel_handler_table  # noqa: SLF001
        ours: dict[int, Callable[[Channel, Message], None]] = {
            wire.DATA: self._on_data,
            wire.WINDOW_ADJUST: Channel.on_window,
            wire.EOF: Channel.on_eof,
            wire.CLOSE: Channel.on_close,
            wire.REQUEST: Channel.on_request,
        }
        transport._channel_handler_table = {  # noqa: SLF001
            kind: self._either(ours.get(kind), handler) for kind, handler in theirs.items()
        }
        table = transport._handler_table  # noqa: SLF001
        table[wire.OPEN_CONFIRMATION] = self._either_open(
            Channel.on_opened, table[wire.OPEN_CONFIRMATION]
        )
        table[wire.OPEN_FAILURE] = self._either_open(self._on_refused, table[wire.OPEN_FAILURE])
        table[wire.REQUEST_SUCCESS] = table[wire.REQUEST_FAILURE] = self._on_answer
        table[wire.GLOBAL_REQUEST] = self._on_global_request

    def _either(
        self, ours: Callable[[Channel, Message], None] | None, theirs: _Handler
    ) -> _Handler:
        def handle(channel: Any, message: Message) -> None:
            self._heart.heard_at = time.monotonic()
            if not isinstance(channel, Channel):
                theirs(channel, message)
            elif ours is not None:
                ours(channel, message)

        return handle

    def _either_open(
        self,
        ours: Callable[[Channel, Message], None],
        theirs: Callable[[Message], None],
    ) -> Callable[[Message], None]:
        def handle(message: Message) -> None:
            self._heart.heard_at = time.monotonic()
            number = message.get_int()
            if (channel := self._channels.get(number)) is not None:
                ours(channel, message)
            else:
                message.rewind()
                theirs(message)

        return handle

    def _on_data(self, channel: Channel, message: Message) -> None:
        self.received_bytes += channel.on_data(message)

    def _on_refused(self, channel: Channel, message: Message) -> None:
        code = message.get_int()
        words = message.get_string().decode(errors="replace")
        reason = _REASONS.get(code, words or f"reason {code}")
        channel.on_refused(EngineRefused(f"{self.where} cannot open the engine's port: {reason}"))

    def _on_answer(self, _message: Message) -> None:
        self._heart.answered(time.monotonic())

    def _on_global_request(self, message: Message) -> None:
        message.get_string()
        if message.get_boolean():
            self.post(wire.REFUSAL)


def _limit_unsent(sock: Any) -> None:
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):  # not TCP
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
