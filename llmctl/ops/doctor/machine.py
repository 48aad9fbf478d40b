"""The machine llmctl runs on: interpreter, disk, directories, terminal, other programs."""

import asyncio
import contextlib
import os
import platform
import shlex
import shutil
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from llmctl import __version__
from llmctl.core.errors import LlmctlError
from llmctl.core.paths import Paths
from llmctl.core.reports_health import CheckState, Finding
from llmctl.core.sqlitefile import MOUNTS, NETWORK_FILE_SYSTEMS, file_system
from llmctl.ops.claude import find_client

LEAST_PYTHON = (3, 11)
LEAST_FREE = 256 * 1024**2
"""Bytes below which the ledger and the record of what is rented are in danger."""
PROGRAM_S = 8.0
SECTION = "machine"


def python_finding() -> Finding:
    """Look at the interpreter that runs this."""
    known = sys.version_info[:2] >= LEAST_PYTHON
    return Finding(
        section=SECTION,
        name="python",
        state=CheckState.OK if known else CheckState.BAD,
        detail=f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
        f"llmctl {__version__}, {platform.system()} {platform.machine()}",
        fix="" if known else "uv tool install --python 3.13 llmctl",
    )


def disk_findings(
    paths: Paths, *, cache_bytes: int, least_bytes: int = LEAST_FREE
) -> list[Finding]:
    """Look at the room for state and cache, once for each file system.

    ``cache_bytes`` is what the cache may grow to.
    """
    wanted: dict[int, tuple[Path, int]] = {}
    for directory, need in ((paths.state, 0), (paths.data, 0), (paths.cache, cache_bytes)):
        there = _nearest(directory)
        device = there.stat().st_dev
        before = wanted.get(device, (directory, 0))
        wanted[device] = (before[0], before[1] + need)
    return [_disk(directory, need, least_bytes) for directory, need in wanted.values()]


def _disk(directory: Path, need: int, least: int) -> Finding:
    free = shutil.disk_usage(_nearest(directory)).free
    state, fix = CheckState.OK, ""
    detail = f"{free / 1e9:.1f} GB are free for {directory}"
    if free < least:
        state, fix = CheckState.BAD, f"df -h {shlex.quote(str(_nearest(directory)))}"
    elif free < need:
        state, fix = CheckState.NOTE, "llmctl config set cache.max_bytes 256MiB"
        detail += f", and the cache may grow to {need / 1e9:.1f} GB"
    return Finding(section=SECTION, name="disk", state=state, detail=detail, fix=fix)


def directory_findings(paths: Paths, *, mounts: Path = MOUNTS) -> list[Finding]:
    """Look at the directories that are there: ours alone, writable, on a local disk."""
    there = [
        path for path in dict.fromkeys((paths.data, paths.state, paths.cache)) if path.exists()
    ]
    troubles = [finding for path in there if (finding := _directory(path, mounts)) is not None]
    if troubles:
        return troubles
    detail = ", ".join(map(str, there)) if there else f"none yet; they will be below {paths.data}"
    return [Finding(section=SECTION, name="directories", state=CheckState.OK, detail=detail)]


def _directory(path: Path, mounts: Path) -> Finding | None:
    quoted = shlex.quote(str(path))
    detail, fix = "", ""
    if not os.access(path, os.W_OK | os.X_OK):
        detail, fix = "cannot be written by this user", f"sudo chown -R $(id -u) {quoted}"
    elif path.stat().st_mode & 0o022:
        detail, fix = "can be changed by other users", f"chmod 700 {quoted}"
    else:
        with contextlib.suppress(OSError):
            kind = file_system(path.resolve(), mounts.read_text(errors="replace"))
            if kind in NETWORK_FILE_SYSTEMS:
                detail = f"is on {kind}, a network file system, where SQLite is not safe"
                fix = "export LLMCTL_HOME=/var/lib/llmctl"
    if not detail:
        return None
    return Finding(
        section=SECTION,
        name="directories",
        state=CheckState.BAD,
        detail=f"{path} {detail}",
        fix=fix,
    )


def terminal_finding(stream: TextIO, environ: Mapping[str, str]) -> Finding:
    """Look at the terminal; a pipe is none, and fine."""
    encoding = (stream.encoding or "ascii").lower().replace("-", "")
    where = "a pipe or file"
    if stream.isatty():
        size = shutil.get_terminal_size()
        where = f"{environ.get('TERM') or 'unknown'}, {size.columns} x {size.lines}"
    if encoding in ("utf8", "utf8sig"):
        return Finding(
            section=SECTION, name="terminal", state=CheckState.OK, detail=f"{where}, UTF-8"
        )
    return Finding(
        section=SECTION,
        name="terminal",
        state=CheckState.NOTE,
        detail=f"{where}, {stream.encoding}: answers of a model may not be printable",
        fix="export LC_ALL=C.UTF-8",
    )


async def ssh_finding(environ: Mapping[str, str]) -> Finding:
    """Look for the system's ``ssh``; only ``llmctl ssh`` calls it."""
    found = shutil.which("ssh", path=environ.get("PATH", os.defpath))
    if found is None:
        return Finding(
            section=SECTION,
            name="ssh",
            state=CheckState.NOTE,
            detail="there is no ssh on PATH; llmctl ssh needs it, tunnels do not",
            fix="sudo apt install openssh-client",
        )
    said = await _first_line([found, "-V"], environ, PROGRAM_S)
    return Finding(section=SECTION, name="ssh", state=CheckState.OK, detail=said or found)


async def claude_finding(environ: Mapping[str, str], *, within_s: float = PROGRAM_S) -> Finding:
    """Look for the client; a machine that only serves does not need it."""
    try:
        client = find_client(environ)
    except LlmctlError as absent:
        named = bool(environ.get("LLMCTL_CLAUDE"))
        return Finding(
            section=SECTION,
            name="claude",
            state=CheckState.BAD if named else CheckState.NOTE,
            detail=absent.message,
            fix=absent.hint or "",
        )
    version = await _first_line([client, "--version"], environ, within_s)
    if version is None:
        return Finding(
            section=SECTION,
            name="claude",
            state=CheckState.BAD,
            detail=f"{client} does not say its version within {within_s:g} s",
            fix="npm install -g @anthropic-ai/claude-code",
        )
    return Finding(
        section=SECTION, name="claude", state=CheckState.OK, detail=f"{version} at {client}"
    )


async def _first_line(
    command: Sequence[str], environ: Mapping[str, str], within_s: float
) -> str | None:
    """Return the first line a program says; None where it fails or takes too long."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environ),
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(within_s):
            said, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[0].strip() if lines and process.returncode == 0 else None


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest directory above it that is there."""
    return next(place for place in (path, *path.parents) if place.exists())
