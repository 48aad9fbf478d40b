"""Commands and HTTP on a machine over one login; a dead link is noticed and said."""

import asyncio
import contextlib
import shlex
import threading
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import paramiko

from llmctl.core.errors import DeadlineExceeded, RemoteFailed, SshError
from llmctl.ssh.connect import Connection, hang_up
from llmctl.ssh.dial import in_thread
from llmctl.ssh.http import LoopbackHttp, Stream
from llmctl.ssh.link import EngineRefused, Link
from llmctl.ssh.local import LAST_LINES, failed
from llmctl.ssh.remote import HttpReply, Ran
from llmctl.ssh.stream import ChannelTransport

READ_BYTES = 32 * 1024
OPEN_S = 15.0
KEEPALIVE_S = 3.0
SILENCE_S = 12.0
"""Without an answer to a keepalive the link is dead; installing loads a machine, so not sooner."""


class SshRemote:
    """``Remote`` over a ``Connection``, which it owns from now on. Makes no new connections.

    Threads: those of the link, and two for each command that runs.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        keepalive_s: float = KEEPALIVE_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.where = str(connection.address)
        self.connection = connection
        self._link = Link(
            connection,
            changed=lambda: None,
            ended=lambda _: None,
            keepalive_s=keepalive_s,
            limit_s=silence_s,
        )
        self._link.start()
        self._http = LoopbackHttp(self._dial, self.where)

    async def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Ran:
        """Run POSIX shell with ``sh -c``; what it started in its own session goes on after it."""
        out: list[bytes] = []
        err: list[bytes] = []
        try:
            async with asyncio.timeout(timeout_s), self._execute(script, stdin) as output:
                async for is_error, piece in output:
                    (err if is_error else out).append(piece)
        except TimeoutError:
            raise DeadlineExceeded(
                f"a command on {self.where} took more than {timeout_s:g} s"
            ) from None
        status = self._status(output)
        return Ran(status=status, stdout=_text(b"".join(out)), stderr=_text(b"".join(err)))

    async def follow(self, script: str, *, stdin: bytes = b"") -> AsyncGenerator[str, None]:
        """Run POSIX shell and yield its stdout line by line; closing the generator ends it."""
        out, err = _Lines(), _Lines()
        last: deque[str] = deque(maxlen=LAST_LINES)
        async with self._execute(script, stdin) as output:
            async for is_error, piece in output:
                if is_error:
                    last.extend(err.feed(piece))
                    continue
                for line in out.feed(piece):
                    yield line
        status = self._status(output)
        for line in out.rest():
            yield line
        if status != 0:
            raise failed(self.where, status, [*last, *err.rest()][-LAST_LINES:])

    async def http(
        self, port: int, method: str, path: str, body: bytes | None = None, *, timeout_s: float
    ) -> HttpReply:
        """Ask a service on the machine's 127.0.0.1, through a channel."""
        try:
            return await self._http.ask(port, method, path, body, timeout_s=timeout_s)
        except RemoteFailed:
            self._check()
            raise

    async def http_lines(
        self, port: int, path: str, body: bytes, *, idle_s: float
    ) -> AsyncGenerator[bytes, None]:
        """POST and yield the lines of the answer."""
        try:
            async with contextlib.aclosing(
                self._http.lines(port, path, body, idle_s=idle_s)
            ) as lines:
                async for line in lines:
                    yield line
        except RemoteFailed:
            self._check()
            raise

    async def close(self) -> None:
        """Log out and wait until the threads have ended."""

        def end() -> None:
            self._link.cut("logged out")
            hang_up(self.connection.transport)
            self._link.join()

        await in_thread(end, undo=lambda _: None)

    def _check(self) -> None:
        if not self._link.alive:
            raise SshError(f"lost the link to {self.where}")

    # -- channels to ports -----------------------------------------------------------------------

    async def _dial(self, port: int) -> Stream:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        transport = ChannelTransport(loop, self.where)

        def answered(error: SshError | None) -> None:
            _post(loop, _settle, opened, error)

        channel = self._link.open("127.0.0.1", port, sink=transport, opened=answered)
        try:
            await opened
        except EngineRefused as refusal:
            raise RemoteFailed(f"port {port} of {self.where}: {refusal.message}") from refusal
        except asyncio.CancelledError:
            channel.abort()
            raise
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport.begin(channel, protocol)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    # -- commands --------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _execute(self, script: str, stdin: bytes) -> AsyncIterator["_Output"]:
        """Run a command; leaving the block closes the channel, which ends its session."""
        channel = await self._start(script)
        output = _Output(asyncio.get_running_loop(), channel, stdin)
        output.start()
        try:
            yield output
        finally:
            await in_thread(channel.close, undo=lambda _: None)

    def _status(self, output: "_Output") -> int:
        """Return how a command ended that was read to its end; -1 where a signal ended it."""
        if not output.exited:
            self._check()
            if not self.connection.transport.is_active():
                raise SshError(f"lost the link to {self.where}")
        return output.status

    async def _start(self, script: str) -> paramiko.Channel:
        def start() -> paramiko.Channel:
            channel = self.connection.transport.open_session(timeout=OPEN_S)
            channel.settimeout(None)
            channel.exec_command(f"sh -c {shlex.quote(script)}")
            return channel

        try:
            return await in_thread(start, undo=paramiko.Channel.close)
        except (paramiko.SSHException, EOFError, OSError) as failure:
            self._check()
            raise SshError(f"{self.where} runs no command any more: {failure}") from failure


class _Output:
    """What a command writes, as ``(is stderr, bytes)``; two threads read it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, channel: paramiko.Channel, stdin: bytes
    ) -> None:
        self._loop = loop
        self._channel = channel
        self._stdin = stdin
        self._arrived: asyncio.Queue[tuple[bool, bytes] | None] = asyncio.Queue()
        self._errors = threading.Thread(target=self._read_errors, name="ssh-stderr", daemon=True)

    def start(self) -> None:
        self._errors.start()
        threading.Thread(target=self._run, name="ssh-stdout", daemon=True).start()

    @property
    def status(self) -> int:
        return self._channel.exit_status

    @property
    def exited(self) -> bool:
        """Whether the machine said how it ended."""
        return self.status >= 0

    def __aiter__(self) -> "_Output":
        return self

    async def __anext__(self) -> tuple[bool, bytes]:
        if (item := await self._arrived.get()) is None:
            raise StopAsyncIteration
        return item

    def _run(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.sendall(self._stdin)
            self._channel.shutdown_write()
        self._read(self._channel.recv, is_error=False)
        self._errors.join()
        self._channel.status_event.wait()
        _post(self._loop, self._arrived.put_nowait, None)

    def _read_errors(self) -> None:
        self._read(self._channel.recv_stderr, is_error=True)

    def _read(self, receive: Callable[[int], bytes], *, is_error: bool) -> None:
        with contextlib.suppress(OSError, EOFError):
            while piece := receive(READ_BYTES):
                _post(self._loop, self._arrived.put_nowait, (is_error, piece))


class _Lines:
    """Cuts a stream into lines."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[str]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        return [_text(line) for line in lines]

    def rest(self) -> list[str]:
        return [_text(self._rest)] if self._rest else []


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _settle(future: asyncio.Future[None], error: SshError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is gone
        loop.call_soon_threadsafe(call, *args)
