"""What the semantic tier costs: its decision, and exact hits beside it.

``python -m benchmarks.semantic_speed [decision|exact] [--entries 10000] [--rounds 5]``.

decision    from the question to the verdict, in this process: embedding with the local embedder,
            exact search among ``--entries`` vectors of one scope, gate and bound; questions of 35,
            150 and 1,000 characters
exact       exact hits a second with the tier on against the tier off, two proxies in turns: bodies
            that the tier would look at, were they not hits, and bodies of an agent
"""

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the proxy does, before numpy

import numpy as np

from benchmarks import bodies, hits, processes
from llmctl.cache.sealed import Seal
from llmctl.config.schema import SemanticConfig
from llmctl.core.clock import SystemClock
from llmctl.protocol.engine import EngineModel
from llmctl.proxy.embedding import Embedding
from llmctl.proxy.meaning import local_library
from llmctl.proxy.semantic import Question, SemanticTier
from llmctl.semantic.embed import LocalEmbedder
from llmctl.semantic.gate import facts
from llmctl.semantic.index import packed, unit
from llmctl.semantic.journal import MemoryJournal
from llmctl.semantic.records import Entry
from tests.claude_shapes import encode, prose

SCOPE = b"s" * 32
ASKED = "How do I reverse a list in Python {}?"
LONGER = (
    "What is the difference between a process and a thread in an operating system {}, and when"
    " would you use which of them? Please explain it with short examples."
)
LONGEST = "I have a question about my program, which reads a file and counts the words in it. {} "


class NoAnswers:
    """Has no answer to any key."""

    async def get(self, _key: bytes) -> None:
        return None


class Choice:
    """Chooses the local embedder."""

    def __init__(self, embedder: LocalEmbedder) -> None:
        self._embedder = embedder

    def __call__(self) -> LocalEmbedder:
        return self._embedder

    def refuse(self, _embedder: object, _reason: str) -> None: ...


def question(text: str, number: int) -> Question:
    return Question(
        text=text,
        key=number.to_bytes(32, "big"),
        scope=SCOPE,
        tenant="local",
        model=EngineModel(name="m", digest="d"),
    )


async def filled(entries: int) -> tuple[SemanticTier, Embedding]:
    """Return a tier that knows so many questions; some are near to what will be asked."""
    config = SemanticConfig(mode="on", max_entries=entries, max_chars=4000)
    library = local_library(config, MemoryJournal(), Seal(b"k" * 32), clock=SystemClock())
    embedder = LocalEmbedder(library.executor)
    embedding = Embedding(Choice(embedder), clock=library.clock, counts=library.counts)
    tier = SemanticTier(config, library, embedding=embedding, answers=NoAnswers())
    await tier.start()
    while not embedding.ready:  # noqa: ASYNC110 - seldom and soon over
        await asyncio.sleep(0.05)
    random = np.random.default_rng(1)
    now = library.clock.now()
    for number in range(entries):
        text = [ASKED, LONGER, LONGEST * 11][number % 3].format(*["in files"] * 11)
        near = number < 60
        vector = await embedder.embed(text + str(number)) if near else unit(random.normal(size=512))
        made = Entry(
            key=number.to_bytes(32, "big"),
            scope=SCOPE,
            embedder=embedder.name,
            question=text,
            vector=packed(vector),
            created=now,
            expires=now + 3600,
            tenant="local",
            model="m",
        )
        library.shelves.add(made, vector)
    return tier, embedding


async def timed(work: Callable[[int], Awaitable[object]], times: int) -> list[float]:
    took = []
    for number in range(times):
        began = time.perf_counter()
        await work(number)
        took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0.001)
    return sorted(took)


async def decision(options: argparse.Namespace) -> None:
    tier, embedding = await filled(options.entries)
    for name, text in (("35", ASKED), ("150", LONGER), ("1000", LONGEST * 11)):

        async def find(number: int, text: str = text) -> None:
            await tier.find(question(text.format(*[f"v{number}"] * 11), 10**6 + number))

        async def embed(number: int, text: str = text) -> None:
            await embedding.vector(text.format(*[f"w{number}"] * 11))

        await timed(find, 20)
        spent = time.process_time()
        found = await timed(find, options.times)
        spent = time.process_time() - spent
        embedded = await timed(embed, options.times)
        processes.report(
            f"semantic decision, {name} characters",
            entries=options.entries,
            p50_ms=statistics.median(found),
            p99_ms=found[int(len(found) * 0.99)],
            cpu_ms=spent / options.times * 1000,
            embedding_p50_ms=statistics.median(embedded),
            goal_ms=5.0,
        )
    began = time.perf_counter()
    for number in range(100):
        facts(LONGER.format(number))
    processes.report("semantic gate, 150 characters", ms=(time.perf_counter() - began) * 10)
    await tier.close()


def exact(options: argparse.Namespace) -> None:
    """Compare exact hits of two proxies that differ in the tier alone."""
    turn = {"role": "user", "content": ASKED}
    small = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [turn]}
    agent = bodies.agent_request(60_000, stream=False)
    with tempfile.NamedTemporaryFile("w") as text:
        text.write(prose(2000))
        text.flush()
        with (
            processes.ollama("--text-file", str(Path(text.name))) as engine,
            processes.llmctl(engine) as (off_port, off_pid),
            processes.llmctl(
                engine, "--semantic", "on", env={"LLMCTL_CACHE_SEMANTIC_EMBEDDER": "local"}
            ) as (on_port, on_pid),
        ):
            time.sleep(3)  # the embedder loads
            for name, body in (("question", small), ("agent", agent)):
                targets = [
                    hits.Target(port, pid, _request(body, port))
                    for port, pid in ((off_port, off_pid), (on_port, on_pid))
                ]
                for target in targets:
                    hits.cached_answer(target.request, target.port)
                _compare(name, targets, options)


def _request(body: dict, port: int) -> bytes:
    return bodies.http("/v1/messages", encode(body), port=port, token=processes.TOKEN)


def _compare(name: str, targets: list[hits.Target], options: argparse.Namespace) -> None:
    rounds = []
    for number in range(options.rounds):
        # now one goes first and then the other
        order = targets if number % 2 else targets[::-1]
        done = [
            asyncio.run(hits.one_round(target, 4, options.seconds, new_session=False))
            for target in order
        ]
        off, on = done if number % 2 else done[::-1]
        rounds.append((off, on))
    middle = statistics.median
    processes.report(
        f"exact hits beside the semantic tier, {name}",
        off_rps=middle(off.result.per_second for off, _ in rounds),
        on_rps=middle(on.result.per_second for _, on in rounds),
        off_cpu_us=middle(off.cpu_us for off, _ in rounds),
        on_cpu_us=middle(on.cpu_us for _, on in rounds),
        cpu_ratio=middle(on.cpu_us / off.cpu_us for off, on in rounds),
        ratio=middle(on.result.per_second / off.result.per_second for off, on in rounds),
        goal=0.98,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", choices=("decision", "exact"))
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one round")
    options = parser.parse_args()
    if options.what != "exact":
        asyncio.run(decision(options))
    if options.what != "decision":
        processes.pin(0, processes.OTHERS)
        exact(options)


if __name__ == "__main__":
    sys.exit(main())
