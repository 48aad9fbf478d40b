import os
import stat
from pathlib import Path

import pytest

from llmctl.core.paths import find_paths, make_private, write_private


def test_home_puts_everything_below_one_directory(tmp_path):
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    places = [paths.config, paths.data, paths.cache, paths.log, paths.state]
    assert all(place.parent == tmp_path for place in places)
    assert len(set(places)) == 5
    assert paths.config_file == tmp_path / "config" / "config.toml"
    assert paths.ledger_file == tmp_path / "state" / "ledger.db"


def test_home_may_be_relative_or_of_the_user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert find_paths({"LLMCTL_HOME": "here"}).data == tmp_path / "here" / "data"
    assert find_paths({"LLMCTL_HOME": "~/there"}).data == tmp_path / "me" / "there" / "data"


def test_without_it_the_platform_decides():
    paths = find_paths({})
    assert {"llmctl"} <= {part for place in (paths.config, paths.data) for part in place.parts}
    assert paths.config.is_relative_to(Path.home())


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_private_directories_under_any_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        make_private(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE(place.stat().st_mode) for place in (tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o700, 0o700]


def test_what_exists_keeps_its_mode(tmp_path):
    (tmp_path / "a").mkdir(mode=0o755)
    before = (tmp_path / "a").stat().st_mode
    make_private(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777], ids=oct)
def test_private_files_under_any_umask(tmp_path, umask):
    path = tmp_path / "a" / "file"
    before = os.umask(umask)
    try:
        write_private(path, b"one")
        write_private(path, b"two")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_a_private_file_that_cannot_be_written_leaves_nothing(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_private(tmp_path / "file", b"one")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
