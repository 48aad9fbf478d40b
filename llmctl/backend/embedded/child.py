"""One engine process as its parent sees it: started, ready or not, ended, and why."""

import asyncio
import re
import signal
import sys
from contextlib import suppress
from typing import Protocol

import msgspec

from llmctl.backend.embedded.worker import WorkerReport, WorkerSettings
from llmctl.core.errors import BackendError
from llmctl.core.tasks import Tasks

_TAIL_BYTES = 16 * 1024
_TERM_S = 3.0
# a line is a time, E, perhaps a component, a function and the text:
# 0.00.024.580 E llama_model_load: error loading model: tensor … is not within the file bounds
_NATIVE_ERROR = re.compile(
    r"^[\d.]+ E (?:\w+ +)?\S+: (?:error loading model: )?(.+)$", re.MULTILINE
)
_ABORT = re.compile(r"^.*(?:GGML_ASSERT|terminate called).*$", re.MULTILINE)
"""What native code says before it aborts."""


class LoadFailed(BackendError):
    """The engine said that it cannot load the model; trying again would say the same."""


class Child(Protocol):
    """A running engine process."""

    pid: int
    url: str
    """Where it serves; set once it is ready."""

    async def ready(self) -> None:
        """Wait until the model is loaded.

        Raises ``LoadFailed`` when the engine says that it cannot be, ``BackendError`` when the
        process ends before it says anything.
        """
        ...

    async def ended(self) -> str:
        """Wait for the process to end and return why, e.g. ``it was killed by SIGSEGV``."""
        ...

    async def stop(self) -> None:
        """End the process and wait until it is gone; safe at any time and more than once."""
        ...


class WorkerChild:
    """``Child`` on a subprocess; made by ``spawn``."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail = bytearray()
        self._tasks = Tasks()
        self._drain = self._tasks.start(self._keep_tail(), name="engine stderr")
        self.pid = process.pid
        self.url = ""

    async def ready(self) -> None:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            why = await self.ended()
            raise BackendError(f"the engine process ended while loading the model: {why}")
        report = _read_report(line)
        if report.error:
            await self.ended()
            raise LoadFailed(explain(self._tail.decode(errors="replace")) or report.error)
        self.url = report.url

    async def ended(self) -> str:
        status = await self._process.wait()
        await asyncio.shield(self._drain)
        return why_it_ended(status, self._tail.decode(errors="replace"))

    async def stop(self) -> None:
        """Ask with SIGTERM, then insist with SIGKILL, which also ends a stopped process."""
        if self._process.returncode is None:
            self._signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(_TERM_S):
                    await self._process.wait()
        self._signal(signal.SIGKILL)
        await self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._drain

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _keep_tail(self) -> None:
        assert self._process.stderr is not None
        while piece := await self._process.stderr.read(4096):
            self._tail += piece
            del self._tail[:-_TAIL_BYTES]


async def spawn(settings: WorkerSettings) -> WorkerChild:
    """Start an engine process; returns before it has loaded the model.

    It has a session of its own, so that Ctrl-C in the terminal reaches only the proxy, which
    drains first.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "llmctl.backend.embedded.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    with suppress(ConnectionError):  # it is already gone: ``ready`` says why
        process.stdin.write(msgspec.json.encode(settings) + b"\n")
        await process.stdin.drain()
    return WorkerChild(process)


def explain(tail: str) -> str:
    """Return the first error in llama.cpp's log, which names the cause; empty if there is none."""
    found = _NATIVE_ERROR.search(tail)
    return found[1].strip() if found else ""


def _read_report(line: bytes) -> WorkerReport:
    try:
        return msgspec.json.decode(line, type=WorkerReport)
    except msgspec.MsgspecError as exc:
        raise BackendError(f"the engine process said {line[:100]!r} instead of its URL") from exc


def why_it_ended(status: int, tail: str) -> str:
    """Put an exit status, and what the log's ``tail`` has to say about it, into words."""
    if status >= 0:
        cause = explain(tail)
        return f"it ended with exit status {status}" + (f": {cause}" if cause else "")
    names = {number.value: number.name for number in signal.Signals}
    abort = _ABORT.search(tail)
    return f"it was killed by {names.get(-status, f'signal {-status}')}" + (
        f": {abort[0].strip()}" if abort else ""
    )
