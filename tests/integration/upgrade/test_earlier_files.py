"""Files that earlier versions of llmctl have left: each is taken over with all that is in it.

The ``.sql`` files are dumps of what those versions wrote; they never change. A new schema version
needs one of the version before.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmctl.cache.file import MIGRATIONS as ANSWERS
from llmctl.cache.sqlite import SqliteStore
from llmctl.core.clock import SystemClock
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Phase, ProviderName
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger import queries
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.schema import MIGRATIONS as LEDGER
from llmctl.ledger.writer import LedgerWriter
from llmctl.semantic.sqlite import MIGRATIONS as SEMANTIC
from llmctl.state.schema import MIGRATIONS as RENTALS
from llmctl.state.store import RentalStore
from tests.clocks import ManualClock
from tests.integration.eventually import eventually

DUMPS = Path(__file__).parent
WRITTEN_AT = 1_790_000_000.0
EARLIER = {
    "answers": range(1, len(ANSWERS)),
    "ledger": range(1, len(LEDGER)),
    "rentals": range(1, len(RENTALS)),
    "semantic": range(1, len(SEMANTIC)),
}


def earlier(name: str, version: int, directory: Path) -> Path:
    """Make the file again as that version had it."""
    path = directory / f"{name}.db"
    with closing(sqlite3.connect(path)) as database:
        database.executescript((DUMPS / f"{name}-{version}.sql").read_text())
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return database.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("name", EARLIER)
def test_there_is_a_file_of_every_earlier_version(name):
    found = {path.stem for path in DUMPS.glob(f"{name}-*.sql")}
    assert found == {f"{name}-{version}" for version in EARLIER[name]}


@pytest.mark.parametrize("version", EARLIER["ledger"])
async def test_the_ledger_keeps_its_rows_and_takes_new_ones(tmp_path, version):
    path = earlier("ledger", version, tmp_path)
    ledger = LedgerWriter(path, clock=SystemClock())
    await ledger.start()
    ledger.append(
        Usage(
            at=WRITTEN_AT + 4 * 3600,
            request_id="req_new",
            tenant="local",
            model_asked="claude-sonnet-5",
            prompt_tokens=1,
            completion_tokens=2,
            cache=CacheOutcome.HIT,
            first_token_ms=100.0,
            total_ms=200.0,
        )
    )
    await ledger.flush()
    with closing(open_read_only(path)) as connection:
        found = queries.summary(connection)
        hours = queries.series(connection, by="hour")
    await ledger.close()
    assert version_of(path) == len(LEDGER)
    assert (found.total.requests, found.total.prompt_tokens) == (4, 3001)
    assert {name: each.requests for name, each in found.by_cache.items()} == {"miss": 2, "hit": 2}
    assert sum(each.total.requests for each in hours.periods) == 4


@pytest.mark.parametrize("version", EARLIER["ledger"])
def test_a_ledger_nobody_has_written_to_since_is_read_as_it_is(tmp_path, version):
    path = earlier("ledger", version, tmp_path)
    with closing(open_read_only(path)) as connection:
        assert queries.summary(connection).total.requests == 3
    assert version_of(path) == version


@pytest.mark.parametrize("version", EARLIER["rentals"])
def test_what_is_rented_stays_on_record(tmp_path, version):
    path = earlier("rentals", version, tmp_path)
    clock = ManualClock()
    store = RentalStore(path, clock=ManualClock(WRITTEN_AT + 600))
    install_id = store.install_id
    main = store.by_name("main")
    assert (main.phase, main.provider, main.instance_id) == (
        Phase.READY,
        ProviderName.VAST,
        "4242",
    )
    assert main.label == f"llmctl/{install_id}/{main.uuid}"
    assert (main.deadline, main.num_ctx) == (WRITTEN_AT + 28_800, 65536)
    assert store.pinned(main.uuid, "1").startswith("ssh-ed25519 ")
    assert [entry.phase for entry in store.journal(main.uuid)][-1] is Phase.READY
    (interval,) = store.intervals(main.uuid)
    assert (interval.usd_per_hour, interval.ends) == (MicroUsd(310_000), None)
    assert [each.phase for each in store.all() if each.name == "old"] == [Phase.GONE]
    # and it can be gone on with
    store.advance(main.uuid, Phase.DESTROYING)
    assert store.advance(main.uuid, Phase.GONE).phase is Phase.GONE
    assert store.live() == []
    store.close()
    assert version_of(path) == len(RENTALS)


async def flushed(store: SqliteStore) -> None:
    async with asyncio.timeout(20):
        while await store.get(b"key") is None:
            await asyncio.sleep(0)


@pytest.mark.parametrize("version", EARLIER["answers"])
async def test_the_cache_goes_on_and_nothing_unsealed_stays(tmp_path, version):
    path = earlier("answers", version, tmp_path)
    assert b"an answer in the open" in path.read_bytes()
    store = SqliteStore(path, max_bytes=2**20, clock=SystemClock())
    await store.start()
    await eventually(lambda: version_of(path) == len(ANSWERS))
    assert await store.get(b"key") is None
    store.put(b"key", b"sealed", ttl_s=600)
    await flushed(store)
    await store.close()
    left = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"an answer in the open" not in left
