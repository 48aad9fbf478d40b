"""Misses: what llmctl adds to the engine's own stream, against a bare aiohttp relay.

``python -m benchmarks.relay [first|pace|flood|many|all] [--body-kb 60] [--rounds N]``

first   time to the first text, one client: from the engine directly, over the bare relay and over
        llmctl, in turns. ``turn``: an agent's request of which only the last words are new;
        ``new text``: one long text of which nothing has been seen before
pace    CPU per token at 50 tokens/s a stream, 1 and 40 streams
flood   tokens a second at zero delay, 8 streams, when the engine writes 50 lines at a time
many    200 streams of 50 tokens/s: wrong streams and memory a stream

The engine is the Ollama emulator, the bare relay rewrites each line with one write a token. llmctl
runs as installed, cache and ledger on. What is measured has a core to itself.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec

from benchmarks import bodies, load, processes

PACE = 50
"""Tokens a second of one stream."""
STREAMS = 200
TEXT_DELTA = b'"text_delta"'
CONTENT = b'"content":"'

Make = Callable[[int, int], bytes]
"""Makes a body of a size that differs for every number."""


@dataclass(frozen=True)
class Target:
    """Something that streams an answer."""

    name: str
    port: int
    pid: int
    path: str = "/v1/messages"
    token: str | None = None
    marker: bytes = TEXT_DELTA

    def request(self, body: bytes) -> bytes:
        return bodies.http(self.path, body, port=self.port, token=self.token)


@contextmanager
def targets(*engine_options: str) -> Iterator[tuple[Target, Target, Target]]:
    """Yield the engine, the bare relay and llmctl."""
    with (
        processes.ollama(*engine_options) as engine,
        processes.bare("relay", "--engine", engine) as (bare_port, bare_pid),
        processes.llmctl(engine) as (port, pid),
    ):
        engine_port = int(engine.rpartition(":")[2])
        yield (
            Target("engine", engine_port, 0, path="/api/chat", marker=CONTENT),
            Target("bare", bare_port, bare_pid),
            Target("llmctl", port, pid, token=processes.TOKEN),
        )


# -- first ---------------------------------------------------------------------------------------


def first(options: argparse.Namespace) -> None:
    with targets("--tokens", "4", "--rate", "200") as found:
        for name, make in (("turn", bodies.never_seen), ("new text", bodies.all_new)):
            # one after the other, so that caches of the processor are as warm for each
            times = asyncio.run(first_texts(found, make, options))
            _report_first(name, times, options)


async def first_texts(
    found: tuple[Target, ...], make: Make, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return milliseconds to the first text of every request, by target; in turns."""
    clients = [
        (target, await load.connect(target.port, lambda t=target: load.Collected(t.marker)))
        for target in found
    ]
    times: dict[str, list[float]] = {target.name: [] for target in found}
    for number in range(options.requests):
        body = make(options.body_kb * 1000, number)
        for target, client in clients:
            streamed = await client.stream(target.request(body))
            times[target.name].append(streamed.first_s * 1000)
            await asyncio.sleep(0.002)  # what is done after an answer is not the next one's
    for _, client in clients:
        client.close()
    return times


def _report_first(name: str, times: dict[str, list[float]], options: argparse.Namespace) -> None:
    def added(target: str) -> list[float]:
        return sorted(a - b for a, b in zip(times[target], times["engine"], strict=True))

    ours, middle = added("llmctl"), statistics.median
    processes.report(
        f"first text, {name}",
        body_kb=options.body_kb,
        engine_p50_ms=middle(times["engine"]),
        bare_added_p50_ms=middle(added("bare")),
        llmctl_added_p50_ms=middle(ours),
        goal_ms=2.0,
        llmctl_added_p90_ms=ours[int(len(ours) * 0.9)],
        llmctl_first_request_ms=times["llmctl"][0],
    )


# -- pace and flood --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Burst:
    """Many streams at once, to their end."""

    bodies: list[bytes]
    seconds: float
    cpu_s: float


async def burst(target: Target, streams: int, options: argparse.Namespace) -> Burst:
    clients = [
        await load.connect(target.port, lambda: load.Collected(target.marker))
        for _ in range(streams)
    ]
    requests = [
        target.request(bodies.never_seen(options.body_kb * 1000, number))
        for number in range(streams)
    ]
    spent, began = processes.cpu_s(target.pid), time.perf_counter()
    found = await asyncio.gather(
        *(
            late(number / streams / PACE, client, request)
            for number, (client, request) in enumerate(zip(clients, requests, strict=True))
        )
    )
    took = time.perf_counter() - began
    spent = processes.cpu_s(target.pid) - spent
    for client in clients:
        client.close()
    return Burst([streamed.body for streamed in found], took, spent)


async def late(seconds: float, client: load.Collected, request: bytes) -> load.Streamed:
    """Stream in a step of its own: independent streams do not speak all at the same moment."""
    await asyncio.sleep(seconds)
    return await client.stream(request)


