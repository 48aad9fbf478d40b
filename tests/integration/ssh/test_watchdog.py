"""The watchdog on a machine: deadline, idle limit, read-back, and which key ends what."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from llmctl.core.errors import RemoteFailed
from llmctl.core.rental import ProviderName
from llmctl.ssh.connect import SshTarget, connect
from llmctl.ssh.keys import Key
from llmctl.ssh.local import LocalRemote
from llmctl.ssh.remote import Ran
from llmctl.ssh.run import SshRemote
from llmctl.ssh.watchdog import Armed, Guard, arm, armed, disarm, renew, start_script
from tests.clocks import ManualClock
from tests.integration.eventually import eventually
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.recorder import Recorder
from tests.integration.ssh.sshd import Sshd

LATE_S = 20.0
"""What a busy machine may add."""


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "state"
    monkeypatch.setenv("LLMCTL_STATE_DIR", str(directory))
    for name in ("CONTAINER_ID", "CONTAINER_API_KEY", "RUNPOD_POD_ID", "RUNPOD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return directory


@pytest.fixture
def api() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


class Injected(LocalRemote):
    """The machine with what the test has in its environment by then, keys of providers included."""

    async def run(self, script: str, **options: object) -> Ran:
        self._environment = dict(os.environ)
        return await super().run(script, **options)


@pytest.fixture
async def remote(state: Path) -> AsyncIterator[LocalRemote]:
    here = Injected()
    yield here
    await disarm(here)
    await eventually(lambda: not watchdogs(state))


@pytest.fixture
def guard(api: Recorder) -> Guard:
    return Guard(
        provider=ProviderName.VAST,
        instance_id="4711",
        api_url=api.url,
        instance_key="instance-key",
        deadline=time.time() + 3600,
        idle_s=0,
        retry_s=1,
    )


def watchdogs(state: Path) -> list[int]:
    """Processes that run the watchdog of this directory."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{state}/watchdog.sh".encode() in command.read_bytes().split(b"\0"):
                found.append(int(command.parent.name))
        except OSError:
            continue
    return found


async def soon_armed(remote: LocalRemote) -> Armed:
    """What a watchdog says that is only just starting."""
    async with asyncio.timeout(30):
        while (said := await armed(remote)) is None:
            await asyncio.sleep(0.02)
    return said


def but(guard: Guard, **changes: object) -> Guard:
    return msgspec.structs.replace(guard, **changes)


async def test_arming_is_read_back_from_the_process(
    remote: LocalRemote, guard: Guard, state: Path
) -> None:
    said = await arm(remote, guard)
    assert said.deadline == int(guard.deadline)
    assert watchdogs(state) == [said.pid]
    asked = await armed(remote)
    assert asked is not None
    assert (asked.deadline, asked.idle_s, asked.pid) == (said.deadline, said.idle_s, said.pid)
    assert state.stat().st_mode & 0o777 == 0o700
    assert {path.name for path in state.iterdir() if path.stat().st_mode & 0o077} == set()


class Overtaken:
    """A machine whose start script arms a watchdog just after the first one of ours."""

    def __init__(self, machine: LocalRemote, theirs: Guard) -> None:
        self.where = machine.where
        self._machine = machine
        self._theirs: Guard | None = theirs

    async def run(self, script: str, **options: object) -> Ran:
        ran = await self._machine.run(script, **options)
        if self._theirs is not None:
            theirs, self._theirs = self._theirs, None
            await arm(self._machine, theirs)
        return ran


async def test_the_start_scripts_own_does_not_stay_the_newest(
    remote: LocalRemote, guard: Guard, state: Path
) -> None:
    theirs = but(guard, deadline=guard.deadline + 600)
    said = await arm(Overtaken(remote, theirs), guard)
    assert said.deadline == int(guard.deadline)
    await eventually(lambda: watchdogs(state) == [said.pid])


async def test_files_alone_are_not_believed(remote: LocalRemote, guard: Guard, state: Path) -> None:
    said = await arm(remote, guard)
    os.kill(said.pid, 9)
    await eventually(lambda: not watchdogs(state))
    assert (state / "pid").exists()
    assert await armed(remote) is None


async def test_several_may_ask_at_once(remote: LocalRemote, guard: Guard, state: Path) -> None:
    said = await arm(remote, guard)
    answers = await asyncio.gather(*(armed(remote) for _ in range(6)))
    assert [(each.pid, each.deadline) for each in answers] == [(said.pid, said.deadline)] * 6
    assert not list(state.glob("answer*"))


