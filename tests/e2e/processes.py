"""Processes of the end-to-end tests: the installed command, and what clients leave behind."""

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.eventually import eventually

START_S = 60.0
STOP_S = 40.0
"""The proxy drains for 30 s at most."""
COMMAND_S = 60.0


def llmctl_command() -> list[str]:
    """The installed ``llmctl`` beside this interpreter, else the package as a module."""
    script = shutil.which("llmctl", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-m", "llmctl"]


def base_environment(home: Path) -> dict[str, str]:
    """What any process of a test starts from: nothing of the operator's but the path."""
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "COVERAGE_PROCESS_START")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    home.mkdir(parents=True, exist_ok=True)
    return environment | {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "NO_COLOR": "1",
    }


@dataclass(frozen=True)
class Ended:
    """A finished process."""

    code: int
    stdout: str
    stderr: str


async def run(
    *command: str,
    environment: Mapping[str, str],
    cwd: Path | None = None,
    within_s: float = COMMAND_S,
) -> Ended:
    """Run a command to its end; it is killed, and the test fails, when that takes too long."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    communicating = asyncio.ensure_future(process.communicate())
    try:
        stdout, stderr = await asyncio.wait_for(asyncio.shield(communicating), within_s)
    except (TimeoutError, asyncio.CancelledError) as late:
        _kill_group(process.pid)
        stdout, stderr = await communicating
        if isinstance(late, asyncio.CancelledError):
            raise
        said = f"stdout: {stdout[-2000:]!r}\nstderr: {stderr[-2000:]!r}"
        raise AssertionError(f"{command[:3]} did not end within {within_s:g} s\n{said}") from late
    assert process.returncode is not None
    return Ended(
        process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")
    )


def _kill_group(pid: int) -> None:
    """Kill a process with its children; it was started in a session of its own."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Proxy:
    """A running ``llmctl serve`` with a home of its own."""

    def __init__(self, home: Path, arguments: tuple[str, ...], settings: Mapping[str, str]) -> None:
        self.home = home
        self._arguments = arguments
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._errors = home.with_name(f"{home.name}.stderr")
        self.banner: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return str(self.banner["url"])

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """In which another ``llmctl`` command finds this proxy and its token."""
        port = self.url.rpartition(":")[2] if self.banner else "0"
        base = base_environment(self.home.with_name(f"{self.home.name}-user"))
        return base | {"LLMCTL_HOME": str(self.home), "LLMCTL_SERVE_PORT": port}

    @property
    def stderr(self) -> str:
        return self._errors.read_text(errors="replace")

    async def start(self) -> None:
        """Start it; returns once it has said where it listens."""
        with self._errors.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *llmctl_command(),
                *("serve", "--port", "0", "--json", *self._arguments),
                env={**self.environment, **self._settings},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        try:
            self.banner = await asyncio.wait_for(self._read_banner(), START_S)
        except BaseException:
            await self._kill()
            raise

    async def _read_banner(self) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        said = b""
        while line := await self._process.stdout.readline():
            said += line
            try:
                return json.loads(said)
            except ValueError:
                continue
        raise AssertionError(f"llmctl serve ended with {said!r}\n{self.stderr}")

    async def stop(self) -> None:
        """End it as an operator does, and look at how it ended."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.returncode is None, f"llmctl serve died by itself\n{self.stderr}"
        process.send_signal(signal.SIGTERM)
        assert process.stdout is not None
        try:
            rest = await asyncio.wait_for(process.stdout.read(), STOP_S)
            code = await asyncio.wait_for(process.wait(), STOP_S)
        except TimeoutError:
            self._process = process
            await self._kill()
            raise AssertionError(f"llmctl serve did not end on SIGTERM\n{self.stderr}") from None
        assert code == 0, f"exit code {code}\n{self.stderr}"
        assert rest == b"", "stdout is one document"
        assert "Traceback" not in self.stderr, self.stderr

    async def ended(self, *, within_s: float) -> int:
        """Wait for it to end by itself; returns its exit code."""
        process = self._process
        assert process is not None
        code = await asyncio.wait_for(process.wait(), within_s)
        self._process = None
        return code

    async def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            _kill_group(process.pid)
            await process.communicate()

    async def command(self, *arguments: str) -> Ended:
        """Run another ``llmctl`` command against this proxy."""
        return await run(*llmctl_command(), *arguments, environment=self.environment)

    async def client_variables(self) -> dict[str, str]:
        """What ``llmctl env --json`` prints for this proxy."""
        ended = await self.command("env", "--json")
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    async def stats(self) -> dict[str, Any]:
        """What the ledger of this proxy says about its requests."""
        ended = await self.command("stats", "--json")
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    async def ledger(self, *, rows: int) -> list[dict[str, Any]]:
        """Its rows, as somebody with the sqlite3 tool sees them, once they are so many."""
        found = await self.rows(at_least=rows)
        assert len(found) == rows, found
        return found

    async def rows(self, *, at_least: int) -> list[dict[str, Any]]:
        """The rows of its ledger, once there are that many."""
        found: list[dict[str, Any]] = []

        def written() -> bool:
            found[:] = self._ledger()
            return len(found) >= at_least

        await eventually(written)
        return found

    def _ledger(self) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.home / "state" / "ledger.db")) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute("SELECT * FROM ledger")]
