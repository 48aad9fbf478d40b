"""Starts what is measured in processes of its own, and reads their CPU time and memory."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int, process: subprocess.Popen[bytes], *, within_s: float = 20.0) -> None:
    """Wait until something listens; exits when the process has died."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise SystemExit(f"{process.args} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


@contextmanager
def module(*arguments: str, port: int, env: dict[str, str] | None = None) -> Iterator[int]:
    """Run ``python -m`` with ``arguments`` until the block ends; yields the process id."""
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        env=os.environ | (env or {}),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def llmctl(engine_url: str, *options: str, env: dict[str, str] | None = None) -> Iterator[tuple[int, int, str]]:
    """Run ``llmctl serve`` on ``engine_url``; yields port, process id and token."""
    port = free_port()
    with tempfile.TemporaryDirectory() as home:
        arguments = ["llmctl", "serve", "--backend", f"ollama:{engine_url}", "--port", str(port)]
        with module(*arguments, *options, port=port, env={"LLMCTL_HOME": home} | (env or {})) as pid:
            token = (Path(home) / "data" / "token").read_text().strip()
            yield port, pid, token


def cpu_s(pid: int) -> float:
    """Return user and system CPU seconds a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(pid: int) -> float:
    """Return resident memory in MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"process {pid} has no VmRSS")


def report(name: str, **figures: float | str) -> None:
    """Print one JSON line."""
    shown = {key: round(value, 3) if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"name": name} | shown), flush=True)