async def test_a_stranger_with_its_number_is_not_signalled(
    remote: LocalRemote, state: Path
) -> None:
    state.mkdir()
    with subprocess.Popen(["sleep", "60"]) as stranger:
        (state / "pid").write_text(f"{stranger.pid}\n")
        assert await armed(remote) is None
        await disarm(remote)
        assert stranger.poll() is None
        stranger.kill()


async def test_nothing_is_armed_at_first(remote: LocalRemote) -> None:
    assert await armed(remote) is None


async def test_deadline_destroys(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path
) -> None:
    deadline = int(time.time()) + 3
    await arm(remote, but(guard, deadline=deadline))
    await eventually(lambda: api.calls)
    call = api.calls[0]
    assert deadline <= call.at <= deadline + LATE_S
    assert (call.method, call.path) == ("DELETE", "/api/v0/instances/4711/")
    assert call.key == "instance-key"
    log = (state / "watchdog.log").read_text()
    assert "its deadline has passed" in log
    assert "instance-key" not in log


async def test_stop_instead_of_destroy(remote: LocalRemote, guard: Guard, api: Recorder) -> None:
    await arm(remote, but(guard, deadline=time.time(), action="stop"))
    await eventually(lambda: api.calls)
    call = api.calls[0]
    assert (call.method, call.path, call.body) == (
        "PUT",
        "/api/v0/instances/4711/",
        '{"state":"stopped"}',
    )


async def test_tries_until_the_machine_is_gone(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path
) -> None:
    api.statuses = [500, 429, 200]
    await arm(remote, but(guard, deadline=time.time()))
    await eventually(lambda: len(api.calls) >= 5)
    assert watchdogs(state)


async def test_new_deadline_replaces_the_old_one(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path
) -> None:
    first = await arm(remote, but(guard, deadline=time.time() + 30))
    second = await arm(remote, guard)
    assert second.pid != first.pid
    await eventually(lambda: watchdogs(state) == [second.pid])
    assert api.calls == []
    said = await armed(remote)
    assert said is not None
    assert (said.pid, said.deadline) == (second.pid, second.deadline)


async def test_rearming_without_a_key_keeps_the_old_one(
    remote: LocalRemote, guard: Guard, api: Recorder
) -> None:
    await arm(remote, guard)
    await arm(remote, but(guard, instance_key=None, deadline=time.time()))
    await eventually(lambda: api.calls)
    assert api.calls[0].key == "instance-key"


async def test_idle_machine_is_destroyed(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path
) -> None:
    begin = time.time()
    await arm(remote, but(guard, idle_s=3))
    await eventually(lambda: api.calls)
    assert begin + 2 <= api.calls[0].at <= begin + 3 + LATE_S
    assert "nobody used it for 3 s" in (state / "watchdog.log").read_text()


GIN = '[GIN] 2026/11/22 - 19:06:{:02d} | 200 |  1.2s |  127.0.0.1 | {:<7}  "{}"\n'


async def keep_busy(state: Path, seconds: float, method: str, path: str) -> float:
    """Write request lines of the engine for a while; returns when the last one was written."""
    end = time.time() + seconds
    count = 0
    while time.time() < end:
        count += 1
        with (state / "ollama.log").open("a") as log:
            log.write(GIN.format(count % 60, method, path))
        last = time.time()
        await asyncio.sleep(0.2)
    return last


@pytest.mark.parametrize("path", ["/api/chat", "/v1/messages"])
async def test_requests_that_need_a_model_keep_it_alive(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path, path: str
) -> None:
    await arm(remote, but(guard, idle_s=5))
    last = await keep_busy(state, 11, "POST", path)
    assert api.calls == []
    await eventually(lambda: api.calls)
    assert api.calls[0].at >= last + 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/tags"), ("POST", "/api/show")])
async def test_health_checks_do_not_keep_it_alive(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path, method: str, path: str
) -> None:
    await arm(remote, but(guard, idle_s=3))
    asking = asyncio.create_task(keep_busy(state, 60, method, path))
    await eventually(lambda: api.calls)
    assert not asking.done(), "nobody asked any more when it was ended"
    asking.cancel()


async def test_renewed_lease_keeps_it_alive(
    remote: LocalRemote, guard: Guard, api: Recorder
) -> None:
    await arm(remote, but(guard, idle_s=5))
    begin = time.time()
    while time.time() < begin + 11:
        await renew(remote)
        await asyncio.sleep(0.2)
    assert api.calls == []
    await eventually(lambda: api.calls)


