"""``LedgerWriter``: every row once, in whatever state the disk is."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from llmctl.core.sqlitefile import connect
from llmctl.core.usage import CacheOutcome, Usage
from llmctl.ledger.writer import KINDS_KEPT, NAME_CHARS, QUEUE, LedgerWriter
from tests.clocks import ManualClock
from tests.integration.eventually import eventually

USAGE = Usage(
    at=1_800_000_000.25,
    request_id="req_1",
    tenant="ann",
    model_asked="claude-sonnet-4-5",
    model_used="qwen3-coder",
    backend="ollama:http://127.0.0.1:11434",
    stream=True,
    prompt_tokens=1200,
    completion_tokens=80,
    cached_prompt_tokens=1000,
    cache=CacheOutcome.MISS,
    first_token_ms=312.5,
    total_ms=4012.5,
    status=200,
)


def make(path: Path) -> LedgerWriter:
    return LedgerWriter(path, clock=ManualClock())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[LedgerWriter]:
    ledger = make(path)
    await ledger.start()
    yield ledger
    await ledger.close()


def rows(path: Path, question: str = "SELECT request_id FROM ledger") -> list[tuple]:
    with closing(connect(path, busy_timeout_s=5)) as db:
        return db.execute(question).fetchall()


async def test_a_row_holds_all_of_a_usage(ledger, path):
    ledger.append(USAGE)
    await ledger.flush()
    columns = ", ".join(Usage.__struct_fields__)
    (row,) = rows(path, f"SELECT {columns} FROM ledger")
    assert msgspec.convert(dict(zip(Usage.__struct_fields__, row)), Usage, strict=False) == USAGE
    assert rows(path, "SELECT time FROM ledger") == [("2027-01-15 08:00:00",)]


async def test_rows_without_content_have_no_first_token(ledger, path):
    ledger.append(
        msgspec.structs.replace(USAGE, first_token_ms=None, status=529, error="overloaded_error")
    )
    await ledger.flush()
    assert rows(path, "SELECT first_token_ms, status, error FROM ledger") == [
        (None, 529, "overloaded_error")
    ]


async def test_every_row_is_written_once_and_in_order(ledger, path):
    for number in range(1234):
        ledger.append(msgspec.structs.replace(USAGE, request_id=f"req_{number}"))
    await ledger.flush()
    assert [name for (name,) in rows(path)] == [f"req_{number}" for number in range(1234)]
    assert rows(path, "SELECT count(*) FROM kinds") == [(1,)]
    status = ledger.status()
    assert (status.healthy, status.written, status.waiting, status.dropped) == (True, 1234, 0, 0)
    assert status.location == str(path)


async def test_rows_are_written_without_being_asked_for(ledger, path):
    ledger.append(USAGE)
    await eventually(lambda: ledger.status().written == 1)
    assert len(rows(path)) == 1


async def test_what_was_appended_before_the_start_or_the_end_is_kept(path):
    ledger = make(path)
    ledger.append(USAGE)
    await ledger.start()
    ledger.append(USAGE)
    await ledger.close()
    assert len(rows(path)) == 2


async def test_kinds_are_shared_over_restarts_and_between_processes(path):
    writers = [make(path), make(path)]
    for writer in writers:
        await writer.start()
    for _ in range(3):
        for writer in writers:
            writer.append(USAGE)
            await writer.flush()
    for writer in writers:
        await writer.close()
    assert rows(path, "SELECT count(*), count(DISTINCT kind) FROM requests") == [(6, 1)]


async def test_files_are_private(ledger, path):
    ledger.append(USAGE)
    await ledger.flush()
    assert {found.stat().st_mode & 0o777 for found in path.parent.iterdir()} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700


# -- what clients and engines may say


async def test_names_from_clients_are_cut_and_made_storable(ledger, path):
    ledger.append(msgspec.structs.replace(USAGE, model_asked="x" * 100_000))
    ledger.append(
        msgspec.structs.replace(USAGE, model_asked="lone \ud800 surrogate'; DROP TABLE x")
    )
    await ledger.flush()
    names = [name for (name,) in rows(path, "SELECT model_asked FROM ledger")]
    assert names == ["x" * NAME_CHARS, "lone ? surrogate'; DROP TABLE x"]


@pytest.mark.parametrize(
    "bad",
    [
        {"prompt_tokens": 10**30},
        {"at": float("nan")},
        {"first_token_ms": float("inf")},
        {"first_token_ms": float("nan")},
        {"request_id": "\ud800"},
    ],
)
async def test_a_row_that_sqlite_does_not_take_costs_only_itself(ledger, path, bad):
    for number in range(5):
        change = {"request_id": f"req_{number}"} | (bad if number == 2 else {})
        ledger.append(msgspec.structs.replace(USAGE, **change))
    await ledger.flush()
    assert [name for (name,) in rows(path)] == ["req_0", "req_1", "req_3", "req_4"]
    status = ledger.status()
    assert (status.written, status.dropped, status.healthy) == (4, 1, True)


async def test_more_kinds_than_are_remembered(ledger, path):
    for number in range(KINDS_KEPT + 500):
        if number % 5000 == 0:
            await ledger.flush()
        ledger.append(msgspec.structs.replace(USAGE, model_asked=f"model-{number}"))
    ledger.append(msgspec.structs.replace(USAGE, model_asked="model-0"))
    await ledger.flush()
    assert rows(path, "SELECT count(*) FROM kinds") == [(KINDS_KEPT + 500,)]
    assert rows(path, "SELECT count(*) FROM ledger WHERE model_asked = 'model-0'") == [(2,)]


# -- disks


async def test_without_a_place_to_write_requests_go_on_and_the_last_rows_wait(tmp_path, caplog):
    blocker = tmp_path / "state"
    blocker.touch()
    ledger = make(blocker / "ledger.db")
    await ledger.start()
    for number in range(QUEUE + 5):
        ledger.append(msgspec.structs.replace(USAGE, request_id=f"req_{number}"))
    await ledger.flush()
    status = ledger.status()
    assert not status.healthy
    assert "requests are not recorded" in status.detail
    assert str(blocker) in status.detail
    assert (status.waiting, status.written) == (QUEUE, 0)
    assert status.dropped == 5
    blocker.unlink()
    await eventually(lambda: ledger.status().written == QUEUE)
    assert ledger.status().healthy
    names = [name for (name,) in rows(blocker / "ledger.db")]
    assert names == [f"req_{number}" for number in range(5, QUEUE + 5)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    await ledger.close()


async def test_closing_without_a_place_to_write_gives_the_rows_up(tmp_path):
    (tmp_path / "state").touch()
    ledger = make(tmp_path / "state" / "ledger.db")
    await ledger.start()
    ledger.append(USAGE)
    await ledger.close()
    assert ledger.status().dropped == 1


async def test_a_locked_ledger_is_written_when_the_lock_goes(ledger, path):
    with closing(connect(path, busy_timeout_s=1)) as db:
        db.execute("BEGIN IMMEDIATE")
        ledger.append(USAGE)
        await eventually(lambda: not ledger.status().healthy)
        assert "another process keeps" in ledger.status().detail
        db.execute("ROLLBACK")
    await eventually(lambda: ledger.status().written == 1)
    assert ledger.status().healthy
    assert len(rows(path)) == 1


@pytest.mark.parametrize(
    "damage", [b"this is no database " * 500, b"SQLite format 3\0" + b"\xff" * 8192]
)
async def test_a_damaged_ledger_is_moved_aside_and_a_new_one_begun(path, damage, caplog):
    path.parent.mkdir()
    path.write_bytes(damage)
    ledger = make(path)
    await ledger.start()
    ledger.append(USAGE)
    await eventually(lambda: ledger.status().written == 1)
    status = ledger.status()
    assert status.healthy
    assert "was damaged and is now ledger.db.corrupt-20270115T080000Z" in status.detail
    assert next(path.parent.glob("*.corrupt-*")).read_bytes() == damage
    assert len(rows(path)) == 1
    await ledger.close()


async def test_damage_that_shows_while_writing(path):
    ledger = make(path)
    await ledger.start()
    for number in range(2000):
        ledger.append(msgspec.structs.replace(USAGE, request_id=f"req_{number}"))
    await ledger.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    ledger = make(path)
    await ledger.start()
    ledger.append(USAGE)
    await eventually(lambda: ledger.status().written == 1)
    assert "was damaged" in ledger.status().detail
    await ledger.close()
    assert len(rows(path)) == 1


SCRIPT = """
import asyncio, os, resource, sys
from pathlib import Path
import msgspec
from llmctl.core.clock import SystemClock
from llmctl.core.usage import Usage
from llmctl.ledger.writer import LedgerWriter
from tests.integration.eventually import eventually