def in_turns(
    bare: Target, ours: Target, streams: int, options: argparse.Namespace
) -> list[tuple[Burst, Burst]]:
    for target in (bare, ours):
        asyncio.run(burst(target, 2, options))
    return [
        (
            asyncio.run(burst(bare, streams, options)),
            asyncio.run(burst(ours, streams, options)),
        )
        for _ in range(options.rounds)
    ]


def pace(options: argparse.Namespace) -> None:
    for streams, seconds in ((1, 10), (40, 10)):
        tokens = PACE * seconds
        with targets("--tokens", str(tokens), "--rate", str(PACE)) as (_, bare, ours):
            rounds = in_turns(bare, ours, streams, options)
        total = streams * tokens
        processes.report(
            f"CPU per token at {PACE}/s, {streams} streams",
            bare_us=statistics.median(b.cpu_s for b, _ in rounds) / total * 1e6,
            llmctl_us=statistics.median(o.cpu_s for _, o in rounds) / total * 1e6,
            ratio=statistics.median(o.cpu_s / b.cpu_s for b, o in rounds),
            goal=1.5,
        )


def flood(options: argparse.Namespace) -> None:
    streams, tokens = 8, 20_000
    with targets("--tokens", str(tokens), "--rate", "0", "--burst", "50") as (_, bare, ours):
        rounds = in_turns(bare, ours, streams, options)
    total = streams * tokens
    processes.report(
        f"flood, {streams} streams",
        bare_tokens_per_s=statistics.median(total / b.seconds for b, _ in rounds),
        llmctl_tokens_per_s=statistics.median(total / o.seconds for _, o in rounds),
        goal_tokens_per_s=250_000,
        bare_cpu_us=statistics.median(b.cpu_s for b, _ in rounds) / total * 1e6,
        llmctl_cpu_us=statistics.median(o.cpu_s for _, o in rounds) / total * 1e6,
        wrong_streams=sum(not is_whole(body, tokens) for _, o in rounds for body in o.bodies),
    )


# -- many ------------------------------------------------------------------------------------------


def many(options: argparse.Namespace) -> None:
    tokens = PACE * options.many_s
    with targets("--tokens", str(tokens), "--rate", str(PACE)) as (_, bare, ours):
        figures: dict[str, float] = {}
        for target in (bare, ours):
            asyncio.run(burst(target, 2, options))
            idle = processes.rss_mb(target.pid)
            peak, done = asyncio.run(watched(target, options))
            figures[f"{target.name}_idle_mb"] = idle
            figures[f"{target.name}_kb_per_stream"] = (peak - idle) * 1024 / STREAMS
            figures[f"{target.name}_seconds"] = done.seconds
    processes.report(
        f"{STREAMS} streams of {PACE} tokens/s",
        tokens=tokens,
        wrong_streams=sum(not is_whole(body, tokens) for body in done.bodies),
        goal_wrong_streams=0,
        goal_kb_per_stream=200,
        **figures,
    )


async def watched(target: Target, options: argparse.Namespace) -> tuple[float, Burst]:
    """Return the highest memory in MB, looked at five times a second, and the streams."""
    peak = 0.0
    async with asyncio.TaskGroup() as group:
        running = group.create_task(burst(target, STREAMS, options))
        while not running.done():
            await asyncio.sleep(0.2)
            peak = max(peak, processes.rss_mb(target.pid))
    return peak, running.result()


def is_whole(stream: bytes, tokens: int) -> bool:
    """Tell whether every event and every token is there, once and in order."""
    events = [_event(part) for part in stream.split(b"\n\n") if part]
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    deltas = [event for event in events if event["type"] == "content_block_delta"]
    said = "".join(event["delta"]["text"] for event in deltas)
    shape = ["message_start", "content_block_start"]
    shape += ["content_block_delta"] * len(deltas)
    shape += ["content_block_stop", "message_delta", "message_stop"]
    return kinds == shape and said.split() == [f"t{number}" for number in range(tokens)]


def _event(part: bytes) -> dict[str, object]:
    name, _, data = part.partition(b"\ndata: ")
    event = _decode(data)
    if name != b"event: " + event["type"].encode():
        raise SystemExit(f"the event's name is not its type: {part[:200]!r}")
    return event


_decode = msgspec.json.Decoder().decode


def main() -> None:
    jobs = {"first": first, "pace": pace, "flood": flood, "many": many}
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=[*jobs, "all"], default="all", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=200, help="of `first`, to each target")
    parser.add_argument("--body-kb", type=int, default=60)
    parser.add_argument("--many-s", type=int, default=20, help="length of the streams of `many`")
    options = parser.parse_args()
    processes.pin(0, processes.OTHERS)
    for name, job in jobs.items():
        if options.what in (name, "all"):
            job(options)


if __name__ == "__main__":
    main()
