"""What goes wrong around the proxy: clients, engines, Redis, its own end, too many at once."""

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import rss_mb
from benchmarks.scorecard import suites
from benchmarks.scorecard.bench import lines
from benchmarks.scorecard.card import Figure, Missing, Run
from benchmarks.scorecard.rig import Served, quantile, serving, timed, until
from llmctl.core.tasks import Tasks
from tests.emulators.ollama import (
    Answer,
    Cut,
    Delay,
    Eof,
    Hold,
    OllamaEmulator,
    Raw,
    Reset,
    Stall,
    Thinking,
)
from tests.integration.cache import test_sqlite_store
from tests.integration.proxy.conftest import ask

# -- F1 ------------------------------------------------------------------------------------------

ROUNDS = 20
GONE_MS = 250.0
PHASES = {
    "before the first byte": (Answer(Stall()), True),
    "thinking": (Answer(Thinking("hm"), Stall()), True),
    "in the middle": (Answer("some words", Stall()), True),
    "no stream, before the first byte": (Answer(Stall()), False),
    "no stream, in the middle": (Answer("some words", Stall()), False),
}


async def clients_that_leave(run: Run) -> AsyncIterator[Figure]:
    """From the close of the client's socket to the close of the engine's."""
    rounds = ROUNDS
    async with serving(run.directory, backend_parallel=1) as served:
        for name, (script, stream) in PHASES.items():
            served.engine.script = script
            times = [await _leave(served, f"{name} {n}", stream=stream) for n in range(rounds)]
            yield Figure(
                f"left {name}: engine closed, slowest of {rounds}", max(times), "ms", GONE_MS
            )
        served.engine.script = Answer("some words", Stall())
        times = await _leave_the_queue(served, rounds)
        yield Figure(f"left the queue, slowest of {rounds}", max(times), "ms", GONE_MS)
        health = await served.health()
        left = health["generations"] + health["streams"] + len(served.engine.active)
        yield Figure("left behind afterwards", left, "requests", 0)
        yield Figure("tracebacks", served.no_traceback(), "tracebacks", 0)


async def _leave(served: Served, text: str, *, stream: bool) -> float:
    engine, before = served.engine, len(served.engine.closed)
    writer = await _asking(served, ask(text, stream=stream))
    await engine.until(lambda: len(engine.active) == 1)
    await asyncio.sleep(0.02)
    left = time.monotonic()
    writer.transport.abort()
    await engine.until(lambda: len(engine.closed) == before + 1)
    return (engine.closed[-1].ended_at - left) * 1000


async def _leave_the_queue(served: Served, rounds: int) -> list[float]:
    """While one holds the only slot; who waits for it must never be sent to the engine."""
    first = await _asking(served, ask("first", stream=True))
    await served.engine.until(lambda: len(served.engine.active) == 1)
    times, sent = [], len(served.engine.chats)

    def queued(wanted: int) -> Callable[[], Any]:
        async def look() -> bool:
            return (await served.health())["backends"][0]["queued"] == wanted

        return look

    for number in range(rounds):
        waiting = await _asking(served, ask(f"queued {number}", stream=bool(number % 2)))
        await until(queued(1))
        waiting.transport.abort()
        times.append(await until(queued(0)) * 1000)
    if len(served.engine.chats) != sent:
        times.append(float("inf"))
    first.transport.abort()
    await served.engine.until(lambda: not served.engine.active)
    return times


async def _asking(served: Served, body: dict[str, Any]) -> asyncio.StreamWriter:
    """Send a request on a connection of its own and read nothing."""
    _, writer = await asyncio.open_connection("127.0.0.1", served.port)
    data = json.dumps(body).encode()
    fields = f"Host: 127.0.0.1\r\nx-api-key: {served.token}\r\nContent-Length: {len(data)}"
    writer.write(f"POST /v1/messages HTTP/1.1\r\n{fields}\r\n\r\n".encode() + data)
    return writer


# -- F2 ------------------------------------------------------------------------------------------

BROKEN = {
    "reset in the middle": (Cut(), 1.0),
    "end without done": (Eof(), 1.0),
    "garbage": (Raw(b"\xff\x00garbage\n"), 1.0),
    "half a character, then the end": (Raw(b'{"message":{"content":"\xc3'), 1.0),
    "silence": (Stall(), 2.5),
}
"""What comes instead of the rest, and how soon the client has to know (idle limit: 2 s)."""


