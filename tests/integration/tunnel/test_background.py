"""Tunnels in the background: real processes, their records, and their ends."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from llmctl.core.errors import ConfigError, DeadlineExceeded, NotFound, SshError
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ops.tunnel import DoorWish, Held, hold
from llmctl.ops.tunnels import Registry
from tests.integration.eventually import eventually
from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.machine import Machine

CHILD = """
import signal, sys, time
from pathlib import Path
from llmctl.core.tunnel import TunnelState, TunnelStatus
from llmctl.ops.tunnel import Held
from llmctl.ops.tunnels import Registry
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[2] == "fail":
    sys.exit("error: 203.0.113.7 refused our key")
with Registry(Path(sys.argv[1])).hold("my gpu/1") as record:
    state = TunnelState.UP if sys.argv[2] != "trying" else TunnelState.CONNECTING
    status = TunnelStatus(name="my gpu/1", state=state)
    record.update(Held(status=status, url="http://127.0.0.1:1"))
    while True:
        time.sleep(1)
"""
NAME = "my gpu/1"


def command(directory: Path, how: str = "up") -> list[str]:
    return [sys.executable, "-c", CHILD, str(directory), how]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(__file__).parents[3])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "tunnels")


async def test_it_is_started_listed_and_stopped(registry: Registry, tmp_path: Path) -> None:
    started = await registry.start(NAME, command(tmp_path / "tunnels"))
    assert started.held.status.state is TunnelState.UP
    assert [each.name for each in registry.list()] == [NAME]
    assert registry.get(NAME).pid == started.pid
    assert os.getsid(started.pid) == started.pid
    for file in (tmp_path / "tunnels").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "tunnels").stat().st_mode) == 0o700
    await registry.stop(NAME)
    assert registry.list() == []
    with pytest.raises(NotFound, match="no tunnel to my gpu/1"):
        registry.get(NAME)


async def test_one_runs_under_a_name(registry: Registry, tmp_path: Path) -> None:
    await registry.start(NAME, command(tmp_path / "tunnels"))
    with pytest.raises(ConfigError, match="already"):
        await registry.start(NAME, command(tmp_path / "tunnels"))
    with pytest.raises(ConfigError, match="already"), registry.hold(NAME):
        pass
    await registry.stop(NAME)


async def test_what_was_killed_does_not_run_and_can_be_started_again(
    registry: Registry, tmp_path: Path
) -> None:
    started = await registry.start(NAME, command(tmp_path / "tunnels"))
    os.kill(started.pid, signal.SIGKILL)
    await eventually(lambda: registry.list() == [])
    again = await registry.start(NAME, command(tmp_path / "tunnels"))
    assert again.pid != started.pid
    await registry.stop(NAME)


async def test_a_child_that_fails_is_told_in_its_own_words(
    registry: Registry, tmp_path: Path
) -> None:
    with pytest.raises(SshError, match="refused our key"):
        await registry.start(NAME, command(tmp_path / "tunnels", "fail"))


async def test_one_that_is_still_trying_is_returned_as_it_is(
    registry: Registry, tmp_path: Path
) -> None:
    started = await registry.start(NAME, command(tmp_path / "tunnels", "trying"), within_s=5.0)
    assert started.held.status.state is TunnelState.CONNECTING
    await registry.stop(NAME)


async def test_one_that_does_not_listen_is_killed(registry: Registry, tmp_path: Path) -> None:
    started = await registry.start(NAME, command(tmp_path / "tunnels", "deaf"))
    with pytest.raises(DeadlineExceeded, match="was killed"):
        await registry.stop(NAME, within_s=0.2)
    await eventually(lambda: registry.list() == [])
    assert started.pid > 0


def test_a_record_says_at_once_when_the_state_changes(registry: Registry) -> None:
    up = Held(status=TunnelStatus(name="x", state=TunnelState.UP), url="u")
    down = Held(status=TunnelStatus(name="x", state=TunnelState.DOWN), url="u")
    with registry.hold("x") as record:
        for held in (up, down, up):
            record.update(held)
            stored = (registry.log_file("x").parent / "x.json").read_text()
            assert f'"state":"{held.status.state}"' in stored


async def test_holding_says_where_it_listens_and_how_it_is(
    machine: Machine, engine: Engine
) -> None:
    tunnel = machine.tunnel(engine.port)
    seen = []
    holding = hold(tunnel, DoorWish(port=0), every_s=0.05)
    async for held in holding:
        seen.append(held.status.state)
        if held.status.state is TunnelState.UP and TunnelState.DOWN in seen:
            break
        if held.status.state is TunnelState.UP and seen.count(TunnelState.UP) == 1:
            machine.kill_sessions()
    assert held.url.startswith("http://127.0.0.1:")
    assert held.status.reconnects == 1
    await holding.aclose()
    assert tunnel.status().state is TunnelState.DOWN


async def test_holding_ends_with_what_made_the_tunnel_give_up(
    machine: Machine, engine: Engine
) -> None:
    machine.authorize()
    with pytest.raises(SshError, match="refused our key"):
        async for _ in hold(machine.tunnel(engine.port), DoorWish(port=0)):
            pass