async def test_busy_gpu_keeps_it_alive(
    remote: LocalRemote, guard: Guard, api: Recorder, tmp_path: Path, monkeypatch
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    busy = tmp_path / "busy"
    busy.write_text("0\n87\n")
    smi = tools / "nvidia-smi"
    looks = tmp_path / "looks"
    looks.touch()
    smi.write_text(f'#!/bin/sh\ndate +%s >> "{looks}"\ncat "{busy}"\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    await arm(remote, but(guard, idle_s=3))

    def watched_s() -> int:
        at = [int(line) for line in looks.read_text().split()]
        return at[-1] - at[0] if at else 0

    await eventually(lambda: watched_s() > 2 * 3)
    assert api.calls == []
    busy.write_text("0\n3\n")
    await eventually(lambda: api.calls)


def only(tmp_path: Path, *tools: str) -> str:
    """Return a PATH on which nothing but these and the basics is found."""
    directory = tmp_path / "bin"
    directory.mkdir()
    basics = "sh cat date grep tail tr sed sleep mkdir mv rm chmod setsid timeout".split()
    for name in (*basics, *tools):
        found = sys.executable if name == "python3" else shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} on this machine")
        (directory / name).symlink_to(Path(found).resolve())
    return str(directory)


@pytest.mark.parametrize("tool", ["curl", "python3", "wget"])
async def test_any_one_http_client_will_do(
    remote: LocalRemote, guard: Guard, api: Recorder, tmp_path: Path, monkeypatch, tool: str
) -> None:
    monkeypatch.setenv("PATH", only(tmp_path, tool))
    await arm(remote, but(guard, deadline=time.time()))
    await eventually(lambda: api.calls)
    call = api.calls[0]
    assert (call.method, call.path, call.key) == (
        "DELETE",
        "/api/v0/instances/4711/",
        "instance-key",
    )


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
async def test_any_posix_shell_will_do(
    remote: LocalRemote, guard: Guard, api: Recorder, tmp_path: Path, monkeypatch, shell: str
) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"no {shell} on this machine")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").write_text(
        f'#!/bin/sh\nexec {found} {"sh" if shell == "busybox" else ""} "$@"\n'
    )
    (tools / "sh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    said = await arm(remote, but(guard, deadline=time.time() + 3, idle_s=600))
    assert Path(f"/proc/{said.pid}/exe").resolve().name == Path(found).resolve().name
    await eventually(lambda: api.calls)


async def test_key_and_id_that_the_provider_put_there(
    remote: LocalRemote, guard: Guard, api: Recorder, monkeypatch
) -> None:
    monkeypatch.setenv("CONTAINER_ID", "99")
    monkeypatch.setenv("CONTAINER_API_KEY", "injected")
    await arm(remote, but(guard, instance_id="", instance_key=None, deadline=time.time()))
    await eventually(lambda: api.calls)
    assert (api.calls[0].path, api.calls[0].key) == ("/api/v0/instances/99/", "injected")


async def test_second_key_where_the_first_is_refused(
    remote: LocalRemote, guard: Guard, api: Recorder, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", only(tmp_path, "curl"))
    monkeypatch.setenv("CONTAINER_API_KEY", "injected")
    api.statuses = [403]
    await arm(remote, but(guard, deadline=time.time()))
    await eventually(lambda: len(api.calls) >= 2)
    assert [call.key for call in api.calls[:2]] == ["instance-key", "injected"]


async def test_runpod_tries_all_ways(
    remote: LocalRemote, guard: Guard, api: Recorder, tmp_path: Path, monkeypatch
) -> None:
    tools = only(tmp_path, "curl")
    said = tmp_path / "said"
    runpodctl = Path(tools) / "runpodctl"
    runpodctl.write_text(f'#!/bin/sh\necho "$* $RUNPOD_API_KEY" >"{said}"\n')
    runpodctl.chmod(0o755)
    monkeypatch.setenv("PATH", tools)
    api.statuses = [403, 400]
    here = but(guard, provider=ProviderName.RUNPOD, instance_id="pod1", deadline=time.time())
    await arm(remote, here)
    await eventually(said.exists)
    await eventually(said.read_text)
    assert (api.calls[0].method, api.calls[0].path) == ("DELETE", "/v2/pods/pod1")
    assert (api.calls[1].method, api.calls[1].path) == ("POST", "/graphql")
    assert api.calls[1].body == '{"query":"mutation{podTerminate(input:{podId:\\"pod1\\"})}"}'
    assert said.read_text() == "pod delete pod1 instance-key\n"


async def test_runpod_stop(remote: LocalRemote, guard: Guard, api: Recorder) -> None:
    pod = but(guard, provider=ProviderName.RUNPOD, instance_id="pod1", action="stop")
    await arm(remote, but(pod, deadline=time.time()))
    await eventually(lambda: api.calls)
    assert (api.calls[0].method, api.calls[0].path) == ("POST", "/v2/pods/pod1/action")
    assert api.calls[0].body == '{"action":"stop"}'


@pytest.mark.parametrize("provider", [ProviderName.HOST, ProviderName.LOCAL])
async def test_own_machines_only_lose_the_engine(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path, tmp_path: Path, provider
) -> None:
    engine = tmp_path / "ollama"
    engine.write_text("#!/bin/sh\nwhile :; do sleep 0.1; done\n")
    engine.chmod(0o755)
    state.mkdir()
    with subprocess.Popen([engine, "serve"]) as process:
        (state / "ollama.pid").write_text(f"{process.pid}\n")
        await arm(remote, but(guard, provider=provider, deadline=time.time() + 6))
        await eventually(lambda: process.poll() is not None)
    await eventually(lambda: not watchdogs(state))
    assert api.calls == []


async def test_start_script_arms_before_anybody_logs_in(
    remote: LocalRemote, guard: Guard, api: Recorder, state: Path, monkeypatch
) -> None:
    deadline = int(time.time()) + 4
    monkeypatch.setenv("LLMCTL_DEADLINE", str(deadline))
    monkeypatch.setenv("CONTAINER_ID", "7")
    monkeypatch.setenv("CONTAINER_API_KEY", "injected")
    script = start_script(but(guard, instance_id="", instance_key=None))
    assert len(script) <= 3800
    assert (await remote.run(script)).status == 0
    await eventually(lambda: watchdogs(state))
    await eventually(lambda: api.calls)
    assert deadline <= api.calls[0].at <= deadline + LATE_S
    assert api.calls[0].path == "/api/v0/instances/7/"


async def test_start_script_has_a_deadline_of_its_own(
    remote: LocalRemote, guard: Guard, state: Path
) -> None:
    await remote.run(start_script(guard))
    said = await soon_armed(remote)
    assert (said.deadline, said.idle_s) == (int(guard.deadline), 0)


async def test_start_after_the_deadline_leaves_time_to_arm_anew(
    remote: LocalRemote, guard: Guard, state: Path
) -> None:
    await remote.run(start_script(but(guard, deadline=time.time() - 100)))
    said = await soon_armed(remote)
    assert 3500 < said.deadline - time.time() <= 3600


async def test_arming_replaces_the_start_script(
    remote: LocalRemote, guard: Guard, state: Path
) -> None:
    await remote.run(start_script(but(guard, deadline=time.time() + 60)))
    await soon_armed(remote)
    said = await arm(remote, but(guard, idle_s=1800))
    await eventually(lambda: watchdogs(state) == [said.pid])
    assert (said.deadline, said.idle_s) == (int(guard.deadline), 1800)


async def test_clock_far_off_is_refused(remote: LocalRemote, guard: Guard) -> None:
    with pytest.raises(RemoteFailed, match=r"the clock of this machine is [+-]\d+ s off ours"):
        await arm(remote, guard, clock=ManualClock())


async def test_disk_full_is_said(remote: LocalRemote, guard: Guard, state: Path) -> None:
    state.parent.mkdir(exist_ok=True)
    state.write_text("a file where the directory should be")
    with pytest.raises(RemoteFailed, match="cannot start the watchdog on this machine: .*state"):
        await arm(remote, guard)
    state.unlink()


async def test_survives_the_session_and_hides_the_key(
    tmp_path: Path, key: Key, pins: Pins, guard: Guard, api: Recorder, state: Path
) -> None:
    environment = {"HOME": str(tmp_path), "LLMCTL_STATE_DIR": str(state)}
    with Sshd(tmp_path / "sshd", authorized=[key.public_line], environment=environment) as sshd:
        target = SshTarget(instance="i", generation="", addresses=(sshd.address,))
        remote = SshRemote(await asyncio.to_thread(connect, target, key, pins))
        said = await arm(remote, but(guard, deadline=time.time() + 4))
        commands = [
            path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists()
        ]
        assert not any(b"instance-key" in command for command in commands)
        sshd.kill_sessions()
        await remote.close()
    assert Path(f"/proc/{said.pid}").exists()
    await eventually(lambda: api.calls)
    assert api.calls[0].key == "instance-key"
    await disarm(LocalRemote())
    await eventually(lambda: not watchdogs(state))
