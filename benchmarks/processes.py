"""Starts what is measured in processes of its own, and reads their CPU time and memory.

Where the machine has two cores or more, what is measured gets one to itself and the rest shares
another: a ratio then compares two programs and not two places in a scheduler's queue.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TOKEN = "llmctl_" + "b" * 64
"""The proxy's token, given to it through the environment."""
MEASURED, OTHERS = 0, 1
"""Places for what is measured and for what only serves to measure it."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pin(pid: int, place: int) -> None:
    """Give a process, 0 being this one, a core; does nothing where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(_allowed_cores())
    os.sched_setaffinity(pid, {cores[place % len(cores)]})


def _allowed_cores(found: list[set[int]] = []) -> set[int]:  # noqa: B006 - asked once, before pinning
    if not found:
        found.append(os.sched_getaffinity(0))
    return found[0]


@contextmanager
def running(
    command: Sequence[str],
    *,
    port: int,
    place: int = OTHERS,
    env: Mapping[str, str] | None = None,
    within_s: float = 20.0,
) -> Iterator[int]:
    """Run a command that listens on ``port`` until the block ends; yields its process id."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=os.environ | (env or {}), stdout=subprocess.DEVNULL, stderr=said
        )
        pin(process.pid, place)
        try:
            if not _listens(port, process, within_s):
                said.seek(0)
                raise SystemExit(f"{command} does not listen: {said.read()[-2000:].decode()}")
            yield process.pid
        finally:
            _end(process)


def _listens(port: int, process: subprocess.Popen[bytes], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def bare(kind: str, *arguments: str) -> Iterator[tuple[int, int]]:
    """Run a baseline of ``benchmarks.bare``; yields port and process id."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", kind, "--port", str(port), *arguments]
    with running(command, port=port, place=MEASURED) as pid:
        yield port, pid


@contextmanager
def ollama(*arguments: str) -> Iterator[str]:
    """Run the Ollama emulator as a source of tokens; yields its URL."""
    port = free_port()
    command = [sys.executable, "-m", "tests.emulators.ollama", "--port", str(port), *arguments]
    with running(command, port=port):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def llmctl(
    engine_url: str, *options: str, env: Mapping[str, str] | None = None
) -> Iterator[tuple[int, int]]:
    """Run ``llmctl serve`` with an empty home; yields port and process id. It takes ``TOKEN``."""
    port = free_port()
    home = tempfile.mkdtemp(prefix="llmctl-benchmark-")
    try:
        command = serve_command(engine_url, port)
        given = llmctl_environment(home) | (env or {})
        with running([*command, *options], port=port, place=MEASURED, env=given) as pid:
            time.sleep(0.5)  # what it does in its first moments is not what is measured
            yield port, pid
    finally:
        shutil.rmtree(home, ignore_errors=True)


def serve_command(engine_url: str, port: int) -> list[str]:
    command = [sys.executable, "-m", "llmctl", "serve"]
    return [*command, "--backend", f"ollama:{engine_url}", "--port", str(port)]


def llmctl_environment(home: str) -> dict[str, str]:
    return {"LLMCTL_HOME": home, "LLMCTL_AUTH_TOKEN": TOKEN}


def cpu_s(pid: int) -> float:
    """Return user and system CPU seconds of a process's threads, finer than its clock ticks."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9


def rss_mb(pid: int) -> float:
    """Return resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has no VmRSS")


def report(name: str, **figures: float | str | None) -> None:
    """Print one JSON line."""
    shown = {
        key: round(value, 3) if isinstance(value, float) else value
        for key, value in figures.items()
        if value is not None
    }
    print(json.dumps({"name": name} | shown), flush=True)
