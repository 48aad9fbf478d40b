"""Strangers: host keys, browsers, guessers, neighbours, exposed ports, and what lies on disks."""

import asyncio
import contextlib
import itertools
import json
import random
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp.test_utils import make_mocked_request

from benchmarks.processes import TOKEN, cpu_s
from benchmarks.scorecard import suites
from benchmarks.scorecard.card import Figure, Run
from benchmarks.scorecard.rig import Served, quantile, serving, timed, until
from llmctl.core.clock import SystemClock
from llmctl.protocol.errors import ApiError
from llmctl.proxy.auth import MAX_PEERS, Authenticator, digest_of
from tests.e2e.canaries import Canary, found, in_files
from tests.emulators.ollama import Answer, Model, OllamaEmulator
from tests.integration.cache import test_redis_store
from tests.integration.proxy.conftest import ask
from tests.integration.proxy.corpus import LOCAL, MESSAGES, head, talk
from tests.integration.valkey import Valkey
from tests.integration.valkey import running as valkey_running

# -- S1, S2, S6: suites that are whole ---------------------------------------------------------


async def canaries(run: Run) -> AsyncIterator[Figure]:
    """Six secrets through every command, and modes of files under an open umask."""
    counts = await suites.counted(run, "tests/e2e/rent/test_secrets.py")
    for figure in suites.figures("secrets through every command", counts):
        yield figure
    counts = await suites.counted(
        run,
        "tests/unit/config/test_secrets.py",
        "tests/unit/core/test_paths.py",
        "tests/integration/core/test_open_database.py",
        only="private or open or mode or others or umask",
    )
    for figure in suites.figures("files of one's own", counts, at_least=4):
        yield figure


async def host_keys(run: Run) -> AsyncIterator[Figure]:
    """Changed keys, other types, at first and on reconnecting."""
    counts = await suites.counted(
        run,
        "tests/integration/ssh/test_connect.py",
        "tests/integration/tunnel/test_faults.py",
        "tests/integration/rent/test_own_machine.py",
        only="host_key or other_key_type or key_types or generation or refused_key or trusted_only",
    )
    for figure in suites.figures("host keys", counts, at_least=7):
        yield figure


async def exposure(run: Run) -> AsyncIterator[Figure]:
    """What listens where, and which paths of the engine are out of reach."""
    forbidden = ("create", "push", "pull", "blobs/sha256:0", "delete", "copy")
    async with serving(run.directory) as served:
        reached = 0
        for path in forbidden:
            status, _, _ = await served.json({}, path=f"/api/{path}")
            reached += status != 404
        asked = {each.path.removeprefix("/api/") for each in served.engine.requests}
        reached += len(asked.intersection(forbidden))
    yield Figure("engine paths that are not refused", reached, "paths", 0)
    counts = await suites.counted(
        run,
        "tests/integration/ssh/test_host.py",
        "tests/integration/ssh/test_install.py",
        only="open_to_everybody or old_version or checksum or nothing_to_a_model",
    )
    for figure in suites.figures("engine on the machine", counts, at_least=4):
        yield figure


# -- S3 ------------------------------------------------------------------------------------------

JSON = "Content-Type: application/json"
BROWSERS = {
    "foreign host": head(MESSAGES, "Host: evil.example", JSON),
    "rebound host": head(MESSAGES, "Host: evil.example:8000", JSON),
    "host with a suffix": head(MESSAGES, "Host: 127.0.0.1.evil.example", JSON),
    "origin": head(MESSAGES, LOCAL, "Origin: https://evil.example", JSON),
    "origin null": head(MESSAGES, LOCAL, "Origin: null", JSON),
    "origin that looks local": head(MESSAGES, LOCAL, "Origin: http://localhost.evil.example", JSON),
    "cross-site": head(MESSAGES, LOCAL, "Sec-Fetch-Site: cross-site", JSON),
    "same-site": head(MESSAGES, LOCAL, "Sec-Fetch-Site: same-site", JSON),
    "preflight": head(
        "OPTIONS /v1/messages HTTP/1.1",
        LOCAL,
        "Origin: https://evil.example",
        "Access-Control-Request-Method: POST",
    ),
    "text": head(MESSAGES, LOCAL, "Content-Type: text/plain", "Content-Length: 2") + b"{}",
    "form": head(
        MESSAGES, LOCAL, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 2"
    )
    + b"{}",
    "multipart": head(MESSAGES, LOCAL, "Content-Type: multipart/form-data", "Content-Length: 2")
    + b"{}",
    "absolute uri": head("POST http://evil.example/v1/messages HTTP/1.1", LOCAL, JSON),
    "get of a picture": head("GET /v1/messages?x-api-key=1 HTTP/1.1", LOCAL),
    "token in the query": head(f"GET /v1/models?x-api-key={TOKEN} HTTP/1.1", LOCAL, token=""),
}


