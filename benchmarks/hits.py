"""Cache hits a second, against a bare aiohttp handler that does the same job.

``python -m benchmarks.hits [--redis] [--seconds 2] [--rounds 3]``. A 60 kB body shaped as Claude
Code's, an answer of about 25 kB, one worker each, 1, 16 and 64 clients, rounds interleaved.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from contextlib import ExitStack

import msgspec

from benchmarks import load, processes
from tests.claude_shapes import main_request

ANSWER_TOKENS = 200


def body(*, stream: bool) -> bytes:
    request = main_request()
    if not isinstance(request, dict):
        request = msgspec.to_builtins(request)
    request |= {"stream": True} if stream else {}
    if not stream:
        request.pop("stream", None)
    return json.dumps(request).encode()[:]


async def fill(port: int, token: str, request: bytes) -> bytes:
    """Send one request and return the answer's body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nConnection: close\r\n", 1))
    answer = await reader.read()
    writer.close()
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise SystemExit(answer[:500].decode())
    return rest


async def measure(targets: dict[str, tuple[int, bytes]], clients: int, options: argparse.Namespace) -> dict[str, list[load.Result]]:
    results: dict[str, list[load.Result]] = {name: [] for name in targets}
    for _ in range(options.rounds):
        for name, (port, request) in targets.items():
            results[name].append(
                await load.run(request, port=port, clients=clients, seconds=options.seconds)
            )
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--redis", help="URL of a Redis for both sides")
    options = parser.parse_args()
    with ExitStack() as stack:
        engine = processes.free_port()
        stack.enter_context(
            processes.module(
                "tests.emulators.ollama", "--port", str(engine), "--tokens", "5000", "--rate", "0",
                port=engine,
            )
        )
        extra = ["--redis-url", options.redis] if options.redis else []
        port, pid, token = stack.enter_context(processes.llmctl(f"http://127.0.0.1:{engine}", *extra))
        for stream in (False, True):
            asked = body(stream=stream)
            ours = load.request_bytes("/v1/messages?beta=true", asked, port=port, token=token)
            asyncio.run(fill(port, token, ours))
            answer = asyncio.run(fill(port, token, ours))
            file = stack.enter_context(tempfile.NamedTemporaryFile())
            file.write(answer)
            file.flush()
            bare = processes.free_port()
            redis = ["--redis", options.redis] if options.redis else []
            with processes.module(
                "benchmarks.bare", "hit", "--port", str(bare), "--answer", file.name, *redis, port=bare
            ):
                theirs = load.request_bytes("/v1/messages", asked, port=bare)
                targets = {"bare": (bare, theirs), "llmctl": (port, ours)}
                for clients in (1, 16, 64):
                    results = asyncio.run(measure(targets, clients, options))
                    rate = {n: statistics.median(r.per_second for r in rs) for n, rs in results.items()}
                    processes.report(
                        "hit", stream=str(stream), clients=clients, body_kb=len(asked) / 1000,
                        answer_kb=len(answer) / 1000, bare_rps=rate["bare"], llmctl_rps=rate["llmctl"],
                        ratio=rate["llmctl"] / rate["bare"],
                        llmctl_p50_ms=statistics.median(r.p50_ms for r in results["llmctl"]),
                        llmctl_p99_ms=statistics.median(r.p99_ms for r in results["llmctl"]),
                        bare_p50_ms=statistics.median(r.p50_ms for r in results["bare"]),
                    )
        processes.report("memory", rss_mb=processes.rss_mb(pid))


if __name__ == "__main__":
    main()
