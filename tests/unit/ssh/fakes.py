"""The other end of a channel, and whoever listens at this one, without threads."""

import struct
from collections import deque

from paramiko import Message

from llmctl.core.errors import SshError
from llmctl.ssh import wire
from llmctl.ssh.channel import Channel


class Carrier:
    """A link whose writer runs when ``run`` is called; keeps what was sent."""

    def __init__(self) -> None:
        self.queue: deque[Channel | bytes] = deque()
        self.sent: list[bytes] = []
        self.forgotten: list[Channel] = []
        self.violations: list[str] = []

    def post(self, item: Channel | bytes) -> None:
        self.queue.append(item)

    def forget(self, channel: Channel) -> None:
        self.forgotten.append(channel)

    def violated(self, what: str) -> None:
        self.violations.append(what)

    def step(self) -> None:
        """Send one message, as the writer thread does."""
        item = self.queue.popleft()
        if isinstance(item, bytes):
            self.sent.append(item)
            return
        message = item.take()
        if message is not None:
            self.sent.append(message)
        item.sent()

    def run(self) -> None:
        """Send everything that can be sent."""
        while self.queue:
            self.step()

    def kinds(self) -> list[int]:
        return [message[0] for message in self.sent]

    def data(self) -> bytes:
        """Return the data sent, in order."""
        return b"".join(each[9:] for each in self.sent if each[0] == wire.DATA)


class Sink:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def data(self, chunk: bytes) -> None:
        self.told.append(chunk)

    def eof(self) -> None:
        self.told.append("eof")

    def closed(self, error: SshError | None) -> None:
        self.told.append(("closed", error))

    def drained(self) -> None:
        self.told.append("drained")


def message(*fields: int | bytes | bool) -> Message:
    """Return a message of 32-bit numbers, strings and booleans."""
    parts = []
    for field in fields:
        if isinstance(field, bool):
            parts.append(bytes([field]))
        elif isinstance(field, int):
            parts.append(struct.pack(">I", field))
        else:
            parts.append(struct.pack(">I", len(field)) + field)
    return Message(b"".join(parts))
