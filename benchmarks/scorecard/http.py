"""Bad input: raw HTTP, generated messages, engines' streams cut anywhere, half-open connections."""

import asyncio
import contextlib
import json
import os
import random
import re
import sys
import time
from collections.abc import AsyncIterator
from http.client import HTTPConnection
from importlib.util import find_spec

from hypothesis import HealthCheck, Phase, given, settings

from benchmarks.scorecard import translator
from benchmarks.scorecard.card import Figure, Missing, Run
from benchmarks.scorecard.rig import Served, quantile, serving, timed
from benchmarks.scorecard.suites import ROOT
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.proxy import documented
from tests.integration.proxy.conftest import ask
from tests.integration.proxy.corpus import RAW, raw, shaped, talk
from tests.integration.proxy.test_fuzz import (
    AT_ONCE,
    MUTATIONS,
    PATH,
    REQUEST,
    check,
    mutated,
    requests,
)
from tests.integration.proxy.test_fuzz import talk as talk_once

ANSWER_S = 1.0
HALF_OPEN = 500
HALF_OPEN_S = 10.0

# -- B1 ------------------------------------------------------------------------------------------


async def corpus(run: Run) -> AsyncIterator[Figure]:
    """Each raw request alone against serve as it is, then mutations of good ones."""
    async with serving(run.directory) as served:
        times = {name: await _refused(served, name) for name in RAW}
        wrong = [name for name, took in times.items() if took is None]
        slowest = max(took or 0.0 for took in times.values())
        ended = await asyncio.gather(*(_closed(served, name) for name in RAW))
        open_still = [name for name, end in zip(RAW, ended, strict=True) if not end]
        yield Figure("raw HTTP not refused in shape", len(wrong), "cases", 0, note=", ".join(wrong))
        still = ", ".join(open_still)
        yield Figure("raw HTTP, connection kept", len(open_still), "cases", 0, note=still)
        yield Figure("raw HTTP cases", len(RAW), "cases", 40, at_least=True)
        yield Figure("raw HTTP, slowest answer", slowest, "s", ANSWER_S)
        yield Figure("raw HTTP that reached the engine", len(served.engine.chats), "requests", 0)
        yield Figure("tracebacks", served.no_traceback(), "tracebacks", 0)
    limits = {"serve_header_s": 0.5, "serve_body_s": 0.5}
    async with serving(run.directory / "mutations", **limits) as served:
        wrong_answers, slowest = await _mutations(served)
        yield Figure(f"{MUTATIONS} mutations, wrong answers", wrong_answers, "answers", 0)
        yield Figure("mutations, slowest end (0.5 s for halves)", slowest, "s", ANSWER_S)
        yield Figure("mutations, tracebacks", served.no_traceback(), "tracebacks", 0)


async def _refused(served: Served, name: str) -> float | None:
    """Return the seconds until a shaped 4xx was there; None where none came."""
    began = time.monotonic()
    try:
        async with asyncio.timeout(5):
            answer = await talk_once(served.port, raw(name, served.token))
            status, _ = shaped(answer)
    except (AssertionError, ValueError, IndexError, TimeoutError, OSError):
        return None
    return time.monotonic() - began if 400 <= status < 500 else None


async def _closed(served: Served, name: str) -> bool:
    """Whether the connection ends by itself for who would have kept it."""
    sent = raw(name, served.token).replace(b"Connection: close\r\n", b"")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            await talk(served.port, sent)
            return True
    return False


