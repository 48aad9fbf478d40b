import errno
import sqlite3
from pathlib import Path

import pytest

from llmctl.core.sqlitefile import NETWORK_FILE_SYSTEMS, explain, file_system, is_corrupt

MOUNTS = r"""22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
31 22 0:40 / /home rw,relatime shared:1 master:2 - nfs4 server:/home rw,vers=4.2
32 31 0:41 / /home/ann/my\040disk rw - fuse.sshfs ann@host: rw
33 22 0:42 / /homely rw - xfs /dev/vdb rw
34 22 0:43 / /over rw - nfs server:/over rw
35 22 0:44 / /over rw - tmpfs tmpfs rw
broken line
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/cache/responses.db", "ext4"),
        ("/home/ann/.cache/responses.db", "nfs4"),
        ("/home", "nfs4"),
        ("/homely/responses.db", "xfs"),
        ("/home/ann/my disk/responses.db", "fuse.sshfs"),
        ("/over/responses.db", "tmpfs"),
    ],
)
def test_the_deepest_and_latest_mount_counts(path, kind):
    assert file_system(Path(path), MOUNTS) == kind


def test_no_mounts_no_answer():
    assert file_system(Path("/x"), "") == ""


def test_local_file_systems_are_not_taken_for_network_ones():
    local = {"ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "f2fs", "9p", "virtiofs"}
    assert not local & NETWORK_FILE_SYSTEMS


def sqlite_error(code: int, text: str = "text") -> sqlite3.Error:
    failure = sqlite3.OperationalError(text)
    failure.sqlite_errorcode = code
    return failure


@pytest.mark.parametrize(
    ("failure", "sentence"),
    [
        (sqlite_error(sqlite3.SQLITE_FULL), "no space is left for /c/x.db"),
        (sqlite_error(sqlite3.SQLITE_READONLY | (8 << 8)), "/c/x.db is read-only"),
        (sqlite_error(sqlite3.SQLITE_BUSY), "another process keeps /c/x.db locked"),
        (sqlite_error(sqlite3.SQLITE_NOTADB, "no database"), "/c/x.db is damaged (no database)"),
        (sqlite_error(sqlite3.SQLITE_IOERR, "disk I/O"), "/c/x.db cannot be used: disk I/O"),
        (OSError(errno.EACCES, "Permission denied"), "/c/x.db cannot be used: Permission denied"),
        (OSError("odd"), "/c/x.db cannot be used: odd"),
    ],
)
def test_failures_in_words(failure, sentence):
    assert explain(Path("/c/x.db"), failure) == sentence


def test_only_damage_is_damage():
    assert is_corrupt(sqlite_error(sqlite3.SQLITE_CORRUPT))
    assert is_corrupt(sqlite_error(sqlite3.SQLITE_CORRUPT | (2 << 8)))
    assert not is_corrupt(sqlite_error(sqlite3.SQLITE_FULL))
    assert not is_corrupt(OSError(sqlite3.SQLITE_CORRUPT, "same number, other meaning"))
