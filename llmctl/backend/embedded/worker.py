"""The child process: one llama.cpp server on a free loopback port, and nothing of llmctl beside it.

``python -m llmctl.backend.embedded.worker`` reads its settings as one JSON line from stdin, which
keeps the key out of the process list, and writes one JSON line to stdout when the model is loaded
or cannot be. Then it serves until stdin ends, that is, until its parent is gone or lets it go.
Native code logs to stderr. A crash in here ends this process and no other.
"""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from msgspec import Struct

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"
_WARNINGS = 2
_BATCH = 512
"""Tokens read between two looks at cancelled requests and the other slots (2,048 by default)."""


class Sampling(Struct, frozen=True, kw_only=True):
    """How the next token is chosen."""

    temperature: float
    repeat_penalty: float
    repeat_last: int
    """Tokens back in which a repetition counts."""


class WorkerSettings(Struct, frozen=True, kw_only=True):
    """What the parent says on stdin."""

    gguf: str
    model_name: str
    context_per_slot: int
    parallel: int
    threads: int
    cache_mib: int
    api_key: str
    parent_pid: int
    sampling: Sampling | None = None
    """For requests that say nothing of it; None leaves it to the model file and llama.cpp."""


class WorkerReport(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the child says on stdout, once: one of the two."""

    url: str = ""
    error: str = ""


def main() -> None:
    """Serve until stdin ends."""
    report_to = _keep_stdout_for_the_report()
    settings = msgspec.json.decode(sys.stdin.buffer.readline(), type=WorkerSettings)
    _die_with(settings.parent_pid)
    _volunteer_for_the_oom_killer()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = _serve(settings)
    except Exception as exc:  # noqa: BLE001 - whatever it is, the parent has to be told
        _report(report_to, WorkerReport(error=str(exc) or type(exc).__name__))
        sys.exit(1)
    _report(report_to, WorkerReport(url=server.listening_address))
    sys.stdin.buffer.read()
    os._exit(0)  # no orderly end: native threads may be in the middle of a generation


def _keep_stdout_for_the_report() -> BinaryIO:
    """Point file descriptor 1 at stderr, so that no native print can get into the report."""
    report_to = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return report_to


def _report(report_to: BinaryIO, report: WorkerReport) -> None:
    report_to.write(msgspec.json.encode(report) + b"\n")
    report_to.close()


def _die_with(parent_pid: int) -> None:
    """Have the kernel end this process with its parent, even while native code is loading."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        sys.exit("the parent ended before this process was ready")


def _volunteer_for_the_oom_killer() -> None:
    """When memory runs out it is the engine that should go, not the proxy that restarts it."""
    score = Path("/proc/self/oom_score_adj")
    with suppress(OSError):  # another system, or a container that already asks for more
        score.write_text(_OOM_SCORE)


def _serve(settings: WorkerSettings) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings.gguf
    params.model_alias = {settings.model_name}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [settings.api_key]
    params.ui = False
    # one share of the context for each slot: with a common pool one long answer starves another
    params.n_ctx = settings.context_per_slot * settings.parallel
    params.n_parallel = settings.parallel
    params.kv_unified = False
    params.n_batch = _BATCH
    params.cache_ram_mib = settings.cache_mib
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.use_jinja = True
    params.warmup = False
    params.verbosity = _WARNINGS
    if settings.sampling is not None:
        params.sampling.temp = settings.sampling.temperature
        params.sampling.penalty_repeat = settings.sampling.repeat_penalty
        params.sampling.penalty_last_n = settings.sampling.repeat_last
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
