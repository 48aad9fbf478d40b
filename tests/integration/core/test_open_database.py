"""Files made and opened by ``core.sqlitefile``, with the real SQLite."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from llmctl.core.sqlitefile import (
    connect,
    explain,
    identity,
    is_corrupt,
    open_database,
    set_aside,
)

FIRST = ("CREATE TABLE things (name TEXT)",)
SECOND = ("ALTER TABLE things ADD COLUMN size INTEGER DEFAULT 0", "CREATE TABLE others (x)")


def version(path: Path) -> int:
    with closing(connect(path, busy_timeout_s=1)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


def test_files_are_private_under_any_umask(tmp_path):
    path = tmp_path / "new" / "deeper" / "x.db"
    before = os.umask(0)
    try:
        with closing(open_database(path, [FIRST])) as db:
            db.execute("INSERT INTO things VALUES ('a')")
            modes = {found.name: found.stat().st_mode & 0o777 for found in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}
    assert [path.parents[n].stat().st_mode & 0o777 for n in (0, 1)] == [0o700, 0o700]


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path):
    path = tmp_path / "x.db"
    path.touch(mode=0o644)
    path.chmod(0o644)
    open_database(path, [FIRST]).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_write_ahead_log_and_incremental_vacuum_are_on(tmp_path):
    with closing(open_database(tmp_path / "x.db", [FIRST])) as db:
        settings = [
            db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum", "busy_timeout")
        ]
    assert settings == ["wal", 1, 2, 250]


def test_a_file_of_an_earlier_version_is_migrated_and_keeps_its_rows(tmp_path):
    path = tmp_path / "x.db"
    with closing(open_database(path, [FIRST])) as db:
        db.execute("INSERT INTO things VALUES ('a')")
    with closing(open_database(path, [FIRST, SECOND])) as db:
        assert db.execute("SELECT name, size FROM things").fetchall() == [("a", 0)]
    assert version(path) == 2


def test_a_migration_that_fails_leaves_the_version_before(tmp_path):
    path = tmp_path / "x.db"
    open_database(path, [FIRST]).close()
    with pytest.raises(sqlite3.OperationalError):
        open_database(path, [FIRST, (*SECOND, "CREATE TABLE things (again)")])
    assert version(path) == 1
    open_database(path, [FIRST, SECOND]).close()
    assert version(path) == 2


def test_a_file_of_a_newer_version_is_left_alone(tmp_path):
    path = tmp_path / "x.db"
    open_database(path, [FIRST, SECOND]).close()
    with pytest.raises(sqlite3.DatabaseError, match="schema 2, this one knows 1") as caught:
        open_database(path, [FIRST])
    assert not is_corrupt(caught.value)
    assert version(path) == 2


def test_many_processes_may_create_it_at_once(tmp_path):
    path = tmp_path / "x.db"
    script = (
        "import sys; from pathlib import Path; from llmctl.core.sqlitefile import open_database\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "db = open_database(Path(sys.argv[1]), [('CREATE TABLE things (name TEXT)',)])\n"
        "db.execute('INSERT INTO things VALUES (?)', (sys.argv[2],)); db.close()\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(6)
    ]
    for worker in workers:
        assert worker.stdout.readline() == b"ready\n"
    for worker in workers:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    with closing(connect(path, busy_timeout_s=1)) as db:
        names = sorted(name for (name,) in db.execute("SELECT name FROM things"))
    assert names == list("012345")


def test_opening_waits_for_a_lock_but_not_for_ever(tmp_path):
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("CREATE TABLE theirs (x)")
        db.execute("BEGIN EXCLUSIVE")
        with pytest.raises(sqlite3.OperationalError) as caught:
            open_database(path, [FIRST], patience_s=0.05)
        assert "another process keeps" in explain(path, caught.value)
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(open_database, path, [FIRST])
            db.execute("ROLLBACK")
            opening.result().close()


def test_a_network_file_system_is_refused_by_name(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"31 22 0:40 / {tmp_path} rw,relatime - nfs4 server:/home rw\n")
    with pytest.raises(OSError, match="nfs4 is a network file system"):
        open_database(tmp_path / "x.db", [FIRST], mounts=mounts)
    assert not (tmp_path / "x.db").exists()


def test_where_mounts_are_not_listed_it_goes_on(tmp_path):
    open_database(tmp_path / "x.db", [FIRST], mounts=tmp_path / "missing").close()
    assert (tmp_path / "x.db").exists()


def test_what_is_no_database_is_damage_and_can_be_moved_aside(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"not a database" * 1000)
    Path(f"{path}-wal").write_bytes(b"log")
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_database(path, [FIRST])
    assert is_corrupt(caught.value)
    first = set_aside(path, damaged=identity(path), now=1_800_000_000)
    assert first is not None
    assert first.name == "x.db.corrupt-20270115T080000Z"
    path.write_bytes(b"again")
    second = set_aside(path, damaged=identity(path), now=1_800_000_000)
    assert second is not None
    assert second.name == "x.db.corrupt-20270115T080000Z-2"
    assert not path.exists()


def test_a_file_that_somebody_replaced_already_is_not_moved(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"damaged")
    damaged = identity(path)
    path.rename(tmp_path / "aside")
    path.write_bytes(b"new")
    assert set_aside(path, damaged=damaged, now=0) is None
    assert path.read_bytes() == b"new"
    assert set_aside(tmp_path / "missing", damaged=None, now=0) is None


def test_of_many_that_see_the_damage_one_moves_the_file(tmp_path):
    path = tmp_path / "x.db"
    for _ in range(50):
        path.write_bytes(b"damaged")
        damaged = identity(path)

        def replace(_number: int) -> bool:
            moved = set_aside(path, damaged=damaged, now=0) is not None
            if moved:
                path.write_bytes(b"new")
            return moved

        with ThreadPoolExecutor(4) as pool:
            assert sum(pool.map(replace, range(4))) == 1
        assert path.read_bytes() == b"new"
        path.unlink()


def test_the_moved_file_takes_its_log_along_and_leaves_the_new_one_its_own(tmp_path):
    """A reader of the old file is still open, and closes when the new one is in use."""
    path = tmp_path / "x.db"
    writer = open_database(path, [FIRST])
    writer.execute("INSERT INTO things VALUES ('old')")
    reader = connect(path, busy_timeout_s=1, read_only=True)
    assert reader.execute("SELECT * FROM things").fetchall() == [("old",)]
    writer.close()
    aside = set_aside(path, damaged=identity(path), now=0)
    assert aside is not None
    with closing(open_database(path, [FIRST])) as writer:
        writer.execute("INSERT INTO things VALUES ('new')")
        reader.close()
        with closing(connect(path, busy_timeout_s=1)) as other:
            assert other.execute("SELECT * FROM things").fetchall() == [("new",)]
    with closing(connect(aside, busy_timeout_s=1)) as other:
        assert other.execute("SELECT * FROM things").fetchall() == [("old",)]


def test_a_reader_cannot_write(tmp_path):
    path = tmp_path / "x.db"
    open_database(path, [FIRST]).close()
    with closing(connect(path, busy_timeout_s=1, read_only=True)) as db:
        assert db.execute("SELECT count(*) FROM things").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError):
            db.execute("INSERT INTO things VALUES ('a')")
