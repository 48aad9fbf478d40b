import io
import os
import sys

import pytest

from llmctl.core.paths import find_paths
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor import machine

HUGE = 10**18


@pytest.fixture
def paths(tmp_path):
    return find_paths({"LLMCTL_HOME": str(tmp_path / "home")})


def script(directory, name, *lines):
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return {"PATH": f"{directory}:/usr/bin:/bin"}


def test_the_interpreter():
    found = machine.python_finding()
    assert found.state is CheckState.OK
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in found.detail


class TestDisk:
    def test_one_line_for_one_disk(self, paths):
        (found,) = machine.disk_findings(paths, cache_bytes=0)
        assert (found.state, found.fix) == (CheckState.OK, "")
        assert found.detail.endswith(f"GB are free for {paths.state}")

    def test_a_cache_that_may_outgrow_it(self, paths):
        (found,) = machine.disk_findings(paths, cache_bytes=HUGE)
        assert (found.state, found.fix) == (
            CheckState.NOTE,
            "llmctl config set cache.max_bytes 256MiB",
        )

    def test_hardly_any_room(self, paths):
        (found,) = machine.disk_findings(paths, cache_bytes=0, least_bytes=HUGE)
        assert found.state is CheckState.BAD
        assert found.fix.startswith("df -h /")


class TestDirectories:
    def test_none_yet(self, paths):
        (found,) = machine.directory_findings(paths)
        assert (found.state, found.detail) == (
            CheckState.OK,
            f"none yet; they will be below {paths.data}",
        )

    def test_ours_alone(self, paths):
        paths.data.mkdir(parents=True, mode=0o700)
        (found,) = machine.directory_findings(paths)
        assert (found.state, found.detail) == (CheckState.OK, str(paths.data))

    def test_others_may_write(self, paths):
        paths.data.mkdir(parents=True)
        paths.data.chmod(0o777)
        (found,) = machine.directory_findings(paths)
        assert (found.state, found.fix) == (CheckState.BAD, f"chmod 700 {paths.data}")

    @pytest.mark.skipif(os.getuid() == 0, reason="root writes everywhere")
    def test_we_may_not_write(self, paths):
        paths.data.mkdir(parents=True)
        paths.data.chmod(0o500)
        (found,) = machine.directory_findings(paths)
        assert found.fix == f"sudo chown -R $(id -u) {paths.data}"

    def test_a_network_file_system(self, paths, tmp_path):
        paths.data.mkdir(parents=True, mode=0o700)
        mounts = tmp_path / "mounts"
        mounts.write_text("36 35 98:0 / / rw - nfs4 server:/x rw\n")
        (found,) = machine.directory_findings(paths, mounts=mounts)
        assert found.state is CheckState.BAD
        assert "nfs4, a network file system" in found.detail


class TestTerminal:
    def stream(self, encoding):
        return io.TextIOWrapper(io.BytesIO(), encoding=encoding)

    def test_a_pipe_is_none_and_fine(self):
        found = machine.terminal_finding(self.stream("utf-8"), {})
        assert (found.state, found.detail) == (CheckState.OK, "a pipe or file, UTF-8")

    def test_words_it_cannot_print(self):
        found = machine.terminal_finding(self.stream("ascii"), {})
        assert (found.state, found.fix) == (CheckState.NOTE, "export LC_ALL=C.UTF-8")


class TestPrograms:
    async def test_ssh(self, tmp_path):
        environ = script(tmp_path / "bin", "ssh", "echo OpenSSH_9.2p1 >&2")
        found = await machine.ssh_finding(environ)
        assert (found.state, found.detail) == (CheckState.OK, "OpenSSH_9.2p1")

    async def test_no_ssh(self, tmp_path):
        found = await machine.ssh_finding({"PATH": str(tmp_path)})
        assert (found.state, found.fix) == (CheckState.NOTE, "sudo apt install openssh-client")

    async def test_claude(self, tmp_path):
        environ = script(tmp_path / "bin", "claude", "echo '2.1.330 (Claude Code)'")
        found = await machine.claude_finding(environ)
        assert found.state is CheckState.OK
        assert found.detail == f"2.1.330 (Claude Code) at {tmp_path}/bin/claude"

    async def test_no_claude_is_no_trouble_on_a_server(self, tmp_path):
        found = await machine.claude_finding({"PATH": str(tmp_path)})
        assert (found.state, found.fix) == (
            CheckState.NOTE,
            "npm install -g @anthropic-ai/claude-code",
        )

    async def test_one_that_was_named_and_is_not_there(self, tmp_path):
        found = await machine.claude_finding({"LLMCTL_CLAUDE": str(tmp_path / "nowhere")})
        assert found.state is CheckState.BAD

    @pytest.mark.parametrize("line", ["exit 3", "exec sleep 60"])
    async def test_one_that_does_not_run(self, tmp_path, line):
        environ = script(tmp_path / "bin", "claude", line)
        found = await machine.claude_finding(environ, within_s=0.3)
        assert (found.state, found.fix) == (
            CheckState.BAD,
            "npm install -g @anthropic-ai/claude-code",
        )