async def browsers(run: Run) -> AsyncIterator[Figure]:
    """What a web page can send, even with the token."""
    async with serving(run.directory) as served:
        let_in, shared = [], []
        for name, request in BROWSERS.items():
            sent = request.replace(b"llmctl_the-token-goes-here", served.token.encode())
            answer = await talk(served.port, sent)
            if not 400 <= int(answer.split()[1]) < 500:
                let_in.append(name)
            if b"access-control-" in answer.lower():
                shared.append(name)
        chats = len(served.engine.chats)
    yield Figure("requests of web pages let in", len(let_in), "cases", 0, note=", ".join(let_in))
    yield Figure("answers with CORS headers", len(shared), "cases", 0, note=", ".join(shared))
    yield Figure("requests that reached the engine", chats, "requests", 0)


# -- S4 ------------------------------------------------------------------------------------------

GUESSES_S = 30.0
ANSWERED_S = 3.0
"""A guess is answered up to 2 s later than it comes."""
NOT_SIGNIFICANT = 2.58
"""|t| that two equal samples exceed once in a hundred times."""


async def guessing(run: Run) -> AsyncIterator[Figure]:
    """Many wrong tokens in half a minute, from one address, beside a client with the right one."""
    guesses = run.many(10_000, 2_000)
    sending_s = GUESSES_S * guesses / 10_000
    async with serving(run.directory, OllamaEmulator(Answer("Hello"))) as served:
        await served.json(ask())
        asked, rounds = run.many(1000, 300), run.many(5, 3)
        quiet = [await _good(served, asked) for _ in range(rounds)]
        spent = cpu_s(served.pid)
        guesser = await _guesser(served, guesses, sending_s)
        await asyncio.sleep(sending_s / 10)
        busy = [await _good(served, asked) for _ in range(rounds)]
        heard, _ = await guesser.communicate()
        spent = cpu_s(served.pid) - spent
    said = json.loads(heard)
    answers, took = sum(said["statuses"].values()), said["answered_s"]
    yield Figure("wrong tokens sent", answers, "guesses", guesses, at_least=True)
    accepted = answers - said["statuses"].get("401", 0)
    yield Figure("wrong tokens accepted", accepted, "answers", 0)
    yield Figure("time to send them", said["sent_s"], "s", sending_s + 0.5)
    yield Figure("time until all are answered", took, "s", sending_s + ANSWERED_S)
    yield Figure("CPU for them", spent / took, "cores", 1.0)
    ratios = [quantile(b, 0.99) / quantile(q, 0.99) for b, q in zip(busy, quiet, strict=True)]
    yield Figure("p99 of the good client", quantile(ratios, 0.5), "times", 2.0)
    yield Figure("peers remembered", await _remembered(), "peers", MAX_PEERS)
    t = await _timing(run.many(20_000, 4_000))
    yield Figure("timing of a right prefix: |t|", abs(t), "t", NOT_SIGNIFICANT)


async def _guesser(served: Served, count: int, within_s: float) -> asyncio.subprocess.Process:
    """Start to guess; returns once that has begun."""
    words = ("--url", served.proxy.url, "--count", str(count), "--within", str(within_s))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.scorecard.guesser", *words),
        cwd=suites.ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await process.stdout.readline()
    return process


