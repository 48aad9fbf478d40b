"""The engine of a machine: served, pulled, warmed, asked; with whatever goes wrong."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from llmctl.core.errors import DeadlineExceeded, NotFound, RemoteFailed, SshError
from llmctl.core.rental import ProviderName, Step, StepState
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.engine import EngineSettings
from llmctl.ssh.host import Host, reach
from llmctl.ssh.install import OllamaInstall
from llmctl.ssh.keys import Key
from llmctl.ssh.local import LocalRemote
from llmctl.ssh.watchdog import Guard
from tests.emulators.ollama_server.archive import ArchiveServer, pack
from tests.integration.eventually import eventually
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.sshd import Sshd
from tests.streams import listening


def behave(machine: Path, **settings: object) -> None:
    (machine / "ollama-emulator.json").write_text(json.dumps(settings))


async def install(host: Host) -> None:
    with ArchiveServer(pack("tgz", ballast=1000)) as server:
        wanted = OllamaInstall(version="0.33.0", url=server.url, sha256=server.packed.sha256)
        await host.install(wanted, lambda _: None)


@pytest.fixture
def local(machine: Path) -> Host:
    return Host(LocalRemote())


@pytest.fixture
async def served(local: Host, free_port: int) -> Host:
    await install(local)
    await local.serve(EngineSettings(port=free_port))
    return local


def engine_pid(machine: Path) -> int:
    return int((machine / ".llmctl/ollama.pid").read_text())


def runs(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def engine_environment(machine: Path) -> dict[str, str]:
    raw = Path(f"/proc/{engine_pid(machine)}/environ").read_text()
    return dict(pair.split("=", 1) for pair in raw.split("\0") if "=" in pair)


async def test_from_nothing_to_a_model_that_answers(
    host: Host, machine: Path, free_port: int
) -> None:
    facts = await host.facts()
    assert facts.ram_mib > 0
    assert facts.disk_free_bytes > 0
    assert facts.is_root == (os.getuid() == 0)
    await install(host)
    await host.serve(EngineSettings(port=free_port, num_ctx=8192, kv_cache_type="q8_0"))
    steps: list[Step] = []
    pulled = await host.pull("qwen3-coder", steps.append)
    assert (pulled.name, pulled.bytes) == ("qwen3-coder:latest", 18_556_701_140)
    sizes = [step.done_bytes for step in steps if step.done_bytes is not None]
    assert sizes == sorted(sizes)
    assert sizes[-1] == steps[-1].total_bytes == 18_556_701_140
    assert steps[-1].state is StepState.DONE
    warmed = await host.warm("qwen3-coder", 8192)
    assert warmed.all_on_gpu
    assert warmed.context_length == 8192
    assert warmed.tokens_per_s == pytest.approx(120)
    assert warmed.text == "Hello from the emulated engine."
    assert [model.name for model in await host.models()] == ["qwen3-coder:latest"]
    await host.remove("qwen3-coder")
    assert await host.models() == []
    assert any('"/api/pull"' in line for line in await host.logs(50))
    await host.stop_engine()
    with pytest.raises(RemoteFailed):
        await host.models()


async def test_engine_gets_its_settings_and_outlives_the_login(
    tmp_path: Path, machine: Path, key: Key, pins: Pins, free_port: int
) -> None:
    names = ("HOME", "LLMCTL_STATE_DIR", "LLMCTL_PREFIX", "PATH")
    environment = {name: os.environ[name] for name in names}
    with Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment) as sshd:
        target = SshTarget(instance="i", generation="", addresses=(sshd.address,))
        host = await reach(target, key, pins)
        await install(host)
        settings = EngineSettings(port=free_port, num_ctx=65536, kv_cache_type="q8_0", parallel=2)
        await host.serve(settings)
        sshd.kill_sessions()
        await host.close()
        again = await reach(target, key, pins)
        pid = engine_pid(machine)
        await again.serve(settings)
        assert engine_pid(machine) == pid
        await again.close()
    variables = engine_environment(machine)
    assert variables["OLLAMA_HOST"] == f"127.0.0.1:{free_port}"
    assert variables["OLLAMA_CONTEXT_LENGTH"] == "65536"
    assert variables["OLLAMA_KV_CACHE_TYPE"] == "q8_0"
    assert variables["OLLAMA_FLASH_ATTENTION"] == "1"
    assert variables["OLLAMA_NUM_PARALLEL"] == "2"
    assert variables["OLLAMA_KEEP_ALIVE"] == "-1"
    assert variables["HOME"] == str(machine)
    if not Path("/workspace").is_dir():
        assert variables["OLLAMA_MODELS"] == f"{machine}/.ollama/models"


async def test_other_settings_restart_it(served: Host, machine: Path, free_port: int) -> None:
    first = engine_pid(machine)
    await served.serve(EngineSettings(port=free_port, num_ctx=4096))
    assert engine_pid(machine) != first
    assert not runs(first)
    assert engine_environment(machine)["OLLAMA_CONTEXT_LENGTH"] == "4096"


async def test_crashed_engine_is_started_again(served: Host, machine: Path, free_port: int) -> None:
    os.kill(engine_pid(machine), 9)
    await served.serve(EngineSettings(port=free_port))
    assert await served.models() == []


async def test_nothing_installed(local: Host, free_port: int, tmp_path, monkeypatch) -> None:
    with pytest.raises(RemoteFailed, match="cannot start Ollama on this machine: Ollama is not"):
        await local.serve(EngineSettings(port=free_port))


async def test_port_of_somebody_else(local: Host, free_port: int) -> None:
    await install(local)

    async def say_nothing(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(say_nothing, port=free_port):
        with pytest.raises(RemoteFailed, match=f"port {free_port} is taken") as caught:
            await local.serve(EngineSettings(port=free_port))
    assert caught.value.hint is not None


async def test_engine_that_ends_tells_its_last_words(
    local: Host, machine: Path, free_port: int
) -> None:
    await install(local)
    binary = machine / ".local/bin/ollama"
    binary.write_text("#!/bin/sh\necho 'no such GPU' >&2\nexit 1\n")
    with pytest.raises(RemoteFailed, match="Ollama ended on this machine:\nno such GPU"):
        await local.serve(EngineSettings(port=free_port))


async def test_engine_open_to_everybody_is_refused(
    local: Host, machine: Path, free_port: int
) -> None:
    await install(local)
    behave(machine, listen="0.0.0.0")
    with pytest.raises(RemoteFailed, match=r"listens on 0\.0\.0\.0, not only on 127\.0\.0\.1"):
        await local.serve(EngineSettings(port=free_port))


async def test_pull_goes_on_after_breaks(served: Host, machine: Path) -> None:
    behave(machine, break_at=0.5, breaks=2)
    steps: list[Step] = []
    pulled = await served.pull("qwen3-coder:30b", steps.append)
    assert pulled.name == "qwen3-coder:30b"
    warnings = [step for step in steps if step.state is StepState.WARNING]
    assert len(warnings) == 2
    after = steps[steps.index(warnings[-1]) + 1 :]
    assert min(step.done_bytes for step in after) >= 0.5 * 18_556_701_140


async def test_pull_goes_on_after_the_login_broke(
    tmp_path: Path, machine: Path, key: Key, pins: Pins, free_port: int
) -> None:
    names = ("HOME", "LLMCTL_STATE_DIR", "LLMCTL_PREFIX", "PATH")
    environment = {name: os.environ[name] for name in names}
    with Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment) as sshd:
        target = SshTarget(instance="i", generation="", addresses=(sshd.address,))
        host = await reach(target, key, pins)
        await install(host)
        await host.serve(EngineSettings(port=free_port))
        behave(machine, pull_s=2)

        def cut(step: Step) -> None:
            if step.done_bytes:
                sshd.kill_sessions()

        with pytest.raises(SshError):
            await host.pull("tiny", cut)
        await host.close()
        again = await reach(target, key, pins)
        again.port = free_port
        assert (await again.pull("tiny", lambda _: None)).name == "tiny:latest"
        await again.close()


async def test_pulled_model_is_not_asked_for_again(served: Host) -> None:
    await served.pull("tiny", lambda _: None)
    steps: list[Step] = []
    await served.pull("tiny:latest", steps.append)
    assert [step.text for step in steps] == ["tiny:latest is there already"]
    pulls = [line for line in await served.logs(100) if '"/api/pull"' in line]
    assert len(pulls) == 1


async def test_unknown_model(served: Host) -> None:
    with pytest.raises(NotFound, match="there is no model nope in Ollama's library"):
        await served.pull("nope", lambda _: None)


async def test_full_disk(served: Host, machine: Path) -> None:
    behave(machine, disk_full=True)
    with pytest.raises(RemoteFailed, match="the disk of this machine is full: tiny does not fit"):
        await served.pull("tiny", lambda _: None)


async def test_pull_that_stands_still(served: Host, machine: Path, free_port: int) -> None:
    behave(machine, stall_at=0.5)
    patient = Host(LocalRemote(), port=free_port, pull_still_s=0.5)
    with pytest.raises(DeadlineExceeded, match=r"no byte of tiny arrived .* for 0\.5 s"):
        await patient.pull("tiny", lambda _: None)
    behave(machine)
    assert (await patient.pull("tiny", lambda _: None)).name == "tiny:latest"


async def test_model_that_spills_to_the_cpu(served: Host, machine: Path) -> None:
    await served.pull("tiny", lambda _: None)
    behave(machine, vram=0.5)
    warmed = await served.warm("tiny", 4096)
    assert not warmed.all_on_gpu
    assert warmed.vram_bytes * 2 == pytest.approx(warmed.size_bytes, rel=0.01)


async def test_load_failure_and_unknown_model(served: Host, machine: Path) -> None:
    await served.pull("tiny", lambda _: None)
    behave(machine, load_error="llama-server process has terminated: cudaMalloc failed")
    with pytest.raises(RemoteFailed, match="cudaMalloc failed"):
        await served.warm("tiny", None)
    with pytest.raises(NotFound, match="model 'nope' not found"):
        await served.warm("nope", None)
    with pytest.raises(NotFound):
        await served.remove("nope")


async def test_requests_to_the_engine_keep_the_machine_alive(
    served: Host, machine: Path, free_port: int
) -> None:
    import time

    guard = Guard(
        provider=ProviderName.LOCAL,
        instance_id="",
        api_url="",
        deadline=time.time() + 3600,
        idle_s=5,
    )
    await served.pull("tiny", lambda _: None)
    pid = engine_pid(machine)
    await served.arm(guard)
    begin = time.time()
    while time.time() < begin + 11:
        await served.warm("tiny", None)
        await asyncio.sleep(0.5)
    assert runs(pid)
    await eventually(lambda: not runs(pid))
    assert await served.armed() is None
