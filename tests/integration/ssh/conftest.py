"""A key, a store of pins, and a running sshd that lets the key in."""

import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from llmctl.ssh.connect import SshTarget
from llmctl.ssh.host import Host, reach
from llmctl.ssh.keys import Key, load_or_make_key
from llmctl.ssh.local import LocalRemote
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.sshd import Sshd


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return load_or_make_key(tmp_path / "keys")


@pytest.fixture
def pins() -> Pins:
    return Pins()


@pytest.fixture
def sshd(tmp_path: Path, key: Key) -> Iterator[Sshd]:
    with Sshd(tmp_path / "sshd", authorized=[key.public_line]) as running:
        yield running


@pytest.fixture
def target(sshd: Sshd) -> SshTarget:
    return SshTarget(instance="uuid", generation="1", addresses=(sshd.address,), name="box")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home directory that both kinds of machine have in these tests, with room for Ollama.

    What runs there afterwards is ended, however the test went.
    """
    home = tmp_path / "machine"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("LLMCTL_STATE_DIR", str(home / ".llmctl"))
    monkeypatch.setenv("LLMCTL_PREFIX", str(home / ".local"))
    yield home
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(home).encode() in command.read_bytes():
                os.kill(int(command.parent.name), signal.SIGKILL)


@pytest.fixture(params=["ssh", "local"])
async def host(
    request: pytest.FixtureRequest, machine: Path, tmp_path: Path, key: Key, pins: Pins
) -> AsyncIterator[Host]:
    if request.param == "local":
        yield Host(LocalRemote())
        return
    names = ("HOME", "LLMCTL_STATE_DIR", "LLMCTL_PREFIX", "PATH")
    environment = {name: os.environ[name] for name in names}
    with Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment) as sshd:
        target = SshTarget(instance="i", generation="", addresses=(sshd.address,))
        reached = await reach(target, key, pins)
        yield reached
        await reached.close()


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