async def _good(served: Served, count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        with timed(times):
            await served.json(ask())
    return times


def _request(token: str, peer: str) -> Any:
    request = make_mocked_request("GET", "/", headers={"x-api-key": token})
    return request.clone(remote=peer)


async def _remembered() -> int:
    """Return for how many peers failures are kept after far more have failed."""
    authenticator = Authenticator({digest_of(TOKEN.encode()): "local"}, SystemClock())
    for number in range(2 * MAX_PEERS):
        with contextlib.suppress(ApiError):
            await authenticator.tenant(_request("wrong", f"10.0.{number // 256}.{number % 256}"))
    return len(authenticator._failures)  # noqa: SLF001  what is bounded shows nowhere else


async def _timing(samples: int) -> float:
    """Return Welch's t between wrong tokens that begin as the right one and those that do not."""
    authenticator = Authenticator({digest_of(TOKEN.encode()): "local"}, SystemClock())
    dice = random.Random(7)
    half = len(TOKEN) // 2
    times: dict[bool, list[int]] = {True: [], False: []}
    for number in range(samples):
        right = dice.random() < 0.5
        far = "llmctl_" + secrets.token_hex(32)
        token = (TOKEN[:half] if right else far[:half]) + far[half:]
        request = _request(token, f"peer {number}")
        began = time.perf_counter_ns()
        with contextlib.suppress(ApiError):
            await authenticator.tenant(request)
        times[right].append(time.perf_counter_ns() - began)
    return _welch(*(_trimmed(each) for each in times.values()))


def _trimmed(values: list[int]) -> list[int]:
    """Without the slowest twentieth, in which the machine did something else."""
    return sorted(values)[: len(values) * 19 // 20]


def _welch(a: list[int], b: list[int]) -> float:
    spread = statistics.variance(a) / len(a) + statistics.variance(b) / len(b)
    return (statistics.fmean(a) - statistics.fmean(b)) / spread**0.5


# -- S5 ------------------------------------------------------------------------------------------

EMBEDDER = Model(
    name="nomic-embed-text:latest",
    capabilities=("embedding",),
    context_length=2048,
    family="nomic-bert",
    digest="0a109f422b47e3a30ba2b10eca18548e944e8a23073ee3f3e947efcf3c45e59f",
)
SHAPES = (
    "What is the capital of {}?",
    "what is the capital of {} ?",
    "Tell me the capital of {}.",
    "Which city is the capital of {}?",
)


async def isolation(run: Run) -> AsyncIterator[Figure]:
    """Two tenants with the same and nearly the same questions, meaning-based answers included.

    The engine tells another story each time, so that a story tells for whom it was made.
    """
    prompts, stories = run.many(1000, 120), itertools.count()
    engine = OllamaEmulator(lambda _: Answer(f"story {next(stories)}"), models=(Model(), EMBEDDER))
    async with serving(run.directory, engine, cache_semantic_mode="on", auth_token="") as served:
        served.token = (served.proxy.home / "data" / "token").read_text().strip()
        added = await served.proxy.command("token", "add", "ada")
        other = added.stdout.strip()
        await _until_known(served, other)
        ours = await _heard(served, served.token, prompts) | await _heard(
            served, served.token, prompts, other_words=True
        )
        made = next(stories)
        again = await _heard(served, served.token, prompts)
        made = next(stories) - made - 1
        theirs = await _heard(served, other, prompts) | await _heard(
            served, other, prompts, other_words=True
        )
    yield Figure(
        "prompts of each tenant, in two wordings", prompts, "prompts", prompts, at_least=True
    )
    yield Figure("answers of one served to the other", len(ours & theirs), "answers", 0)
    yield Figure("own answers made again", made, "answers", prompts // 100)
    yield Figure("own answers served", len(again & ours), "answers", 1, at_least=True)
    counts = await suites.counted(
        run,
        "tests/integration/cache/test_sealed_entries.py",
        "tests/integration/proxy/test_cache_faults.py",
        "tests/unit/cache",
        only="changed or sealed or seal or swap or flip or put_back or bring_back",
    )
    for figure in suites.figures("changed, moved and replayed values", counts, at_least=10):
        yield figure
    cancels = run.many(100_000, 3_000)
    wrong = await _cancels(cancels)
    yield Figure(f"{cancels} cancelled reads: wrong answers", wrong, "answers", 0)


async def _until_known(served: Served, token: str) -> None:
    async def known() -> bool:
        return (await served.json(ask("known?"), token=token))[0] == 200

    await until(known)


async def _heard(served: Served, token: str, count: int, *, other_words: bool = False) -> set[str]:
    """Ask ``count`` questions and return the stories that were told."""
    found = set()
    for number in range(count):
        shape = SHAPES[(number + other_words) % len(SHAPES)]
        text = shape.format(f"land number {number // len(SHAPES)}")
        status, _, message = await served.json(ask(text), token=token)
        assert status == 200, message
        found.add(message["content"][0]["text"])
    return found


async def _cancels(count: int) -> int:
    test_redis_store.CANCELS = count
    with valkey_running() as valkey:
        try:
            await test_redis_store.test_callers_that_leave_take_no_reply_with_them(valkey)
        except AssertionError:
            return 1
    return 0


# -- S7 ------------------------------------------------------------------------------------------

ALL = """
local all = ''
for _, key in ipairs(redis.call('KEYS', '*')) do all = all .. key .. redis.call('DUMP', key) end
return all
"""


async def at_rest(run: Run) -> AsyncIterator[Figure]:
    """A prompt and its answer: in the files of a running proxy, and in Redis."""
    said = [Canary("the prompt"), Canary("the answer")]
    hits: list[str] = []
    with valkey_running("--appendonly", "yes", "--rdbcompression", "no") as valkey:
        for name, settings in (("file", {}), ("redis", {"redis_url": valkey.url})):
            engine = OllamaEmulator(Answer(said[1].value), models=(Model(), EMBEDDER))
            settings |= {"cache_semantic_mode": "on"}
            async with serving(run.directory / name, engine, **settings) as served:
                hits += await _asked_and_searched(served, said)
        held = valkey.command("EVAL", ALL, "0")
        hits += found(said, "Redis", held) + await _on_disk(valkey, said)
    yield Figure("bytes kept in Redis", len(held), "bytes", 100, at_least=True)
    yield Figure(
        "prompts and answers in the open", len(hits), "places", 0, note="; ".join(hits[:4])
    )


async def _asked_and_searched(served: Served, said: list[Canary]) -> list[str]:
    for number in range(3):
        for _ in range(2):
            status, _, _ = await served.json(ask(f"{said[0].value} {number}"))
            assert status == 200
    await asyncio.sleep(1.0)
    return in_files(said, served.proxy.home)


async def _on_disk(valkey: Valkey, said: list[Canary]) -> list[str]:
    """Look into a snapshot of the server's own, and into its log of commands."""
    valkey.command("SAVE")
    kept = {path.suffix for path in valkey.directory.rglob("*") if path.stat().st_size > 1000}
    assert {".rdb", ".aof"} <= kept, kept
    return in_files(said, Path(valkey.directory))
