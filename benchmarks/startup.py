"""From the start of the process to the first healthy answer, and memory at rest.

``python -m benchmarks.startup [--rounds 7]``. Each round starts, in turns: an interpreter that
imports ``aiohttp.web``, the bare handler of ``benchmarks.bare``, ``llmctl serve`` for the first
time (in an empty home: token, cache and ledger are made) and again. Healthy is ``/health`` with
status ``ok``: the engine, an emulator in a process of its own, was found as well.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from benchmarks import processes

LIMIT_S = 30.0
REST_S = 2.0
"""After which a process that nobody asks anything is at rest."""

Sample = tuple[float, float]
"""Seconds until it was ready, and resident memory in MB."""


def importing() -> Sample:
    """Start an interpreter that imports aiohttp and ends."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", "import aiohttp.web"])
    processes.pin(process.pid, processes.MEASURED)
    process.wait()
    return time.perf_counter() - began, 0.0


def bare(answer: str) -> Sample:
    port = processes.free_port()
    command = [sys.executable, "-m", "benchmarks.bare", "hit", "--port", str(port)]
    return ready([*command, "--answer", answer], port, b"GET / HTTP/1.1", b"HTTP/1.1 404", {})


def llmctl(engine: str, home: str) -> Sample:
    port = processes.free_port()
    command = processes.serve_command(engine, port)
    env = processes.llmctl_environment(home)
    return ready(command, port, b"GET /health HTTP/1.1", b'"status":"ok"', env)


def ready(
    command: Sequence[str], port: int, line: bytes, expected: bytes, env: Mapping[str, str]
) -> Sample:
    """Start a command and ask until the answer has what is expected; stops it again."""
    fields = f"Host: 127.0.0.1:{port}\r\nx-api-key: {processes.TOKEN}\r\nConnection: close\r\n\r\n"
    request = line + b"\r\n" + fields.encode()
    began = time.perf_counter()
    with subprocess.Popen(
        command, env=os.environ | env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        processes.pin(process.pid, processes.MEASURED)
        try:
            while expected not in answer(port, request):
                if process.poll() is not None or time.perf_counter() - began > LIMIT_S:
                    raise SystemExit(f"{command} gave no {expected.decode()}")
                time.sleep(0.002)
            took = time.perf_counter() - began
            time.sleep(REST_S)
            return took, processes.rss_mb(process.pid)
        finally:
            process.terminate()


def answer(port: int, request: bytes) -> bytes:
    """Return what a server says, nothing where none listens yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S) as sock:
            sock.sendall(request)
            parts = []
            while part := sock.recv(65536):
                parts.append(part)
            return b"".join(parts)
    except ConnectionError:
        return b""


def measure(engine: str, rounds: int) -> dict[str, list[Sample]]:
    """Return samples by what was started; the first round only warms the disk cache."""
    samples: dict[str, list[Sample]] = {"import": [], "bare": [], "first": [], "again": []}
    for number in range(rounds + 1):
        with tempfile.TemporaryDirectory() as home, tempfile.NamedTemporaryFile() as file:
            found = {
                "import": importing(),
                "bare": bare(file.name),
                "first": llmctl(engine, home),
                "again": llmctl(engine, home),
            }
        if number:
            for name, sample in found.items():
                samples[name].append(sample)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    processes.pin(0, processes.OTHERS)
    with processes.ollama() as engine:
        samples = measure(engine, options.rounds)
    seconds = {
        name: statistics.median(took for took, _ in found) for name, found in samples.items()
    }
    processes.report(
        "start to first healthy answer",
        llmctl_s=seconds["again"],
        goal_s=0.5,
        llmctl_first_time_s=seconds["first"],
        bare_s=seconds["bare"],
        import_aiohttp_s=seconds["import"],
    )
    processes.report(
        "memory at rest",
        llmctl_mb=statistics.median(memory for _, memory in samples["again"]),
        goal_mb=70,
        bare_mb=statistics.median(memory for _, memory in samples["bare"]),
    )


if __name__ == "__main__":
    main()
