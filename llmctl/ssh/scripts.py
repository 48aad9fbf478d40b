"""The shell that runs on machines: kept in files beside this one, sent without its comments."""

from functools import cache
from importlib.resources import files

DIRECTORY = 'umask 077\nd=${LLMCTL_STATE_DIR:-${HOME:-/root}/.llmctl}\nmkdir -p "$d"\n'
"""``$d`` is our directory on the machine, 0700 from its making.

Below the home directory, for root too: machines that share a system keep apart, and what starts
with the container finds the same place as what comes over SSH.
"""
STATE = DIRECTORY + "mine() { tr '\\0' ' ' 2>/dev/null <\"/proc/$1/cmdline\" | grep -qF \"$2\"; }\n"
"""Begin of every script. ``mine PID WORDS``: whether this process runs, and is not another one
with the number of one that ended; what has ended and was not waited for does not count.
"""


@cache
def packaged(name: str) -> str:
    """Return a script of this package, comments and indentation taken out."""
    lines = files(__package__ or "llmctl.ssh").joinpath(name).read_text("utf-8").splitlines()
    kept = (line.strip() for line in lines)
    return "".join(f"{line}\n" for line in kept if line and not line.startswith("#"))
