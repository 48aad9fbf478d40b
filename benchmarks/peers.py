"""Cache hits a second beside LiteLLM's proxy, the peer that also caches ``/v1/messages``.

``python -m benchmarks.peers [--venv DIR] [--seconds 3] [--rounds 3]``. LiteLLM is installed from
PyPI into an environment of its own (750 MB, kept in the cache directory for the next time), at an
exact version: its releases have been tampered with before. It takes its fastest way: one worker, no
database, ``anthropic/`` passed through, answers in its memory. llmctl runs as installed.

Both get the same requests and know the same answer; LiteLLM's has 200 deltas, where an engine would
send thousands. Its engine is stopped before the load begins, so nothing but its cache can answer.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from benchmarks import bodies, hits, load, processes
from tests.claude_shapes import encode, prose

VERSION = "1.106.2"
START_S = 120.0
STORED_S = 2.0
"""LiteLLM stores an answer some time after it was sent."""
GOAL = 40.0
KEY = "sk-" + "b" * 64
"""LiteLLM's master key: it does not start without one."""
KINDS = {"whole": False, "stream": True}
"""Kinds of request, and whether they ask for a stream."""
ENVIRONMENT = {
    "LITELLM_MASTER_KEY": KEY,
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOG": "ERROR",
    "LITELLM_TELEMETRY": "False",
}


def installed(venv: Path) -> Path:
    """Return LiteLLM's command, installing it first if need be; ends the run where it cannot."""
    command = venv / "bin" / "litellm"
    if not command.exists():
        print(f"installing LiteLLM {VERSION} into {venv}", file=sys.stderr)
        wanted = f"litellm[proxy]=={VERSION}"
        for step in (
            [sys.executable, "-m", "venv", str(venv)],
            [str(venv / "bin" / "pip"), "install", "--quiet", wanted],
        ):
            done = subprocess.run(step, check=False, capture_output=True, text=True)
            if done.returncode:
                said = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
                print(f"skipped: LiteLLM {VERSION} could not be installed here: {said[-1]}")
                raise SystemExit(0)
    return command


@contextmanager
def litellm(command: Path, engine: str) -> Iterator[tuple[int, int]]:
    """Run LiteLLM's proxy in front of an engine that speaks Anthropic's API."""
    port = processes.free_port()
    passed_through = {
        "model": "anthropic/claude-sonnet-4-5",
        "api_base": engine,
        "api_key": "unused",
    }
    config = {
        "model_list": [{"model_name": "qwen3-coder", "litellm_params": passed_through}],
        "litellm_settings": {"cache": True, "cache_params": {"type": "local"}},
    }
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(json.dumps(config))  # which is YAML as well
        file.flush()
        arguments = ["--config", file.name, "--host", "127.0.0.1", "--port", str(port)]
        process = processes.running(
            [str(command), *arguments],
            port=port,
            place=processes.MEASURED,
            env=ENVIRONMENT,
            within_s=START_S,
        )
        with process as pid:
            yield port, pid


def fill(target: hits.Target) -> None:
    """Have the answer made and kept."""
    asyncio.run(load.once(target.request, port=target.port))
    time.sleep(STORED_S)


def requests(port: int, options: argparse.Namespace, token: str) -> dict[str, bytes]:
    size = options.body_kb * 1000
    return {
        name: bodies.http(
            "/v1/messages",
            encode(bodies.agent_request(size, stream=stream)),
            port=port,
            token=token,
        )
        for name, stream in KINDS.items()
    }


@contextmanager
def filled(
    command: Path, text: str, options: argparse.Namespace
) -> Iterator[dict[str, dict[str, hits.Target]]]:
    """Yield both proxies with the answers in their caches, by name and kind of request."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.NamedTemporaryFile("w"))
        file.write(text)
        file.flush()
        ollama = stack.enter_context(processes.ollama("--text-file", file.name))
        ours = stack.enter_context(processes.llmctl(ollama))
        with processes.bare("anthropic", "--answer", file.name) as (upstream, _):
            proxy = litellm(command, f"http://127.0.0.1:{upstream}")
            theirs = stack.enter_context(proxy)
            found = {
                "litellm": _targets(theirs, options, KEY),
                "llmctl": _targets(ours, options, processes.TOKEN),
            }
            for targets in found.values():
                for target in targets.values():
                    fill(target)
        yield found


def _targets(
    address: tuple[int, int], options: argparse.Namespace, token: str
) -> dict[str, hits.Target]:
    port, pid = address
    return {
        name: hits.Target(port, pid, request)
        for name, request in requests(port, options, token).items()
    }


def compare(
    found: dict[str, dict[str, hits.Target]], clients: int, options: argparse.Namespace
) -> None:
    rounds: dict[tuple[str, str], list[hits.Round]] = {}
    for _ in range(options.rounds):
        for name, targets in found.items():
            for kind, target in targets.items():
                work = hits.one_round(target, clients, options.seconds, new_session=False)
                rounds.setdefault((name, kind), []).append(asyncio.run(work))
    rate = {
        key: statistics.median(each.result.per_second for each in done)
        for key, done in rounds.items()
    }
    cpu_us = {key: statistics.median(each.cpu_us for each in done) for key, done in rounds.items()}
    best = max(rate["litellm", kind] for kind in KINDS)
    least = min(cpu_us["litellm", kind] for kind in KINDS)
    processes.report(
        f"hits a second, {clients} clients",
        litellm=VERSION,
        **{f"{name}_{kind}_rps": value for (name, kind), value in rate.items()},
        **{f"{kind}_to_best": rate["llmctl", kind] / best for kind in KINDS},
        stream_to_stream=rate["llmctl", "stream"] / rate["litellm", "stream"],
        goal=GOAL,
        **{f"{kind}_cpu_to_best": least / cpu_us["llmctl", kind] for kind in KINDS},
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--venv", type=Path, help="where LiteLLM is, or is to be installed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=hits.numbers, default=[1, 16, 64])
    parser.add_argument("--body-kb", type=int, default=60)
    parser.add_argument("--answer-kb", type=int, default=25)
    options = parser.parse_args()
    default = user_cache_path("llmctl") / "benchmarks" / f"litellm-{VERSION}"
    command = installed(options.venv or default)
    processes.pin(0, processes.OTHERS)
    with filled(command, prose(options.answer_kb * 1000), options) as found:
        for clients in options.clients:
            compare(found, clients, options)


if __name__ == "__main__":
    main()
