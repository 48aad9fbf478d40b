"""The cost report over many requests and rentals, in this process and as the command.

    python -m benchmarks.cost [--rows 1000000] [--rentals 200]

The bare figure is sqlite3 adding up one column of the same table.
"""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from benchmarks.ledger import SECONDS_PER_ROW, START, count, fill, timed
from llmctl.config.schema import Config
from llmctl.core.money import micro_usd
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.ledger.reading import open_read_only
from llmctl.ops.cost import Accounts, CostWish, Records
from llmctl.state.store import RentalStore

LIFE_S = 3 * 3600.0


class Then:
    """A clock that is where it is put."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def now(self) -> float:
        return self.moment

    monotonic = now


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rentals", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        state = Path(directory) / "state"
        state.mkdir()
        end = START + SECONDS_PER_ROW * options.rows
        asyncio.run(fill(state / "ledger.db", options.rows, lambda *_: None))
        rent(state / "rentals.db", options.rentals, end)
        measure(state, end)
        command(str(Path(directory) / "empty"))


def rent(path: Path, number: int, end: float) -> None:
    clock = Then(START)
    store = RentalStore(path, clock=clock)
    for each in range(number):
        clock.moment = START + (end - START) / number * each
        rental = store.begin(UpSpec(name="main", providers=(ProviderName.VAST,)), ProviderName.VAST)
        price = micro_usd("0.36")
        store.advance(rental.uuid, Phase.CREATED, instance_id=str(each), usd_per_hour=price)
        clock.moment += LIFE_S
        store.advance(rental.uuid, Phase.GONE)
    store.close()


def measure(state: Path, end: float) -> None:
    with closing(open_read_only(state / "ledger.db")) as connection:
        show("bare sum", timed(lambda: count(connection)) * 1e3, "ms")
    for group in ("day", "instance", "model", "tenant"):
        for name, since in (("all", None), ("last 30 days", end - 30 * 86_400)):
            taken = timed(lambda since=since, group=group: report(state, since, end, group))
            show(f"{name} by {group}", taken * 1e3, "ms", limit=1000)


def report(state: Path, since: float | None, until: float, group: str) -> None:
    store = RentalStore(state / "rentals.db", clock=Then(until))
    records = Records(ledger=state / "ledger.db", rentals=store)
    wish = CostWish(since=since, until=until, group_by=group)
    Accounts(wish, records, Config(), now=until).report()
    store.close()


def command(home: str) -> None:
    """CPU of the whole command with nothing on record: what is not the report itself."""
    least = min(cpu_s(home, ["cost", "--offline"]) for _ in range(5))
    show("command with nothing on record", least * 1e3, "ms CPU")


def cpu_s(home: str, arguments: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "llmctl", *arguments],
        env={**os.environ, "LLMCTL_HOME": home},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def show(name: str, value: float, unit: str, limit: float | None = None) -> None:
    figures = {"name": f"cost {name}", "value": round(value, 1), "unit": unit}
    print(json.dumps(figures if limit is None else {**figures, "limit": limit}), flush=True)


if __name__ == "__main__":
    main()
