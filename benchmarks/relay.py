"""Misses: what llmctl adds to the engine's own stream, against a bare aiohttp relay.

``python -m benchmarks.relay [first|cpu|flood|many] ...``

first   time to the first text delta, 76 kB requests, one client: engine directly, bare relay, llmctl
cpu     CPU per token at 50 tokens/s a stream, 40 streams: bare relay (a write a token) and llmctl
flood   tokens a second at zero delay, 8 streams
many    200 streams of 50 tokens/s: lost, repeated or reordered tokens, memory a stream
"""

import argparse
import asyncio
import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import msgspec

from benchmarks import processes
from tests.claude_shapes import main_request

DELTA = re.compile(rb'"text_delta",\s?"text":\s?"((?:[^"\\]|\\.)*)"|"content":"((?:[^"\\]|\\.)*)"')


def request_body(number: int) -> bytes:
    """Return a Claude-Code-shaped request that nobody has sent before."""
    request = main_request()
    if not isinstance(request, dict):
        request = msgspec.to_builtins(request)
    request["messages"].append({"role": "user", "content": f"question {number} of {time.time_ns()}"})
    return json.dumps(request | {"stream": True}).encode()


@contextmanager
def engine(*, tokens: int, rate: float) -> Iterator[tuple[str, int]]:
    port = processes.free_port()
    with processes.module(
        "tests.emulators.ollama", "--port", str(port), "--tokens", str(tokens), "--rate", str(rate),
        port=port,
    ) as pid:
        yield f"http://127.0.0.1:{port}", pid


@contextmanager
def bare_relay(engine_url: str) -> Iterator[tuple[str, int]]:
    port = processes.free_port()
    with processes.module("benchmarks.bare", "relay", "--port", str(port), "--engine", engine_url, port=port) as pid:
        yield f"http://127.0.0.1:{port}/v1/messages", pid


@contextmanager
def ours(engine_url: str) -> Iterator[tuple[str, int, dict[str, str]]]:
    with processes.llmctl(engine_url, "--no-cache") as (port, pid, token):
        yield f"http://127.0.0.1:{port}/v1/messages", pid, {"x-api-key": token}


async def one(session: aiohttp.ClientSession, url: str, body: bytes, headers: dict[str, str]) -> tuple[float, bytes]:
    """Return seconds to the first delta and everything that was streamed."""
    began = time.perf_counter()
    first = 0.0
    got = bytearray()
    async with session.post(url, data=body, headers={"Content-Type": "application/json"} | headers) as response:
        if response.status != 200:
            raise SystemExit((await response.read())[:500].decode())
        async for data in response.content.iter_any():
            got += data
            if not first and DELTA.search(got):
                first = time.perf_counter() - began
    return first, bytes(got)


def engine_body() -> bytes:
    return json.dumps({"model": "qwen3-coder:30b", "messages": [{"role": "user", "content": "x" * 70_000}]}).encode()


async def first(rounds: int) -> None:
    with engine(tokens=20, rate=0) as (url, _), bare_relay(url) as (bare, _), ours(url) as (llmctl, _, headers):
        async with aiohttp.ClientSession() as session:
            times: dict[str, list[float]] = {"engine": [], "bare": [], "llmctl": []}
            for number in range(rounds):
                body = request_body(number)
                times["engine"].append((await one(session, f"{url}/api/chat", engine_body(), {}))[0])
                times["bare"].append((await one(session, bare, body, {}))[0])
                times["llmctl"].append((await one(session, llmctl, body, headers))[0])
    p50 = {name: statistics.median(values) * 1000 for name, values in times.items()}
    processes.report(
        "first_delta", engine_ms=p50["engine"], bare_ms=p50["bare"], llmctl_ms=p50["llmctl"],
        added_ms=p50["llmctl"] - p50["engine"],
        first_request_ms=times["llmctl"][0] * 1000,
    )


async def burst(url: str, streams: int, headers: dict[str, str]) -> list[bytes]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(None)) as session:
        found = await asyncio.gather(*(one(session, url, request_body(n), headers) for n in range(streams)))
    return [got for _, got in found]


async def cpu(streams: int, seconds: float) -> None:
    tokens = int(50 * seconds)
    with engine(tokens=tokens, rate=50) as (url, _), bare_relay(url) as (bare, bare_pid), ours(url) as (llmctl, pid, headers):
        await burst(bare, 2, {}), await burst(llmctl, 2, headers)
        used = {}
        for name, target, process, fields in (("bare", bare, bare_pid, {}), ("llmctl", llmctl, pid, headers)):
            before = processes.cpu_s(process)
            await burst(target, streams, fields)
            used[name] = (processes.cpu_s(process) - before) / (streams * tokens) * 1e6
    processes.report("cpu_per_token", bare_us=used["bare"], llmctl_us=used["llmctl"], ratio=used["llmctl"] / used["bare"])


async def flood(streams: int, tokens: int) -> None:
    with engine(tokens=tokens, rate=0) as (url, _), bare_relay(url) as (bare, bare_pid), ours(url) as (llmctl, pid, headers):
        for name, target, process, fields in (("bare", bare, bare_pid, {}), ("llmctl", llmctl, pid, headers)):
            await burst(target, 2, fields)
            before, began = processes.cpu_s(process), time.perf_counter()
            await burst(target, streams, fields)
            took = time.perf_counter() - began
            spent = processes.cpu_s(process) - before
            total = streams * tokens
            processes.report("flood", what=name, tokens_per_s=total / took, cpu_us_per_token=spent / total * 1e6)


async def many(streams: int, seconds: float) -> None:
    tokens = int(50 * seconds)
    with engine(tokens=tokens, rate=50) as (url, _), ours(url) as (llmctl, pid, headers):
        await burst(llmctl, 2, headers)
        idle = processes.rss_mb(pid)
        sending = asyncio.create_task(burst(llmctl, streams, headers))
        peak = idle
        while not sending.done():
            await asyncio.sleep(0.2)
            peak = max(peak, processes.rss_mb(pid))
        wrong = 0
        for got in await sending:
            numbers = [int(text[1:]) for match in DELTA.finditer(got) for text in match[1].split()]
            wrong += numbers != list(range(tokens))
    processes.report(
        "many", streams=streams, tokens=tokens, wrong_streams=wrong, idle_mb=idle, peak_mb=peak,
        kb_per_stream=(peak - idle) * 1024 / streams,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["first", "cpu", "flood", "many", "all"], default="all", nargs="?")
    options = parser.parse_args()
    jobs = {
        "first": lambda: first(200),
        "cpu": lambda: cpu(40, 8),
        "flood": lambda: flood(8, 20_000),
        "many": lambda: many(200, 20),
    }
    for name, job in jobs.items():
        if options.what in (name, "all"):
            asyncio.run(job())


if __name__ == "__main__":
    main()