async def broken_engines(run: Run) -> AsyncIterator[Figure]:
    """An engine that breaks in the middle: an error event, no end, nothing kept."""
    async with serving(run.directory, timeouts_idle_s=2) as served:
        for name, (fault, within_s) in BROKEN.items():
            ends = () if isinstance(fault, Stall | Cut | Eof) else (Eof(),)
            served.engine.script = Answer("some ", Delay(0.1), "words", fault, *ends)
            took, wrong = await _broken(served, name)
            yield Figure(f"{name}: error after", took, "s", within_s)
            yield Figure(f"{name}: what was wrong", len(wrong), "things", 0, note=", ".join(wrong))
        served.engine.script = Reset()
        status, _, _ = await served.json(ask("reset before anything"))
        yield Figure("reset before anything: status", status, "HTTP", 529)
        yield Figure("tracebacks", served.no_traceback(), "tracebacks", 0)


async def _broken(served: Served, name: str) -> tuple[float, list[str]]:
    wrong = []
    async with served.post(ask(name, stream=True)) as response:
        got, at = b"", time.monotonic()
        async for data in response.content.iter_any():
            if b"words" not in got:
                at = time.monotonic()
            got += data
        took = time.monotonic() - at
    if b"event: error" not in got:
        wrong.append("no error event")
    if b"message_stop" in got:
        wrong.append("message_stop")
    served.engine.script = Answer("whole")
    status, headers, _ = await served.json(ask(name))
    if (status, headers.get("x-llmctl-cache")) != (200, "miss"):
        wrong.append(f"next one {status} {headers.get('x-llmctl-cache')}")
    return took, wrong


# -- F3 ------------------------------------------------------------------------------------------


async def tunnel(run: Run) -> AsyncIterator[Figure]:
    """Deaths of the link, from ``benchmarks.tunnel`` and its tests."""
    limits = {"link killed": 0.2, "link frozen": 4.0, "link black hole": 4.0}
    for line in await lines(run, "benchmarks.tunnel", "faults"):
        name = line["name"]
        yield Figure(f"{name}: noticed", line["noticed_s"], "s", limits[name])
        yield Figure(f"{name}: serving again", line["served_again_s"], "s", 2.0)
    cycles = run.many(50, 10)
    (line,) = await lines(run, "benchmarks.tunnel", "cycles", "--cycles", str(cycles))
    yield Figure(f"{cycles} cycles: threads more", line["threads_more"], "threads", 0)
    yield Figure(f"{cycles} cycles: descriptors more", line["descriptors_more"], "fds", 0)
    for figure in _wan(await lines(run, "benchmarks.tunnel", "wan")):
        yield figure
    counts = await suites.counted(run, "tests/integration/tunnel/test_faults.py")
    for figure in suites.figures("tunnel faults", counts):
        yield figure


def _wan(found: list[dict[str, Any]]) -> list[Figure]:
    again = [line for line in found if "up again" in line["name"]]
    if not again:
        raise Missing(next((line.get("skipped") for line in found), "no 80 ms link"))
    return [Figure("80 ms link: up again", again[0]["seconds"], "s", 4.0)]


# -- F5 ------------------------------------------------------------------------------------------


async def stores(run: Run) -> AsyncIterator[Figure]:
    """Processes killed while they write, full and read-only disks."""
    wanted = "killed or damage or full or read_only or may_not_grow or corrupt or disk or torn"
    counts = await suites.counted(
        run,
        "tests/integration/cache/test_sqlite_store.py",
        "tests/integration/proxy/test_cache_faults.py",
        only=wanted,
    )
    for figure in suites.figures("cache store", counts, at_least=8):
        yield figure
    kills = run.many(20, 5)
    opens, torn = await _killed_writers(run.directory / "killed.db", kills)
    yield Figure(f"{kills} kills while it writes: torn values", torn, "values", 0)
    yield Figure("file opened after a kill, median", quantile(opens, 0.5), "ms", 100.0)


async def _killed_writers(path: Path, kills: int) -> tuple[list[float], int]:
    """Return the milliseconds of each opening, and how many values are not as they were put."""
    opens, torn = [], 0
    for number in range(kills):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", test_sqlite_store.script(test_sqlite_store.WRITER)),
            *(str(path), str(number)),
            cwd=suites.ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        for _ in range(1 + number % 3):
            await process.stdout.readline()
        process.kill()
        await process.communicate()
        store = test_sqlite_store.make(path)
        with timed(opens):
            await store.start()
            await store.get(b"0")
        await store.close()
        found = test_sqlite_store.rows(path, "SELECT key, value FROM entries")
        torn += sum(not test_sqlite_store.whole(key, value) for key, value in found)
    return opens, torn


