"""A machine to tunnel to: a real sshd, a key that is let in, and the accidents that happen to it."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from llmctl.ssh.connect import SshTarget, connect
from llmctl.ssh.keys import Key, load_or_make_key
from llmctl.ssh.supervisor import Login, Pace, Tunnel
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.sshd import Sshd

QUICK = Pace(first_s=0.05, longest_s=0.2, gate_s=2.0, wait_s=20.0)
"""Short pauses; the times after which a link counts as dead are those of everyday use."""


class Machine(Sshd):
    """An sshd that lets ``key`` in."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.pins = Pins()
        self.key: Key = load_or_make_key(directory / "keys")
        super().__init__(directory, authorized=[self.key.public_line], **options)

    @property
    def login(self) -> Login:
        return partial(connect, key=self.key, pins=self.pins)

    def target(self, port: int | None = None) -> SshTarget:
        """Say where it is, or where a proxy before it is."""
        address = msgspec.structs.replace(self.address, port=port or self.port)
        return SshTarget(instance="machine", generation="1", addresses=(address,))

    def tunnel(
        self, engine_port: int, *, through: int | None = None, pace: Pace = QUICK, **more: Any
    ) -> Tunnel:
        """Make a tunnel to a port behind it, perhaps through a proxy before it."""

        async def locate() -> SshTarget:
            return self.target(through)

        return Tunnel("machine", locate, self.login, port=engine_port, pace=pace, **more)

    def freeze_sessions(self) -> None:
        """Stop every session, not the listener: the kernel takes bytes, nothing answers."""
        self._tell(signal.SIGSTOP)

    def thaw_sessions(self) -> None:
        """Let them go on."""
        self._tell(signal.SIGCONT)

    def _tell(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


@contextlib.contextmanager
def running(**options: Any) -> Iterator[Machine]:
    """Run a machine; options are those of ``Sshd``."""
    directory = Path(tempfile.mkdtemp(prefix="machine-"))
    try:
        with Machine(directory, **options) as machine:
            yield machine
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fail if the block leaves threads or descriptors behind."""
    threads, descriptors = _standing()
    yield
    deadline = time.monotonic() + 30
    while (now := _standing())[0] > threads or now[1] > descriptors:
        if time.monotonic() > deadline:
            raise AssertionError(f"left {now} instead of {threads, descriptors}")
        await asyncio.sleep(0.01)


def _standing() -> tuple[int, int]:
    ours = [each for each in threading.enumerate() if "ssh" in repr(each).lower()]
    ours += [
        each for each in threading.enumerate() if type(each).__module__ == "paramiko.transport"
    ]
    return len(ours), len(os.listdir("/dev/fd"))
