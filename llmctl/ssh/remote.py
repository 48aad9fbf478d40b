"""One machine, logged in to: what ``up`` needs of it, over SSH or right here."""

from collections.abc import AsyncGenerator
from typing import Protocol

from msgspec import Struct


class Ran(Struct, frozen=True, kw_only=True):
    """A command that ended."""

    status: int
    """Exit status; negative where a signal ended it."""
    stdout: str
    stderr: str


class HttpReply(Struct, frozen=True, kw_only=True):
    """A short answer of a service on the machine."""

    status: int
    body: bytes


class Remote(Protocol):
    """An open login. Methods raise ``SshError`` when the link is lost; they may be retried."""

    where: str
    """For messages: ``root@203.0.113.7:40022``, or ``this machine``."""

    async def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Ran:
        """Run POSIX shell; secrets go through ``stdin``, never through ``script``.

        Raises ``DeadlineExceeded`` when it takes longer.
        """
        ...

    def follow(self, script: str, *, stdin: bytes = b"") -> AsyncGenerator[str, None]:
        """Run POSIX shell and yield its stdout line by line as it comes.

        A status other than 0 raises ``RemoteFailed`` with the last lines of stderr.
        """
        ...

    async def http(
        self, port: int, method: str, path: str, body: bytes | None = None, *, timeout_s: float
    ) -> HttpReply:
        """Ask a service that listens on the machine's 127.0.0.1."""
        ...

    def http_lines(
        self, port: int, path: str, body: bytes, *, idle_s: float
    ) -> AsyncGenerator[bytes, None]:
        """POST and yield the lines of the answer as they come.

        A status other than 200 raises ``RemoteFailed`` with the service's words, ``idle_s``
        without a byte ``DeadlineExceeded``.
        """
        ...

    async def close(self) -> None:
        """Log out; what was started detached goes on."""
        ...
