"""``up`` on a machine of one's own: a real sshd, and a small Ollama installed from an archive."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from llmctl.config.schema import Config, OllamaConfig, WaitConfig
from llmctl.core.clock import SystemClock
from llmctl.core.errors import HostKeyChanged, NotFound
from llmctl.core.rental import Phase, ProviderName, Rental, Step, UpSpec
from llmctl.ops.rent.access import machine_logs, plan_trust, shell, trust
from llmctl.ops.rent.down import down, plan_down
from llmctl.ops.rent.models import check_model, list_models, pull_model, remove_model
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.prepare import logged_in
from llmctl.ops.rent.up import up
from llmctl.ops.rent.world import LOCAL, World
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.host import Host, reach
from llmctl.ssh.keys import Key
from llmctl.ssh.local import LocalRemote
from llmctl.state.store import RentalStore
from tests.emulators.ollama_server.archive import ArchiveServer, pack
from tests.integration.ssh.sshd import Sshd

MODEL = "qwen2.5-coder:7b"


class Own:
    """A machine that is not rented, and the record of it."""

    def __init__(self, home: Path, key: Key, archive: ArchiveServer, port: int) -> None:
        self.clock = SystemClock()
        self.store = RentalStore(home / "rentals.db", clock=self.clock)
        self.steps: list[Step] = []
        self.key = key
        self.port = port
        ollama = OllamaConfig(
            port=port,  # of its own: the usual one may be taken where tests run
            archive_url=archive.url,
            archive_sha256=archive.packed.sha256,
        )
        self.world = World(
            providers={},
            store=self.store,
            reach=self._reach,
            public_key=key.public_line,
            config=Config(ollama=ollama, wait=WaitConfig(ssh_s=20.0)),
            clock=self.clock,
            sleep=self._sleep,
            report=self.steps.append,
            start_script=lambda _rental, _offer, _deadline: "",
            guard_for=self._no_guard,
        )

    async def _reach(self, target: SshTarget) -> Host:
        if target.generation == LOCAL:
            return Host(LocalRemote(), port=target.engine_port)
        return await reach(target, self.key, self.store)

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.1))

    def _no_guard(self, _rental: Rental, _key: str | None):
        raise AssertionError("a machine of one's own has no deadline")

    def spec(self, sshd: Sshd | None, **changes) -> UpSpec:
        name = ProviderName.LOCAL if sshd is None else ProviderName.HOST
        usual = {
            "name": "mine",
            "providers": (name,),
            "host": sshd.address if sshd else None,
            "model": "qwen3-coder:30b",
        }
        return UpSpec(**(usual | changes))

    async def up(self, sshd: Sshd | None, **changes):
        spec = self.spec(sshd, **changes)
        plan = await plan_up(self.world, spec)
        return await up(self.world, plan, self.release)

    async def release(self, rental: Rental) -> None:
        async with logged_in(self.world, rental) as host:
            await host.stop_engine()


@pytest.fixture
def behave(machine: Path):
    def write(**settings: object) -> None:
        (machine / "ollama-emulator.json").write_text(json.dumps(settings))

    return write


@pytest.fixture
async def own(tmp_path: Path, key: Key, machine: Path, free_port: int) -> AsyncIterator[Own]:
    if not enough_room(machine):
        pytest.skip("less than 20 GB of disk: the machine would refuse the model")
    with ArchiveServer(pack("tgz", ballast=1000)) as archive:
        made = Own(tmp_path, key, archive, free_port)
        yield made
        made.store.close()


def enough_room(place: Path) -> bool:
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize > 20_000_000_000


@pytest.fixture
async def sshd(tmp_path: Path, key: Key, machine: Path) -> AsyncIterator[Sshd]:
    names = ("HOME", "LLMCTL_STATE_DIR", "LLMCTL_PREFIX", "PATH")
    environment = {name: os.environ[name] for name in names}
    with Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment) as made:
        yield made


def listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


async def test_up_twice_and_down(own: Own, sshd: Sshd):
    first = await own.up(sshd)
    assert first.rental.phase is Phase.READY
    assert first.tokens_per_s > 0
    assert first.own_seconds < 3
    pulls = [step for step in own.steps if step.name == "pull" and step.done_bytes]
    assert 0 < pulls[-1].done_bytes <= pulls[-1].total_bytes
    again = await own.up(sshd)
    assert again.rental.uuid == first.rental.uuid
    assert any("was there already" in step.text for step in own.steps)
    assert listens(own.port)
    await down(own.world, plan_down(own.store, ["mine"]), own.release)
    assert not listens(own.port)
    assert own.store.by_name("mine") is None


async def test_this_machine_without_ssh(own: Own):
    result = await own.up(None)
    assert result.rental.phase is Phase.READY
    assert listens(own.port)
    await down(own.world, plan_down(own.store, ["mine"]), own.release)
    assert not listens(own.port)


async def test_a_failed_pull_is_taken_up(own: Own, sshd: Sshd, behave):
    with pytest.raises(NotFound, match="no-such-model"):
        await own.up(sshd, model="no-such-model", disk_gb=10, keep=True)
    assert own.store.by_name("mine").phase is Phase.INSTALLED
    result = await own.up(sshd, model=MODEL)
    assert result.rental.phase is Phase.READY
    assert result.rental.model == MODEL


async def test_models(own: Own, sshd: Sshd):
    made = (await own.up(sshd)).rental
    await pull_model(own.world, made, MODEL)
    assert [each.name for each in await list_models(own.world, made)] == [MODEL, "qwen3-coder:30b"]
    assert (await check_model(own.world, made, MODEL)).warmed.text
    await remove_model(own.world, made, MODEL)
    assert [each.name for each in await list_models(own.world, made)] == ["qwen3-coder:30b"]
    assert any("/api/pull" in line for line in await machine_logs(own.world, made, lines=100))


async def test_a_shell_by_the_systems_own_ssh(own: Own, sshd: Sshd, tmp_path: Path):
    made = (await own.up(sshd)).rental
    files = {"key_file": tmp_path / "keys/id_ed25519", "known_hosts_file": tmp_path / "known hosts"}
    pinned = own.store.pinned(made.uuid, made.generation)
    opened = shell(made, pinned, command=["echo", "it works"], **files)
    files["known_hosts_file"].write_text(opened.known_hosts)
    ran = subprocess.run(opened.argv, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.stdout, ran.returncode) == ("it works\n", 0), ran.stderr
    sshd.new_host_key()
    sshd.restart()
    ran = subprocess.run(opened.argv, capture_output=True, text=True, timeout=30, check=False)
    assert ran.returncode == 255
    assert "HOST IDENTIFICATION HAS CHANGED" in ran.stderr


async def test_a_changed_host_key_is_trusted_only_when_told(own: Own, sshd: Sshd):
    made = (await own.up(sshd)).rental
    sshd.new_host_key()
    sshd.restart()
    with pytest.raises(HostKeyChanged):
        await list_models(own.world, made)
    plan = await plan_trust(own.world, made)
    assert plan.changed
    assert plan.key == sshd.host_key_line()
    with pytest.raises(HostKeyChanged):
        await list_models(own.world, made)
    trust(own.world, plan)
    assert await list_models(own.world, made)


async def test_a_link_that_breaks_while_pulling(own: Own, sshd: Sshd, behave):
    behave(rate=2_000_000_000)
    cut: list[float] = []
    report = own.world.pass_on

    def cut_once(step: Step) -> None:
        report(step)
        if step.name == "pull" and step.done_bytes and not cut:
            cut.append(time.monotonic())
            sshd.kill_sessions()

    own.world.pass_on = cut_once
    result = await own.up(sshd)
    assert cut
    assert result.rental.phase is Phase.READY
