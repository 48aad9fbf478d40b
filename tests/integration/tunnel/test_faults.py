"""What goes wrong between here and there, and that the tunnel notices, says so, and comes back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.tunnelled import TunnelConnector
from llmctl.core.errors import HostKeyChanged, SshError
from llmctl.core.tunnel import TunnelState
from llmctl.ssh.connect import SshTarget
from llmctl.ssh.supervisor import Pace, Tunnel
from tests.emulators.faultproxy import faulty
from tests.integration.eventually import eventually
from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.history import History
from tests.integration.tunnel.machine import QUICK, Machine, nothing_left
from tests.integration.tunnel.raw import streams

URL = "http://machine.localhost:1"
IMPATIENT = Pace(first_s=0.05, longest_s=0.2, wait_s=5.0)


@contextlib.asynccontextmanager
async def up(tunnel: Tunnel) -> AsyncIterator[Tunnel]:
    await tunnel.start()
    try:
        await tunnel.until_up()
        yield tunnel
    finally:
        await tunnel.stop()


async def answers(tunnel: Tunnel) -> bool:
    reader, writer = await streams(tunnel)
    writer.write(b"done\n")
    said = await reader.read()
    writer.close()
    return said == b"done\n"


def states_of(tunnel: Tunnel) -> list[TunnelState]:
    seen: list[TunnelState] = []
    tunnel.subscribe(lambda status: seen.append(status.state))
    return seen


async def test_a_killed_session_is_replaced_and_requests_wait_for_it(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        seen = states_of(tunnel)
        machine.kill_sessions()
        await eventually(lambda: TunnelState.DOWN in seen)
        assert await answers(tunnel)
        assert tunnel.status().reconnects == 1
        assert seen[:3] == [TunnelState.DOWN, TunnelState.CONNECTING, TunnelState.UP]


async def test_every_stream_of_a_killed_session_ends_with_an_error(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        opened = [await streams(tunnel, limit=2**20) for _ in range(20)]
        for reader, writer in opened:
            writer.write(b"flood\n")
            await reader.readexactly(10_000)
        machine.kill_sessions()
        for reader, writer in opened:
            with pytest.raises(ConnectionResetError, match="link to"):
                while await reader.read(2**20):
                    pass
            writer.close()


async def test_a_frozen_session_is_suspect_then_cut_and_replaced(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        seen = states_of(tunnel)
        reader, writer = await streams(tunnel)
        writer.write(b"silent\n")
        machine.freeze_sessions()
        with pytest.raises(ConnectionResetError, match="does not answer any more"):
            await reader.read()
        writer.close()
        assert seen[0] is TunnelState.SUSPECT
        assert await answers(tunnel)


async def test_a_late_answer_is_no_reason_to_cut(machine: Machine, engine: Engine) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        seen = states_of(tunnel)
        machine.freeze_sessions()
        await eventually(lambda: TunnelState.SUSPECT in seen)
        machine.thaw_sessions()
        await eventually(lambda: tunnel.status().state is TunnelState.UP)
        assert tunnel.status().connections == 1
        assert await answers(tunnel)


async def test_a_black_hole_is_noticed_and_left_when_it_closes(
    machine: Machine, engine: Engine
) -> None:
    async with (
        faulty(machine.port) as network,
        up(machine.tunnel(engine.port, through=network.port)) as tunnel,
    ):
        seen = states_of(tunnel)
        network.stall()
        await eventually(lambda: TunnelState.DOWN in seen)
        network.resume()
        assert await answers(tunnel)


async def test_a_slow_upload_is_not_taken_for_a_dead_link(machine: Machine, engine: Engine) -> None:
    """Keepalives wait behind what was written first; that the server takes it is life enough."""
    async with (
        faulty(machine.port) as network,
        up(machine.tunnel(engine.port, through=network.port)) as tunnel,
    ):
        network.bytes_per_s = 500_000
        network.slice_bytes = 16_384
        reader, writer = await streams(tunnel)
        writer.write(b"count\n" + bytes(3_000_000))
        writer.write_eof()
        assert await reader.readline() == b"3000000\n"
        assert tunnel.status().connections == 1
        writer.close()


async def test_records_pass_a_slow_and_slicing_network_whole(
    machine: Machine, engine: Engine
) -> None:
    history = History()

    async def read(tunnel: Tunnel, stream: int) -> None:
        reader, writer = await streams(tunnel)
        writer.write(b"records %d 50 0.005\n" % stream)
        while data := await reader.read(65536):
            history.got(stream, data)
        history.end(stream)
        writer.close()

    async with (
        faulty(machine.port) as network,
        up(machine.tunnel(engine.port, through=network.port)) as tunnel,
    ):
        network.latency_s = 0.04
        network.slice_bytes = 700
        async with asyncio.TaskGroup() as all_streams:
            for stream in range(20):
                all_streams.create_task(read(tunnel, stream))
    assert history.faults(20, 50) == []


async def test_a_reset_in_mid_answer_breaks_it_and_the_next_one_works(
    machine: Machine, engine: Engine
) -> None:
    async with (
        faulty(machine.port) as network,
        up(machine.tunnel(engine.port, through=network.port)) as tunnel,
        aiohttp.ClientSession(connector=TunnelConnector(tunnel)) as session,
    ):
        async with session.get(f"{URL}/stream/0") as answer:
            await answer.content.readany()
            network.reset()
            with pytest.raises(aiohttp.ClientError):
                while await answer.content.readany():
                    pass
        async with session.get(f"{URL}/api/version") as answer:
            assert answer.status == 200


async def test_a_half_closed_network_counts_as_closed(machine: Machine, engine: Engine) -> None:
    async with (
        faulty(machine.port) as network,
        up(machine.tunnel(engine.port, through=network.port)) as tunnel,
    ):
        network.half_close()
        await eventually(lambda: tunnel.status().connections == 2)
        assert await answers(tunnel)


async def test_requests_give_up_with_a_529_when_the_tunnel_does_not_come_back(
    machine: Machine, engine: Engine
) -> None:
    async with (
        up(machine.tunnel(engine.port, pace=IMPATIENT)) as tunnel,
        aiohttp.ClientSession(connector=TunnelConnector(tunnel)) as session,
    ):
        machine.stop()
        with pytest.raises(Unreachable, match="not up within 5 s") as caught:
            await session.get(f"{URL}/x")
        assert caught.value.status == 529
        assert caught.value.retry_after_s


async def test_it_follows_the_machine_to_another_port(machine: Machine, engine: Engine) -> None:
    async with faulty(machine.port) as network:
        ports = [network.port]

        async def locate() -> SshTarget:
            return machine.target(ports[-1])

        tunnel = Tunnel("machine", locate, machine.login, port=engine.port, pace=QUICK)
        async with up(tunnel):
            await network.refuse()
            ports.append(machine.port)
            network.reset()
            assert await answers(tunnel)


async def test_a_changed_host_key_ends_it_and_nothing_is_sent(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        machine.new_host_key()
        machine.restart()
        await eventually(lambda: tunnel.failure is not None)
        assert isinstance(tunnel.failure, HostKeyChanged)
        assert tunnel.status().given_up
        with pytest.raises(HostKeyChanged):
            await streams(tunnel)
        assert machine.log.read_text().count("Accepted publickey") == 1


async def test_a_refused_key_ends_it(machine: Machine, engine: Engine) -> None:
    machine.authorize()
    tunnel = machine.tunnel(engine.port)
    await tunnel.start()
    with pytest.raises(SshError) as caught:
        await tunnel.until_up()
    assert caught.value.terminal
    await tunnel.stop()


async def test_a_refused_key_is_put_there_again_once(machine: Machine, engine: Engine) -> None:
    repairs = []

    async def repair() -> None:
        repairs.append(len(repairs))
        if len(repairs) == 1:
            machine.authorize(machine.key.public_line)

    machine.authorize()
    async with up(machine.tunnel(engine.port, repair=repair)) as tunnel:
        assert await answers(tunnel)
        assert repairs == [0]
        machine.authorize()
        machine.kill_sessions()
        await eventually(lambda: tunnel.failure is not None)
        assert repairs == [0, 1]


async def test_it_waits_for_a_machine_that_is_not_there_yet(
    machine: Machine, engine: Engine
) -> None:
    machine.stop()
    tunnel = machine.tunnel(engine.port)
    await tunnel.start()
    waiting = asyncio.gather(*(answers(tunnel) for _ in range(10)))
    await eventually(lambda: "connection refused" in tunnel.status().detail.lower())
    machine.start()
    assert all(await waiting)
    await tunnel.stop()


async def test_an_engine_that_closes_an_idle_spare_is_no_trouble(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        await eventually(lambda: tunnel._spare is not None)
        await engine.close()
        await eventually(lambda: tunnel.status().channels == 0)
        await engine.start()
        assert await answers(tunnel)
        assert tunnel.status().connections == 1


async def test_many_cycles_leave_nothing(machine: Machine, engine: Engine) -> None:
    async with nothing_left():
        async with up(machine.tunnel(engine.port)) as tunnel:
            for cycle in range(15):
                assert await answers(tunnel)
                machine.kill_sessions()
                await eventually(lambda: tunnel.status().connections > cycle + 1)  # noqa: B023
            assert await answers(tunnel)
        await engine.close()