def usage(number):
    return Usage(at=1.0, request_id=f"req_{number}", tenant="ann", model_asked="m")

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main():
    ledger = LedgerWriter(Path(sys.argv[1]), clock=SystemClock())
    await ledger.start()
    {body}

asyncio.run(main())
"""


def script(body: str) -> str:
    return SCRIPT.replace("{body}", body.strip().replace("\n", "\n    "))


def test_a_file_that_may_not_grow_loses_no_row_when_it_may_again(path):
    body = """
limit(120_000)
for number in range(3000):
    ledger.append(usage(number))
await eventually(lambda: not ledger.status().healthy)
print(ledger.status().detail)
limit(resource.RLIM_INFINITY)
await eventually(lambda: ledger.status().written == 3000)
assert ledger.status().healthy
await ledger.close()
"""
    outcome = subprocess.run(
        [sys.executable, "-c", script(body), str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stderr
    assert "requests are not recorded" in outcome.stdout
    assert outcome.stderr.count("requests are not recorded") == 1
    assert [name for (name,) in rows(path)] == [f"req_{number}" for number in range(3000)]


def test_a_process_killed_while_it_writes_loses_nothing_that_was_flushed(path):
    body = """
number = int(sys.argv[2]) * 1_000_000
while True:
    for _ in range(200):
        number += 1
        ledger.append(usage(number))
    await ledger.flush()
    print(number, flush=True)
"""
    for round_ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", script(body), str(path), str(round_)], stdout=subprocess.PIPE
        )
        for _ in range(1 + round_ % 3):
            acknowledged = int(process.stdout.readline())
        process.kill()
        process.communicate()
        found = {name for (name,) in rows(path, "SELECT request_id FROM requests")}
        first = round_ * 1_000_000 + 1
        assert {f"req_{number}" for number in range(first, acknowledged + 1)} <= found
        assert rows(path, "PRAGMA integrity_check") == [("ok",)]
