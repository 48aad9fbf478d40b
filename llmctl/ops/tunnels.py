"""Tunnels that run in the background: one process each, one file each that says how it does.

The process holds a lock for as long as it lives, which the system gives up for it however it ends:
so a record is believed only while its lock is held, and a process id is never signalled by mistake.
"""

import asyncio
import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec
from msgspec import Struct

from llmctl.core.errors import ConfigError, DeadlineExceeded, NotFound, SshError
from llmctl.core.paths import make_private
from llmctl.core.tunnel import TunnelState
from llmctl.ops.tunnel import Held

WRITE_EVERY_S = 2.0
"""How old a record may be while nothing changes."""
START_S = 15.0
STOP_S = 10.0
POLL_S = 0.05
LOCK_TRIES = 10
"""Others hold the lock for an instant, to see whether somebody does."""
LOG_LINES = 20


class Background(Struct, frozen=True, kw_only=True):
    """One tunnel in the background, as its process last wrote it."""

    name: str
    pid: int
    started_at: float
    """Unix time."""
    updated_at: float
    log: str
    held: Held | None = None
    """None until it has opened its door."""


class Record:
    """The record of this process; made by ``Registry.hold``."""

    def __init__(self, path: Path, background: Background) -> None:
        self._path = path
        self._background = background
        self._written: TunnelState | None = None
        self._again_at = 0.0
        self._write(background)

    def update(self, held: Held) -> None:
        """Say how the tunnel is: at once when its state changes, else every two seconds."""
        now = time.monotonic()
        if held.status.state is self._written and now < self._again_at:
            return
        self._written, self._again_at = held.status.state, now + WRITE_EVERY_S
        self._write(msgspec.structs.replace(self._background, held=held, updated_at=time.time()))

    def _write(self, background: Background) -> None:
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(background))
        draft.replace(self._path)


class Registry:
    """What runs in the background, by name; files in ``directory``, which is made 0700."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        """Those that this process has started, to be waited for when they end."""

    @contextlib.contextmanager
    def hold(self, name: str) -> Iterator[Record]:
        """Be the tunnel ``name`` until the block ends; raises ``ConfigError`` if there is one."""
        make_private(self._directory)
        with self._lock(name, tries=LOCK_TRIES) as mine:
            if not mine:
                raise self._runs_already(name)
            path = self._file(name, "json")
            try:
                yield Record(path, self._myself(name))
            finally:
                path.unlink(missing_ok=True)

    def _myself(self, name: str) -> Background:
        now, log = time.time(), str(self.log_file(name))
        return Background(name=name, pid=os.getpid(), started_at=now, updated_at=now, log=log)

    def list(self) -> list[Background]:
        """Return those that run, by name."""
        found = [self._read(path) for path in sorted(self._directory.glob("*.json"))]
        return [each for each in found if each is not None and self._runs(each.name)]

    def get(self, name: str) -> Background:
        """Return one; raises ``NotFound`` where it does not run."""
        found = self._read(self._file(name, "json"))
        if found is None or not self._runs(name):
            raise NotFound(f"no tunnel to {name} runs in the background", hint="llmctl tunnel list")
        return found

    async def start(
        self, name: str, command: Sequence[str], *, within_s: float = START_S
    ) -> Background:
        """Run ``command``, which must ``hold`` the name, detached from this terminal.

        Returns once the tunnel is up, or ``within_s`` later if it is still trying. Raises
        ``ConfigError`` if it runs already, ``SshError`` with its last words if it ends.
        """
        make_private(self._directory)
        if self._runs(name):
            raise self._runs_already(name)
        self._reap(name)
        process = self._children[name] = self._spawn(name, command)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise SshError(f"the tunnel to {name} ended: {self._last_words(name)}")
            with contextlib.suppress(NotFound):
                found = self.get(name)
                if found.held is not None and found.held.status.state is TunnelState.UP:
                    return found
            await asyncio.sleep(POLL_S)
        return self.get(name)

    async def stop(self, name: str, *, within_s: float = STOP_S) -> None:
        """End one, killed if it does not go by itself.

        Raises ``NotFound``, and ``DeadlineExceeded`` where it had to be killed.
        """
        found = self.get(name)
        deadline = time.monotonic() + within_s
        _signal(found.pid, signal.SIGTERM)
        while self._runs(name):
            if time.monotonic() > deadline:
                _signal(found.pid, signal.SIGKILL)
                self._reap(name)
                raise DeadlineExceeded(
                    f"the tunnel to {name} (process {found.pid}) did not end within "
                    f"{within_s:g} s and was killed"
                )
            await asyncio.sleep(POLL_S)
        self._reap(name)

    def log_file(self, name: str) -> Path:
        """Return where its process writes."""
        return self._file(name, "log")

    def _spawn(self, name: str, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        descriptor = os.open(self.log_file(name), flags, 0o600)
        try:
            return subprocess.Popen(  # noqa: S603  our own program
                command,
                stdin=subprocess.DEVNULL,
                stdout=descriptor,
                stderr=descriptor,
                start_new_session=True,
                cwd="/",
            )
        finally:
            os.close(descriptor)

    def _reap(self, name: str) -> None:
        """Wait for a child of ours that has ended, or is about to."""
        if (child := self._children.pop(name, None)) is not None:
            child.wait()

    def _last_words(self, name: str) -> str:
        try:
            lines = self.log_file(name).read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return "\n".join(lines[-LOG_LINES:]).strip() or "it said nothing"

    def _runs_already(self, name: str) -> ConfigError:
        return ConfigError(
            f"a tunnel to {name} runs in the background already", hint=f"llmctl tunnel stop {name}"
        )

    def _runs(self, name: str) -> bool:
        if not self._file(name, "lock").exists():
            return False
        with self._lock(name) as mine:
            return not mine

    @contextlib.contextmanager
    def _lock(self, name: str, *, tries: int = 1) -> Iterator[bool]:
        """Try to hold the lock of a name; its file stays, since others may have it open."""
        descriptor = os.open(self._file(name, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            yield _locked(descriptor, tries)
        finally:
            os.close(descriptor)

    def _file(self, name: str, kind: str) -> Path:
        return self._directory / f"{quote(name, safe='')}.{kind}"

    def _read(self, path: Path) -> Background | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Background)
        except (OSError, msgspec.MsgspecError):
            return None


def _locked(descriptor: int, tries: int) -> bool:
    for left in reversed(range(tries)):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if left:
                time.sleep(POLL_S)
        else:
            return True
    return False


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