async def _mutations(served: Served) -> tuple[int, float]:
    dice, samples = random.Random(20261122), requests(served.token)
    results: list[tuple[bool, float]] = []
    for _ in range(MUTATIONS // AT_ONCE):
        sent = [mutated(dice.choice(samples), dice) for _ in range(AT_ONCE)]
        results += await asyncio.gather(*(_mutation(served.port, data) for data in sent))
    return sum(not right for right, _ in results), max(took for _, took in results)


async def _mutation(port: int, sent: bytes) -> tuple[bool, float]:
    began = time.monotonic()
    try:
        check(await talk_once(port, sent), sent)
    except (AssertionError, ValueError, TimeoutError):
        return False, time.monotonic() - began
    return True, time.monotonic() - began


# -- B2 ------------------------------------------------------------------------------------------


async def messages(run: Run) -> AsyncIterator[Figure]:
    """Generated Messages requests, most of them nearly right."""
    examples = 5000
    async with serving(run.directory, OllamaEmulator(Answer("Hello ", "there."))) as served:
        found = await asyncio.to_thread(_generated, served.port, served.token, examples)
        yield Figure("generated requests", found["sent"], "requests", examples, at_least=True)
        yield Figure("generated requests: 5xx", found["5xx"], "answers", 0)
        yield Figure("generated requests: not in shape", found["shapeless"], "answers", 0)
        share = found["200"] / max(1, found["sent"])
        yield Figure("generated requests that were taken", share, "share", 0.02, at_least=True)
        yield Figure("tracebacks", served.no_traceback(), "tracebacks", 0)
        if run.short:
            return  # tests/integration/proxy/test_openapi.py does it as well
        if (program := documented.command()) is None:
            raise Missing("schemathesis is not installed: pip install 'llmctl[test]'")
        tried = await documented.requests_from_the_document(
            *(served.proxy.url, served.token, run.directory),
            examples=300,
            program=program,
        )
        yield Figure("requests made from /openapi.json", tried.requests, "requests", 1000, True)
        yield Figure("of them answered otherwise than it says", tried.failed, "requests", 0)
        yield Figure("tracebacks then", served.no_traceback(), "tracebacks", 0)


def _generated(port: int, token: str, examples: int) -> dict[str, int]:
    found = {"sent": 0, "5xx": 0, "shapeless": 0, "200": 0}
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    fields = {"Content-Type": "application/json", "x-api-key": token}

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(REQUEST, PATH)
    def post(body: object, path: str) -> None:
        connection.request("POST", path, json.dumps(body).encode(), fields)
        answer = connection.getresponse()
        said = answer.read()
        found["sent"] += 1
        found["5xx"] += answer.status >= 500
        found["200"] += answer.status == 200
        found["shapeless"] += answer.status != 200 and b'"type":"error"' not in said

    post()
    connection.close()
    return found


# -- B3 ------------------------------------------------------------------------------------------


async def streams(run: Run) -> AsyncIterator[Figure]:
    """Engines' streams, good and damaged, cut at every byte."""
    wanted = run.many(1_000_000, 30_000)
    result = await asyncio.to_thread(translator.fuzz, wanted)
    yield Figure("translations", result.executions, "runs", wanted, at_least=True)
    yield Figure("cuts that changed the answer", result.different, "cuts", 0, note=result.example)
    yield Figure("exceptions", result.crashes, "exceptions", 0, note=result.crash)
    if find_spec("atheris") is None:
        return
    runs = run.many(200_000, 20_000)
    ran, last_words = await _guided(run, runs)
    yield Figure("translations led by atheris", ran, "runs", runs, at_least=True, note=last_words)


async def _guided(run: Run, runs: int) -> tuple[int, str]:
    """Return how many it made, none where one failed, and what it said at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.scorecard.guided", str(runs), str(run.directory)),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), *sys.path]))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said = (await process.communicate())[0].decode(errors="replace")
    except BaseException:
        process.kill()
        raise
    found = re.search(r"stat::number_of_executed_units:\s+(\d+)", said)
    if process.returncode or found is None:
        return 0, said[-500:]
    return int(found[1]), ""


# -- B4 ------------------------------------------------------------------------------------------


async def slow_loris(run: Run) -> AsyncIterator[Figure]:
    """Connections that say nothing, or half a request, beside a client that works."""
    ratios, latest = [], 0.0
    async with serving(run.directory, OllamaEmulator(Answer("Hello"))) as served:
        await served.json(ask())
        for _ in range(run.many(5, 1)):
            quiet = await _working(served, 300)
            half = [await _half_open(served, number) for number in range(HALF_OPEN)]
            began = time.monotonic()
            busy = await _working(served, 300)
            ratios.append(quantile(busy, 0.99) / quantile(quiet, 0.99))
            for reader, writer in half:
                async with asyncio.timeout(30):
                    await reader.read()
                writer.close()
            latest = max(latest, time.monotonic() - began)
    yield Figure(f"{HALF_OPEN} half-open connections, last one closed", latest, "s", HALF_OPEN_S)
    yield Figure("p99 of a working client beside them", quantile(ratios, 0.5), "times", 2.0)


async def _half_open(
    served: Served, number: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    said = (b"", b"POST /v1/mess", b"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A")
    writer.write(said[number % len(said)])
    return reader, writer


async def _working(served: Served, count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        with timed(times):
            status, _, _ = await served.json(ask())
        assert status == 200, status
    return times
