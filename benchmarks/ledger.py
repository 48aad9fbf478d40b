"""Cost of a row to the request, to the writing thread, and of a summary over many rows.

    python benchmarks/ledger.py [--rows 1000000] [--json]

The bare figure beside the summaries is sqlite3 counting the same table's rows without an index on
what it counts: the least that reading all of it costs.
"""

import argparse
import asyncio
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from llmctl.core.clock import SystemClock
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.queries import series, summary
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.writer import LedgerWriter

START = 1_800_000_000.0
SECONDS_PER_ROW = 3.0
LIMIT_MS = 1000.0
"""For a million rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    show = show_json if options.json else show_line
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "ledger.db"
        asyncio.run(fill(path, options.rows, show))
        end = START + SECONDS_PER_ROW * options.rows
        with closing(open_read_only(path)) as connection:
            bare = timed(lambda: count(connection))
            show("bare count", bare * 1e3, "ms")
            for name, since in (
                ("all", None),
                ("half", (START + end) / 2),
                ("last day", end - 86_400),
                ("last hour", end - 3600),
            ):
                taken = timed(lambda since=since: summary(connection, since))
                show(f"summary of {name}", taken * 1e3, "ms", LIMIT_MS)
            spans = (("day", None), ("month", None), ("hour", None), ("hour", end - 2 * 86_400))
            for by, since in spans:
                taken = timed(lambda since=since, by=by: series(connection, since, by=by))
                part = "all" if since is None else "two days"
                show(f"{part} by {by}", taken * 1e3, "ms", LIMIT_MS)
        for words in ("stats", "stats --by hour --since all", "stats --by tenant --csv"):
            taken = timed(lambda words=words: command(path, words.split()))
            show(f"llmctl {words}", taken * 1e3, "ms", LIMIT_MS)


async def fill(path: Path, rows: int, show: Callable[..., None]) -> None:
    ledger = LedgerWriter(path, clock=SystemClock())
    await ledger.start()
    appending = 0.0
    began = time.process_time()
    for batch in batches(rows):
        before = time.perf_counter()
        for usage in batch:
            ledger.append(usage)
        appending += time.perf_counter() - before
        await ledger.flush()
    await ledger.close()
    if ledger.status().written != rows:
        raise SystemExit(f"rows are missing: {ledger.status()}")
    show("append", appending / rows * 1e6, "us")
    show("write, with making the rows", (time.process_time() - began) / rows * 1e6, "us CPU")


def batches(rows: int, size: int = 5000) -> Iterator[list[Usage]]:
    chance = random.Random(1)
    for first in range(0, rows, size):
        numbers = range(first, min(first + size, rows))
        yield [random_usage(chance, START + SECONDS_PER_ROW * number) for number in numbers]


def random_usage(chance: random.Random, at: float) -> Usage:
    hit = chance.random() < 0.6
    failed = chance.random() < 0.02
    return Usage(
        at=at,
        request_id=f"req_{chance.getrandbits(96):024x}",
        tenant=f"tenant-{chance.randrange(10)}",
        model_asked=chance.choice(["claude-sonnet-4-5", "claude-haiku-4-5"]),
        model_used="" if failed else chance.choice(["qwen3-coder", "qwen2.5-coder:7b"]),
        backend=chance.choice(["ollama:http://a", "ollama:http://b"]),
        stream=chance.random() < 0.8,
        prompt_tokens=chance.randrange(40_000),
        completion_tokens=chance.randrange(2000),
        cache=CacheOutcome.HIT if hit else CacheOutcome.MISS,
        first_token_ms=None if failed else chance.lognormvariate(0.3 if hit else 6.5, 0.8),
        total_ms=chance.lognormvariate(8, 1),
        status=529 if failed else 200,
        error="overloaded_error" if failed else "",
    )


def count(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT sum(total_ms) FROM requests").fetchone()


def command(ledger: Path, words: list[str]) -> None:
    """Run the command itself, start-up included, on the ledger of a home of its own."""
    home = ledger.parent / "home"
    (home / "state").mkdir(parents=True, exist_ok=True)
    linked = home / "state" / "ledger.db"
    if not linked.exists():
        linked.hardlink_to(ledger)
    subprocess.run(
        [sys.executable, "-m", "llmctl", *words],
        env=os.environ | {"LLMCTL_HOME": str(home)},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def timed(work: Callable[[], object]) -> float:
    """Return the best of three, in seconds."""
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def show_line(name: str, value: float, unit: str, limit: float | None = None) -> None:
    print(f"{name:30} {value:10.2f} {unit}" + ("" if limit is None else f"  (limit {limit:g})"))


def show_json(name: str, value: float, unit: str, limit: float | None = None) -> None:
    figure = {"name": f"ledger {name}", "value": value, "unit": unit, "limit": limit}
    print(json.dumps({key: field for key, field in figure.items() if field is not None}))


if __name__ == "__main__":
    main()