# -- F6 ------------------------------------------------------------------------------------------

STREAMS = 50


async def drain(run: Run) -> AsyncIterator[Figure]:
    """SIGTERM under fifty streams, and a start after SIGKILL."""
    gate = asyncio.Event()
    async with serving(run.directory) as served:
        served.engine.script = Answer("one ", Hold(gate), "two")
        tasks = Tasks()
        streaming = [tasks.start(_stream(served, n), name="stream") for n in range(STREAMS)]
        await served.engine.until(lambda: len(served.engine.active) == STREAMS)
        os.kill(served.pid, signal.SIGTERM)

        async def draining() -> bool:
            return (await served.health())["status"] == "draining"

        await until(draining)
        status, headers, _ = await served.json(ask("too late"))
        # they may go on for 30 s: see whether they do, and end before that is over
        await asyncio.sleep(run.many(28, 2))
        cut = sum(task.done() for task in streaming)
        gate.set()
        answers = await asyncio.gather(*streaming)
        code = await served.proxy.ended(within_s=10)
    yield Figure("SIGTERM: streams cut while draining", cut, "streams", 0)
    whole = sum(b"message_stop" in each for each in answers)
    yield Figure("SIGTERM: whole streams", whole, "streams", STREAMS, at_least=True)
    yield Figure("SIGTERM: status of a new request", status, "HTTP", 529)
    said = float("retry-after" in headers)
    yield Figure("SIGTERM: Retry-After", said, "header", 1, at_least=True)
    yield Figure("SIGTERM: exit code", abs(code), "code", 0)
    counts = await suites.counted(
        run, "tests/integration/proxy/test_process.py", only="signal or in_time or crash"
    )
    for figure in suites.figures("signals and crashes", counts):
        yield figure


async def _stream(served: Served, number: int) -> bytes:
    async with served.post(ask(f"stream {number}", stream=True)) as response:
        return await response.read()


# -- F7 ------------------------------------------------------------------------------------------

SLOTS = 4
WORK_S = (0.05, 0.15)
"""What an answer takes: engines do not end all of them at the same moment."""


async def overload(run: Run) -> AsyncIterator[Figure]:
    """Ten times what the engine can take, beside what one takes that is alone.

    The queue has half as many places as there are slots: who asks for answers within twice their
    time may not let more wait.
    """
    dice = random.Random(7)
    engine = OllamaEmulator(lambda _: Answer(Delay(dice.uniform(*WORK_S)), "done"))
    settings = {"backend_parallel": SLOTS, "backend_queue": SLOTS // 2, "cache_enabled": "false"}
    ratios: list[float] = []
    results: list[tuple[int, float, bool]] = []
    rounds = run.many(5, 1)
    async with serving(run.directory, engine, **settings) as served:
        before = rss_mb(served.pid)
        for part in range(rounds):
            quiet = [await _timed_ask(served, f"quiet {part} {n}") for n in range(50)]
            flood = await _flood(served, run.many(30, 5) / rounds, f"flood {part}")
            accepted = [ms for status, ms, _ in flood if status == 200]
            ratios.append(quantile(accepted, 0.99) / quantile([ms for _, ms, _ in quiet], 0.99))
            results += flood
        grown = rss_mb(served.pid) - before
    refused = [ms for status, ms, _ in results if status in (429, 529)]
    other = sum(status not in (200, 429, 529) for status, _, _ in results)
    without = sum(status != 200 and not after for status, _, after in results)
    yield Figure("10x: other answers", other, "answers", 0)
    yield Figure("10x: p99 of accepted, of one alone", quantile(ratios, 0.5), "times", 2.0)
    yield Figure("10x: refusals without Retry-After", without, "answers", 0)
    yield Figure("10x: refused, p99", quantile(refused, 0.99), "ms", 50.0)
    yield Figure("10x: memory", grown, "MB", 64.0)


async def _flood(served: Served, seconds: float, name: str) -> list[tuple[int, float, bool]]:
    pause = sum(WORK_S) / 2 / SLOTS / 10
    end, number = time.monotonic() + seconds, 0
    async with asyncio.TaskGroup() as group:
        asking = []
        while time.monotonic() < end:
            number += 1
            asking.append(group.create_task(_timed_ask(served, f"{name} {number}")))
            await asyncio.sleep(pause)
    return [task.result() for task in asking]


async def _timed_ask(served: Served, text: str) -> tuple[int, float, bool]:
    began = time.perf_counter()
    status, headers, _ = await served.json(ask(text))
    return status, (time.perf_counter() - began) * 1000, "retry-after" in headers
