"""SQLite files of our own: private to the user, in WAL mode, with a schema version.

WAL with synchronous=NORMAL survives the death of any process that writes. A power cut may lose the
last commits, but damages nothing (https://sqlite.org/wal.html).
"""

import errno
import fcntl
import os
import re
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

Migration = tuple[str, ...]
"""Statements that lead from one schema version to the next."""

FileId = tuple[int, int]
"""Device and inode."""

NETWORK_FILE_SYSTEMS = frozenset(
    {
        "afs", "beegfs", "ceph", "cifs", "davfs", "fuse.ceph", "fuse.glusterfs", "fuse.rclone",
        "fuse.s3fs", "fuse.sshfs", "gfs2", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4",
        "ocfs2", "smb3", "smbfs",
    }
)  # fmt: skip
OCTAL = re.compile(r"\\([0-7]{3})")
"""How the kernel writes blanks in paths."""
MOUNTS = Path("/proc/self/mountinfo")
WAL_PAUSE_S = 0.01


def open_database(
    path: Path,
    migrations: Sequence[Migration],
    *,
    busy_timeout_s: float = 0.25,
    patience_s: float = 5.0,
    mounts: Path = MOUNTS,
) -> sqlite3.Connection:
    """Open the file for writing, created with mode 0600 if it is missing, and migrate it.

    Blocks. Several processes may do this at once. Raises OSError or sqlite3.Error; ``explain``
    turns either into a sentence, ``is_corrupt`` tells whether the file itself is damaged. A file
    system that ``mounts`` shows to be a network one is refused. ``busy_timeout_s`` is how long
    later statements wait for other processes, ``patience_s`` how long opening does.
    """
    _refuse_network_file_system(path, mounts)
    _create_private(path)
    connection = connect(path, busy_timeout_s=patience_s)
    try:
        # before the first table, and before WAL writes the header: it cannot be changed later
        connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
        _enter_wal(connection, patience_s)
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA journal_size_limit={16 * 1024 * 1024}")
        migrate(connection, migrations)
        _set_busy_timeout(connection, busy_timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def connect(path: Path, *, busy_timeout_s: float, read_only: bool = False) -> sqlite3.Connection:
    """Open an existing file in autocommit mode; raises sqlite3.Error.

    The connection may move between threads, but only one may use it at a time.
    """
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        _set_busy_timeout(connection, busy_timeout_s)
        if read_only:
            # not mode=ro: that cannot read a WAL file which nobody else has open
            connection.execute("PRAGMA query_only=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Lead an open file from the version it has to the last; raises sqlite3.Error.

    All of it or nothing, also where several processes do it at once.
    """
    version, known = _version(connection), len(migrations)
    if version == known:
        return
    if version > known:
        raise sqlite3.DatabaseError(
            f"a newer llmctl wrote it (schema {version}, this one knows {known})"
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        # read again under the lock: another process may have been faster
        version = _version(connection)
        for number, migration in enumerate(migrations[version:], version + 1):
            for statement in migration:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version={number}")
        connection.execute("COMMIT")
    except BaseException:
        # a full disk has already rolled it back
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def identity(path: Path) -> FileId | None:
    """Return what stays the same while ``path`` names the same file; None when it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def set_aside(path: Path, *, damaged: FileId | None, now: float) -> Path | None:
    """Rename a damaged file and its write-ahead log to ``NAME.corrupt-<UTC time>``.

    Returns None and changes nothing when ``path`` no longer names the file that was seen to be
    damaged: another process was faster. Raises OSError.
    """
    with _locked(path.parent):
        if damaged is None or identity(path) != damaged:
            return None
        aside = _free_name(path, now)
        # the log first: once the name is free, others may begin a file and a log under it
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                Path(f"{path}{suffix}").rename(f"{aside}{suffix}")
        path.rename(aside)
    return aside


def is_corrupt(failure: BaseException) -> bool:
    """Tell whether SQLite says that the file's content is damaged, or no database at all."""
    return _code(failure) in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def explain(path: Path, failure: OSError | sqlite3.Error) -> str:
    """Say in one clause what the failure means for ``path``."""
    match _code(failure):
        case sqlite3.SQLITE_FULL:
            return f"no space is left for {path}"
        case sqlite3.SQLITE_READONLY:
            return f"{path} is read-only"
        case sqlite3.SQLITE_BUSY:
            return f"another process keeps {path} locked"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"{path} is damaged ({failure})"
    reason = failure.strerror if isinstance(failure, OSError) else None
    return f"{path} cannot be used: {reason or failure}"


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system ``path`` is on, from the text of ``mountinfo``.

    Empty when no line fits (format: ``man 5 proc_pid_mountinfo``).
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        columns = fields.split(" ")
        if len(columns) < 5 or not rest:
            continue
        mount = Path(OCTAL.sub(lambda found: chr(int(found[1], 8)), columns[4]))
        depth = len(mount.parts)
        # of two mounts on one place the later hides the earlier
        if depth >= best and path.is_relative_to(mount):
            best, kind = depth, rest.split(" ", 1)[0]
    return kind


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other processes of ours from moving files of the directory."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _free_name(path: Path, now: float) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    aside = path.with_name(f"{path.name}.corrupt-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.corrupt-{stamp}-{number}")
    return aside


def _refuse_network_file_system(path: Path, mounts: Path) -> None:
    try:
        lines = mounts.read_text(errors="replace")
    except OSError:
        return  # not Linux: nothing to go by
    kind = file_system(Path(os.path.realpath(path)), lines)
    if kind in NETWORK_FILE_SYSTEMS:
        reason = f"{kind} is a network file system, on which SQLite's write-ahead log is not safe"
        raise OSError(errno.ENOTSUP, reason)


def _create_private(path: Path) -> None:
    _make_directory(path.parent)
    # O_EXCL: closing a second descriptor of a database that is open would drop its locks
    # (https://sqlite.org/howtocorrupt.html, 2.2)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        mode = path.stat().st_mode
        if mode & 0o077:
            path.chmod(mode & 0o700)


def _make_directory(path: Path) -> None:
    if path.is_dir():
        return
    _make_directory(path.parent)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)


def _enter_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    mode = ""
    while not mode:
        try:
            (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        except sqlite3.OperationalError as failure:
            # the busy timeout does not cover this switch when two processes make it at once
            if _code(failure) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(WAL_PAUSE_S)
    if mode != "wal":
        raise sqlite3.OperationalError("its file system cannot hold a write-ahead log")


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _set_busy_timeout(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")


def _code(failure: BaseException) -> int | None:
    """Return SQLite's primary result code; the extended ones keep it in the low byte."""
    code: int | None = getattr(failure, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF
