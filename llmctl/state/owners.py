"""Which process works on something: enough to tell a living one from a reused process id."""

import os
import socket
from pathlib import Path

from msgspec import Struct


class Owner(Struct, frozen=True, kw_only=True):
    """A process of some machine."""

    host: str
    pid: int
    started: str
    """When it started, in the kernel's own measure; empty where that cannot be had."""

    def alive(self) -> bool:
        """Whether it still runs; processes of other machines are believed to."""
        if self.host != socket.gethostname():
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _started(self.pid) == self.started


def this_process() -> Owner:
    """Return the process that asks."""
    pid = os.getpid()
    return Owner(host=socket.gethostname(), pid=pid, started=_started(pid))


def _started(pid: int) -> str:
    """Return field 22 of ``/proc/PID/stat`` (``man 5 proc``); empty where there is no such file."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]
