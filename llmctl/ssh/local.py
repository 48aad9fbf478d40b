"""The machine we are on, as ``up`` sees one it has logged in to."""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncGenerator, Mapping

from llmctl.core.errors import DeadlineExceeded, RemoteFailed
from llmctl.core.tasks import Tasks
from llmctl.ssh.http import LoopbackHttp, Stream
from llmctl.ssh.remote import HttpReply, Ran

LINE_BYTES = 1024 * 1024
LAST_LINES = 5


SECRET_ENDINGS = ("_KEY", "_TOKEN", "_PASSWORD", "_SECRET")


class LocalRemote:
    """``Remote`` by subprocess and loopback HTTP.

    Scripts run with llmctl's environment, or the one given, without what is called like a secret:
    what they start stays for long and needs none.
    """

    where = "this machine"

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = {
            name: value
            for name, value in (os.environ if environment is None else environment).items()
            if not name.upper().endswith(SECRET_ENDINGS)
        }
        self._http = LoopbackHttp(_dial, self.where)

    async def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Ran:
        """Run POSIX shell; what it started in its own session goes on after it."""
        process = await self._spawn(script)
        try:
            async with asyncio.timeout(timeout_s):
                stdout, stderr = await process.communicate(stdin)
        except TimeoutError:
            raise DeadlineExceeded(
                f"a command on {self.where} took more than {timeout_s:g} s"
            ) from None
        finally:
            await _end(process)
        assert process.returncode is not None
        return Ran(status=process.returncode, stdout=_text(stdout), stderr=_text(stderr))

    async def follow(self, script: str, *, stdin: bytes = b"") -> AsyncGenerator[str, None]:
        """Run POSIX shell and yield its stdout line by line."""
        process = await self._spawn(script)
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        tasks = Tasks()
        last = tasks.start(_last_lines(process.stderr), name="stderr")
        try:
            with contextlib.suppress(OSError):  # it may not read what it was given
                process.stdin.write(stdin)
                await process.stdin.drain()
                process.stdin.close()
            async for line in process.stdout:
                yield _text(line).rstrip("\n")
            status = await process.wait()
            words = await last
        finally:
            await _end(process)
            await tasks.close()
        if status != 0:
            raise failed(self.where, status, words)

    async def http(
        self, port: int, method: str, path: str, body: bytes | None = None, *, timeout_s: float
    ) -> HttpReply:
        """Ask a service on 127.0.0.1."""
        return await self._http.ask(port, method, path, body, timeout_s=timeout_s)

    def http_lines(
        self, port: int, path: str, body: bytes, *, idle_s: float
    ) -> AsyncGenerator[bytes, None]:
        """POST and yield the lines of the answer."""
        return self._http.lines(port, path, body, idle_s=idle_s)

    async def close(self) -> None:
        """Do nothing: there is no link."""

    async def _spawn(self, script: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            "-c",
            script,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self._environment,
            limit=LINE_BYTES,
            start_new_session=True,  # Ctrl-C is for llmctl alone
        )


def failed(where: str, status: int, last: list[str]) -> RemoteFailed:
    """Return the error of a command that ended with ``status``."""
    words = "\n".join(last).strip()
    return RemoteFailed(words or f"a command on {where} ended with exit status {status}")


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a script that still runs, with what it started in its own process group."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _last_lines(stream: asyncio.StreamReader) -> list[str]:
    last: deque[str] = deque(maxlen=LAST_LINES)
    async for line in stream:
        last.append(_text(line).rstrip("\n"))
    return list(last)


async def _dial(port: int) -> Stream:
    try:
        return await asyncio.open_connection("127.0.0.1", port)
    except OSError as failure:
        raise RemoteFailed(f"nothing listens on port {port} of this machine") from failure


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")
