"""A local door to a tunnel: a unix socket that only its owner can open, or a TCP port.

For tools that cannot be given a channel. On a TCP port of 127.0.0.1 every user and every web page
of this machine can knock, which is why the socket file comes first.
"""

import asyncio
import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from llmctl.core.errors import ConfigError, SshError
from llmctl.core.paths import make_private
from llmctl.core.tasks import Tasks
from llmctl.ssh.pair import Pair
from llmctl.ssh.supervisor import Tunnel

BACKLOG = 1024
ACCEPTS = 64
"""Connections taken in one go."""
OUT_OF_FILES_S = 0.2
MAX_SOCKET_PATH = 103
"""Bytes that macOS allows, the strictest."""


class Door:
    """Listens from ``open_port`` or ``open_socket`` until ``close``."""

    def __init__(self, tunnel: Tunnel, listener: socket.socket, *, path: Path | None) -> None:
        self._tunnel = tunnel
        self._listener = listener
        self._path = path
        self._tasks = Tasks()
        self._pairs: set[Pair] = set()
        self._loop = asyncio.get_running_loop()
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    @property
    def url(self) -> str:
        """``http://127.0.0.1:11434``, or ``unix:`` and the path."""
        if self._path is not None:
            return f"unix:{self._path}"
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self._pairs)

    async def close(self) -> None:
        """Stop to listen, and reset what is open."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        await self._tasks.close()
        for pair in list(self._pairs):
            pair.reset()

    def _accept(self) -> None:
        for _ in range(ACCEPTS):
            try:
                local, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as failure:
                self._accept_later(failure)
                return
            local.setblocking(False)
            if local.family != socket.AF_UNIX:
                local.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = Pair(self._loop, local, done=self._pairs.discard)
            self._pairs.add(pair)
            self._tasks.start(self._join(pair), name="forward")

    def _accept_later(self, failure: OSError) -> None:
        """Leave those who knock waiting while we have no file descriptors left."""
        if failure.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            self._loop.remove_reader(self._listener)
            self._loop.call_later(OUT_OF_FILES_S, self._accept_again)

    def _accept_again(self) -> None:
        if self._listener.fileno() >= 0:
            self._loop.add_reader(self._listener, self._accept)

    async def _join(self, pair: Pair) -> None:
        try:
            channel = await self._tunnel.open(pair)
        except SshError:
            pair.reset()
        except BaseException:
            pair.reset()
            raise
        else:
            pair.begin(channel)


def open_port(tunnel: Tunnel, port: int) -> Door:
    """Listen on a TCP port of 127.0.0.1: a free one for 0. Raises ``ConfigError`` if it is taken.

    Needs a running loop.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(BACKLOG)
    except OSError as failure:
        listener.close()
        reason = os.strerror(failure.errno or 0).lower()
        raise ConfigError(
            f"cannot listen on 127.0.0.1:{port}: {reason}", hint="--port 0 takes a free one"
        ) from failure
    return Door(tunnel, listener, path=None)


def open_preferred_port(tunnel: Tunnel, port: int) -> tuple[Door, bool]:
    """Listen on ``port``, or on a free one if it is taken; tells whether it was taken."""
    try:
        return open_port(tunnel, port), False
    except ConfigError:
        return open_port(tunnel, 0), True


def open_socket(tunnel: Tunnel, path: Path) -> Door:
    """Listen on a unix socket with mode 0600, in a directory of mode 0700.

    A socket that nobody listens on is replaced. Raises ``ConfigError`` where there is a tunnel
    already, or a file of another kind.
    """
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise ConfigError(
            f"the path of a socket may have {MAX_SOCKET_PATH} bytes, this has more: {path}",
            hint="a shorter --socket, or --port",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        make_private(path.parent)
        _make_way(path)
        listener.bind(str(path))
        path.chmod(0o600)  # before ``listen`` nobody can connect
        listener.listen(BACKLOG)
    except OSError as failure:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {failure.strerror or failure}") from failure
    except ConfigError:
        listener.close()
        raise
    return Door(tunnel, listener, path=path)


def _make_way(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigError(f"{path} exists and is not a socket", hint="another --socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            if probe.connect_ex(str(path)) == 0:
                raise ConfigError(f"something listens on {path} already", hint="llmctl tunnel list")
        path.unlink()
