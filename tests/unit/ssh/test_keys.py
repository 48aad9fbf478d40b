from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmctl.core.errors import AuthError
from llmctl.ssh.keys import load_or_make_key


def test_key_is_made_once_whoever_asks(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_make_key(tmp_path / "ssh"), range(16)))
    assert len({key.public_line for key in keys}) == 1
    path = tmp_path / "ssh" / "id_ed25519"
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_names_are_keys_of_their_own(tmp_path: Path) -> None:
    one, other = load_or_make_key(tmp_path), load_or_make_key(tmp_path, "tunnel_ed25519")
    assert one.public_line != other.public_line
    kind, _, comment = one.public_line.split()
    assert kind == "ssh-ed25519"
    assert comment.startswith("llmctl-")


def test_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_or_make_key(tmp_path)
    (tmp_path / "id_ed25519").chmod(0o640)
    with pytest.raises(AuthError, match="open to other users") as caught:
        load_or_make_key(tmp_path)
    assert caught.value.hint == f"chmod 600 {tmp_path / 'id_ed25519'}"


def test_file_that_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nnonsense\n")
    path.chmod(0o600)
    with pytest.raises(AuthError, match="holds no Ed25519 key"):
        load_or_make_key(tmp_path)


def test_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AuthError, match="cannot keep the SSH key in .*id_ed25519"):
        load_or_make_key(tmp_path / "file")


def test_private_part_does_not_show(tmp_path: Path) -> None:
    key = load_or_make_key(tmp_path)
    body = (tmp_path / "id_ed25519").read_text().splitlines()[3]
    assert body not in f"{key!r} {key.private!r}"
