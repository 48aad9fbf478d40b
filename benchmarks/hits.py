"""Cache hits a second, against a bare aiohttp handler that does the same job.

``python -m benchmarks.hits [--redis] [--seconds 1] [--rounds 5] [--body-kb 60] [--answer-kb 25]``.
One worker each on a core of its own, 1, 16 and 64 clients on another, rounds in turns.

repeat      the same bytes again
session     the same request in another session: its bytes differ, its meaning does not
redis       with ``--redis``: the same bytes, answers in Redis, the memory tier in front of it
redis only  with ``--redis``: without the memory tier, so that every hit asks Redis

The bare handler parses every body, hashes its sorted form and finds the answer in a dict, or in the
same Redis. Each line ends with the medians; ``ratio`` is the median over the rounds.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import bodies, load, processes
from tests.claude_shapes import encode, prose
from tests.integration import valkey


@dataclass(frozen=True)
class Scenario:
    name: str
    goal: float
    redis: bool = False
    new_session: bool = False
    env: dict[str, str] = field(default_factory=dict)


MEMORY = [
    Scenario("repeat", 0.8),
    Scenario("session", 0.8, new_session=True),
]
REDIS = [
    Scenario("redis", 0.7, redis=True),
    Scenario("redis only", 0.7, redis=True, env={"LLMCTL_CACHE_MEMORY_BYTES": "0"}),
]


@dataclass(frozen=True)
class Target:
    """One server under load."""

    port: int
    pid: int
    request: bytes


@dataclass(frozen=True)
class Round:
    result: load.Result
    cpu_us: float
    """CPU time of the server per request."""


async def one_round(target: Target, clients: int, seconds: float, *, new_session: bool) -> Round:
    before = processes.cpu_s(target.pid)
    result = await load.run(
        target.request, port=target.port, clients=clients, seconds=seconds, new_session=new_session
    )
    spent = processes.cpu_s(target.pid) - before
    return Round(result, spent / result.requests * 1e6)


def compare(
    scenario: Scenario, bare: Target, ours: Target, clients: int, options: argparse.Namespace
) -> dict[str, float]:
    """Run both in turns; returns the figures of one line."""
    rounds: list[tuple[Round, Round]] = []
    for _ in range(options.rounds):
        pair = [
            asyncio.run(
                one_round(target, clients, options.seconds, new_session=scenario.new_session)
            )
            for target in (bare, ours)
        ]
        rounds.append((pair[0], pair[1]))
    middle = statistics.median
    return {
        "bare_rps": middle(b.result.per_second for b, _ in rounds),
        "llmctl_rps": middle(o.result.per_second for _, o in rounds),
        "ratio": middle(o.result.per_second / b.result.per_second for b, o in rounds),
        "goal": scenario.goal,
        "bare_cpu_us": middle(b.cpu_us for b, _ in rounds),
        "llmctl_cpu_us": middle(o.cpu_us for _, o in rounds),
        "bare_p50_ms": middle(b.result.p50_ms for b, _ in rounds),
        "llmctl_p50_ms": middle(o.result.p50_ms for _, o in rounds),
        "bare_p99_ms": middle(b.result.p99_ms for b, _ in rounds),
        "llmctl_p99_ms": middle(o.result.p99_ms for _, o in rounds),
        "client_busy": max(each.result.client_busy for pair in rounds for each in pair),
    }


def cached_answer(request: bytes, port: int) -> bytes:
    """Return what the cache gives; the answer is made first, and a store may take its time."""
    for _ in range(20):
        head, answer = asyncio.run(load.once(request, port=port))
        if b"x-llmctl-cache: hit" in head:
            return answer
        time.sleep(0.1)
    raise SystemExit(f"not a hit: {head.decode()}")


@contextmanager
def targets(
    port: int, pid: int, options: argparse.Namespace, *, stream: bool, redis_url: str | None
) -> Iterator[tuple[Target, Target, int]]:
    """Yield a bare handler and llmctl, which give the same bytes, and how many."""
    body = encode(bodies.agent_request(options.body_kb * 1000, stream=stream))
    request = bodies.http("/v1/messages?beta=true", body, port=port, token=processes.TOKEN)
    answer = cached_answer(request, port)
    with tempfile.NamedTemporaryFile() as file:
        file.write(answer)
        file.flush()
        redis = ["--redis", redis_url] if redis_url else []
        with processes.bare("hit", "--answer", file.name, *redis) as (bare_port, bare_pid):
            plain = bodies.http("/v1/messages", body, port=bare_port)
            yield Target(bare_port, bare_pid, plain), Target(port, pid, request), len(answer)
    cached_answer(request, port)  # still a hit: nothing was thrown out in between


def measure(scenario: Scenario, engine: str, options: argparse.Namespace) -> None:
    with ExitStack() as stack:
        redis_url = stack.enter_context(valkey.running()).url if scenario.redis else None
        extra = ["--redis-url", redis_url] if redis_url else []
        proxy = processes.llmctl(engine, *extra, env=scenario.env)
        port, pid = stack.enter_context(proxy)
        for stream in (False, True):
            pair = targets(port, pid, options, stream=stream, redis_url=redis_url)
            with pair as (bare, ours, answer_bytes):
                kind = "stream" if stream else "whole"
                for clients in options.clients:
                    figures = compare(scenario, bare, ours, clients, options)
                    processes.report(
                        f"hit, {scenario.name}, {kind}, {clients} clients",
                        body_kb=options.body_kb,
                        answer_kb=answer_bytes / 1000,
                        **figures,
                    )


def numbers(text: str) -> Sequence[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--redis", action="store_true", help="measure Redis instead of memory")
    parser.add_argument("--only", help="name of the one scenario to run")
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=numbers, default=[1, 16, 64])
    parser.add_argument("--body-kb", type=int, default=60)
    parser.add_argument("--answer-kb", type=int, default=25)
    options = parser.parse_args()
    processes.pin(0, processes.OTHERS)
    with tempfile.NamedTemporaryFile("w") as text:
        text.write(prose(options.answer_kb * 1000))
        text.flush()
        with processes.ollama("--text-file", str(Path(text.name))) as engine:
            for scenario in REDIS if options.redis else MEMORY:
                if options.only in (None, scenario.name):
                    measure(scenario, engine, options)


if __name__ == "__main__":
    main()
