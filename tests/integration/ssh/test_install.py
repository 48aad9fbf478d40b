"""Installing Ollama from an archive, on a machine and on this one, with whatever goes wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llmctl.core.errors import ConfigError, RemoteFailed
from llmctl.core.rental import Step, StepState
from llmctl.ssh.host import Host
from llmctl.ssh.install import OllamaInstall
from llmctl.ssh.local import LocalRemote
from tests.emulators.ollama_server.archive import ArchiveServer, Packed, pack


def wanted(server: ArchiveServer, **changes: object) -> OllamaInstall:
    values = {"version": "0.33.0", "url": server.url, "sha256": server.packed.sha256}
    return OllamaInstall(**values | changes)


@pytest.fixture
def local(machine: Path) -> Host:
    return Host(LocalRemote())


@pytest.fixture
def packed() -> Packed:
    return pack("tgz")


def binary(machine: Path) -> Path:
    return machine / ".local" / "bin" / "ollama"


@pytest.mark.parametrize("kind", ["tar.zst", "tgz"])
async def test_installs_and_says_how_far_it_is(host: Host, machine: Path, kind: str) -> None:
    steps: list[Step] = []
    with ArchiveServer(pack(kind)) as server:
        assert await host.install(wanted(server), steps.append) == "0.33.0"
        size = len(server.packed.content)
    assert os.access(binary(machine), os.X_OK)
    assert (machine / ".local/lib/ollama/ballast.bin").exists()
    assert (steps[0].state, steps[-1].state) == (StepState.BEGIN, StepState.DONE)
    assert [(step.done_bytes, step.total_bytes) for step in steps if step.done_bytes][-1] == (
        size,
        size,
    )
    left = {path.name for path in (machine / ".llmctl").iterdir()}
    assert left == {"ollama.bin", "ollama.sha256"}
    assert not (machine / ".local/.llmctl-ollama").exists()


async def test_second_run_asks_for_nothing(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        await local.install(wanted(server), print)
        server.requests.clear()
        assert await local.install(wanted(server), print) == "0.33.0"
        assert server.requests == []


async def test_same_archive_of_another_version_is_not_taken_twice(local: Host) -> None:
    with ArchiveServer(pack("tgz", version="0.40.1")) as server:
        assert await local.install(wanted(server), print) == "0.40.1"
        server.requests.clear()
        assert await local.install(wanted(server), print) == "0.40.1"
        assert server.requests == []


async def test_broken_installation_is_replaced(local: Host, packed: Packed, machine: Path) -> None:
    with ArchiveServer(packed) as server:
        await local.install(wanted(server), print)
        binary(machine).write_text("#!/bin/sh\nexit 1\n")
        assert await local.install(wanted(server), print) == "0.33.0"
        assert len(server.downloads) == 2


async def test_other_version_replaces_the_old_one(local: Host, machine: Path) -> None:
    with ArchiveServer(pack("tgz", version="0.20.0")) as old:
        await local.install(wanted(old, version="0.20.0"), print)
    stale = machine / ".local/lib/ollama/stale.so"
    stale.touch()
    with ArchiveServer(pack("tgz")) as new:
        assert await local.install(wanted(new), print) == "0.33.0"
    assert not stale.exists()


async def test_wrong_checksum_installs_nothing(host: Host, packed: Packed, machine: Path) -> None:
    with ArchiveServer(packed) as server:
        with pytest.raises(RemoteFailed) as caught:
            await host.install(wanted(server, sha256="0" * 64), print)
    assert packed.sha256 in caught.value.message
    assert "expected " + "0" * 64 in caught.value.message
    assert not binary(machine).exists()
    assert not (machine / ".llmctl/ollama.part").exists()


async def test_goes_on_after_a_break(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        server.cuts = [50_000, 60_000]
        assert await local.install(wanted(server), print) == "0.33.0"
        assert server.downloads == [None, "bytes=50000-", "bytes=110000-"]


async def test_begins_anew_where_the_server_cannot_go_on(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        server.cuts, server.ranges = [50_000], False
        assert await local.install(wanted(server), print) == "0.33.0"


async def test_part_of_another_archive_is_thrown_away(
    local: Host, packed: Packed, machine: Path
) -> None:
    (machine / ".llmctl").mkdir()
    (machine / ".llmctl/ollama.part").write_bytes(b"x" * 1000)
    with ArchiveServer(packed) as server:
        assert await local.install(wanted(server), print) == "0.33.0"
        assert server.downloads == ["bytes=1000-", None]


async def test_archive_that_is_not_there(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        server.status = 404
        with pytest.raises(RemoteFailed, match=r"cannot download .*404"):
            await local.install(wanted(server), print)


async def test_no_room(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        server.claimed = 1 << 50
        with pytest.raises(RemoteFailed, match=r"the disk is full: .* MiB free, Ollama needs"):
            await local.install(wanted(server), print)
        assert server.downloads == []


@pytest.mark.skipif(os.getuid() != 0, reason="a small file system needs root to be mounted")
async def test_disk_that_fills_up(local: Host, machine: Path) -> None:
    small = machine / ".llmctl"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    try:
        with ArchiveServer(pack("tgz", ballast=600_000)) as server:
            server.claimed = 1000
            with pytest.raises(RemoteFailed, match="the disk is full"):
                await local.install(wanted(server), print)
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


async def test_program_that_does_not_run(local: Host, machine: Path) -> None:
    with ArchiveServer(pack("tgz", broken=True)) as server:
        with pytest.raises(RemoteFailed, match="does not run on this machine"):
            await local.install(wanted(server), print)
    assert not binary(machine).exists()


async def test_neither_kind_of_archive(local: Host) -> None:
    with ArchiveServer(Packed("ollama.zip", b"PK\3\4" + b"0" * 100)) as server:
        with pytest.raises(RemoteFailed, match=r"neither \.tar\.zst nor \.tgz"):
            await local.install(wanted(server), print)


async def test_old_version_is_refused_before_anything_is_asked(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        with pytest.raises(ConfigError, match="CVE-2026-7482"):
            await local.install(wanted(server, version="0.17.0"), print)
        assert server.requests == []


async def test_old_version_in_the_archive_is_refused(local: Host) -> None:
    with ArchiveServer(pack("tgz", version="0.12.0")) as server:
        with pytest.raises(RemoteFailed, match=r"is 0\.12\.0"):
            await local.install(wanted(server), print)


async def test_without_a_checksum_nothing_is_asked(local: Host, packed: Packed) -> None:
    with ArchiveServer(packed) as server:
        with pytest.raises(ConfigError, match="no SHA-256 is known for Ollama 0.25.0"):
            await local.install(wanted(server, version="0.25.0", sha256=None), print)
        assert server.requests == []


@pytest.mark.parametrize("tool", ["curl", "wget", "python3"])
async def test_any_one_downloader_will_do(
    local: Host, packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    names = (
        "sh cat chmod cmp cut date df env grep gzip head id kill mkdir mv od rm sed sha256sum sleep "
        "tail tar tr uname wc"
    )
    directory = tmp_path / "bin"
    directory.mkdir()
    for name in (*names.split(), tool):
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        (directory / name).symlink_to(Path(found).resolve())
    monkeypatch.setenv("PATH", str(directory))
    with ArchiveServer(packed) as server:
        server.cuts = [50_000]
        got = await Host(LocalRemote()).install(wanted(server), print)
    assert got == "0.33.0"


async def test_running_engine_is_stopped_before_it_is_replaced(
    local: Host, machine: Path, free_port: int
) -> None:
    from llmctl.ssh.engine import EngineSettings

    with ArchiveServer(pack("tgz", version="0.20.0")) as old:
        await local.install(wanted(old, version="0.20.0"), print)
    await local.serve(EngineSettings(port=free_port))
    with ArchiveServer(pack("tgz")) as new:
        await local.install(wanted(new), print)
    with pytest.raises(RemoteFailed, match="nothing listens"):
        await local.remote.http(free_port, "GET", "/", timeout_s=5)
