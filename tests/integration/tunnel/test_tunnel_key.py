"""The restricted key: what is written where, by the script as a machine's shell runs it."""

import asyncio
import stat
import subprocess
from pathlib import Path

import pytest

from llmctl.core.errors import SshError
from llmctl.ssh.keys import load_or_make_key
from llmctl.ssh.remote import Ran
from llmctl.ssh.tunnel_key import authorized_line, install_tunnel_key, remove_tunnel_key

LINE = "ssh-ed25519 AAAAC3NzaTestKey llmctl-box"
OTHERS = "ssh-ed25519 AAAAother admin@box\n# a note\n"


class Shell:
    """A login whose home is a directory here."""

    where = "root@box:22"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.keys = home / ".ssh" / "authorized_keys"

    async def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *("sh", "-c", script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"HOME": str(self.home), "PATH": "/usr/bin:/bin"},
        )
        out, err = await process.communicate(stdin)
        return Ran(status=process.returncode, stdout=out.decode(), stderr=err.decode())


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


async def test_it_is_added_once_and_other_lines_stay(shell: Shell) -> None:
    shell.keys.parent.mkdir()
    shell.keys.write_text(OTHERS.rstrip("\n"))
    assert await install_tunnel_key(shell, LINE, 11434)
    written = shell.keys.read_text()
    assert written == OTHERS + authorized_line(LINE, 11434) + "\n"
    assert not await install_tunnel_key(shell, LINE, 11434)
    assert shell.keys.read_text() == written
    assert [each.name for each in shell.keys.parent.iterdir()] == ["authorized_keys"]


async def test_a_line_with_other_rights_is_replaced(shell: Shell) -> None:
    shell.keys.parent.mkdir()
    shell.keys.write_text(f"{LINE}\n{OTHERS}{authorized_line(LINE, 1)}\n")
    assert await install_tunnel_key(shell, LINE, 11434)
    assert shell.keys.read_text() == OTHERS + authorized_line(LINE, 11434) + "\n"


async def test_where_there_is_no_file_it_is_made_for_the_owner_alone(shell: Shell) -> None:
    await install_tunnel_key(shell, LINE, 11434)
    assert stat.S_IMODE(shell.keys.stat().st_mode) == 0o600
    assert stat.S_IMODE(shell.keys.parent.stat().st_mode) == 0o700


async def test_a_link_stays_one(shell: Shell, tmp_path: Path) -> None:
    real = tmp_path / "elsewhere"
    real.write_text(OTHERS)
    shell.keys.parent.mkdir()
    shell.keys.symlink_to(real)
    await install_tunnel_key(shell, LINE, 11434)
    assert shell.keys.is_symlink()
    assert real.read_text() == OTHERS + authorized_line(LINE, 11434) + "\n"


async def test_it_is_removed_alone(shell: Shell) -> None:
    await remove_tunnel_key(shell, LINE)
    shell.keys.parent.mkdir()
    shell.keys.write_text(OTHERS)
    await install_tunnel_key(shell, LINE, 11434)
    await remove_tunnel_key(shell, LINE)
    assert shell.keys.read_text() == OTHERS


async def test_what_the_shell_says_is_in_the_error(shell: Shell) -> None:
    shell.keys.mkdir(parents=True)
    with pytest.raises(SshError, match=r"tunnel's key on root@box:22: .*authorized_keys"):
        await install_tunnel_key(shell, LINE, 11434)


def test_the_line_allows_one_port_and_one_harmless_command(tmp_path: Path) -> None:
    key = load_or_make_key(tmp_path, "tunnel_ed25519")
    line = authorized_line(key.public_line, 11434)
    limits = 'restrict,port-forwarding,permitopen="127.0.0.1:11434",command="true"'
    assert line == f"{limits} {' '.join(key.public_line.split()[:2])} llmctl-tunnel"
