"""A tunnel through a real sshd, while nothing goes wrong."""

import asyncio
import contextlib
import io
import os
import random
from collections.abc import AsyncIterator

import aiohttp
import pytest

from llmctl.backend.tunnelled import TunnelConnector, tunnel_url
from llmctl.core.tunnel import TunnelState
from llmctl.ssh import wire
from llmctl.ssh.link import MIN_WINDOW, EngineRefused
from llmctl.ssh.supervisor import Tunnel
from llmctl.ssh.tunnel_key import authorized_line
from tests.integration.eventually import eventually
from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.history import History
from tests.integration.tunnel.machine import Machine, nothing_left, running
from tests.integration.tunnel.raw import streams
from tests.integration.valkey import free_port
from tests.streams import listening


@contextlib.asynccontextmanager
async def up(tunnel: Tunnel) -> AsyncIterator[Tunnel]:
    await tunnel.start()
    try:
        await tunnel.until_up()
        yield tunnel
    finally:
        await tunnel.stop()


async def read_records(tunnel: Tunnel, history: History, stream: int, count: int) -> None:
    reader, writer = await streams(tunnel)
    writer.write(b"records %d %d 0.001\n" % (stream, count))
    while data := await reader.read(65536):
        history.got(stream, data)
    history.end(stream)
    writer.close()
    await writer.wait_closed()


async def test_http_goes_through_and_nothing_is_left(
    shared_machine: Machine, engine: Engine
) -> None:
    async with nothing_left():
        async with up(shared_machine.tunnel(engine.port)) as tunnel:
            connector = TunnelConnector(tunnel)
            async with aiohttp.ClientSession(connector=connector) as session:
                body = os.urandom(3_000_000)
                async with session.post(f"{tunnel_url(tunnel)}/x", data=io.BytesIO(body)) as answer:
                    assert (await answer.json(content_type=None))["got"] == len(body)
            status = tunnel.status()
            assert status.state is TunnelState.UP
            assert status.where == str(shared_machine.address)
            assert status.sent_bytes > len(body)
            assert status.connections == 1
            assert status.reconnects == 0


async def test_the_engine_is_asked_through_the_tunnel(
    shared_machine: Machine, engine: Engine
) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        await eventually(lambda: b"GET /api/version HTTP/1.1\r\n" in engine.requests)
        await eventually(lambda: tunnel.status().round_trip_ms is not None)
        assert tunnel.status().detail == ""


async def test_a_port_without_an_engine_is_said_at_once_and_the_link_stays(
    shared_machine: Machine,
) -> None:
    async with up(shared_machine.tunnel(free_port())) as tunnel:
        with pytest.raises(EngineRefused, match="nothing listens there"):
            await streams(tunnel)
        await eventually(lambda: "nothing listens there" in tunnel.status().detail)
        assert tunnel.status().state is TunnelState.UP


async def test_records_of_many_streams_arrive_once_in_order_and_whole(
    shared_machine: Machine, engine: Engine
) -> None:
    history = History()
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        async with asyncio.TaskGroup() as all_streams:
            for stream in range(100):
                all_streams.create_task(read_records(tunnel, history, stream, 30))
        await eventually(lambda: engine.open <= 1)
        await eventually(lambda: tunnel.status().channels <= 1)
    assert history.faults(100, 30) == []


async def test_each_direction_ends_on_its_own(shared_machine: Machine, engine: Engine) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        reader, writer = await streams(tunnel)
        writer.write(b"count\n" + bytes(1_000_000))
        writer.write_eof()
        assert await reader.readline() == b"1000000\n"
        assert await reader.read() == b""
        writer.close()


async def test_what_is_written_before_close_arrives(
    shared_machine: Machine, engine: Engine
) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        _, writer = await streams(tunnel)
        writer.write(b"POST /x HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000))
        writer.write(b"POST /last HTTP/1.1\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        await eventually(lambda: b"POST /last HTTP/1.1\r\n" in engine.requests)
        sent = [line for line in engine.requests if line.startswith(b"POST")]
        assert sent == [b"POST /x HTTP/1.1\r\n", b"POST /last HTTP/1.1\r\n"]


async def test_abort_closes_the_connection_at_the_engine(
    shared_machine: Machine, engine: Engine
) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        reader, writer = await streams(tunnel)
        writer.write(b"flood\n")
        await reader.readexactly(100_000)
        assert engine.floods == 1
        writer.transport.abort()
        await eventually(lambda: not engine.floods and tunnel.status().channels <= 1)


async def test_readers_that_stall_hold_a_window_each_and_stop_nobody(
    shared_machine: Machine, engine: Engine
) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        stalled = [await streams(tunnel, limit=1024) for _ in range(50)]
        for _, writer in stalled:
            writer.write(b"flood\n")
        history = History()
        await read_records(tunnel, history, 0, 200)
        assert history.faults(1, 200) == []
        held = tunnel.status().received_bytes
        assert held < 50 * 2 * MIN_WINDOW + 1_000_000
        for _, writer in stalled:
            writer.transport.abort()


async def test_writers_to_an_engine_that_does_not_read_are_paused(
    shared_machine: Machine, engine: Engine
) -> None:
    async with up(shared_machine.tunnel(engine.port)) as tunnel:
        blocked = [(await streams(tunnel))[1] for _ in range(10)]
        for writer in blocked:
            writer.write(b"done\n")  # is answered, and the rest is never read
            writer.write(bytes(8_000_000))
        history = History()
        await read_records(tunnel, history, 0, 100)
        assert history.faults(1, 100) == []
        for writer in blocked:
            writer.transport.abort()


async def test_a_re_key_loses_nothing(engine: Engine) -> None:
    history = History()
    with running(rekey_limit="64K") as machine:
        async with up(machine.tunnel(engine.port)) as tunnel:
            async with asyncio.TaskGroup() as all_streams:
                for stream in range(20):
                    all_streams.create_task(read_records(tunnel, history, stream, 300))
            reader, writer = await streams(tunnel)
            writer.write(b"count\n" + bytes(4_000_000))
            writer.write_eof()
            assert await reader.readline() == b"4000000\n"
            assert tunnel.status().connections == 1
    assert history.faults(20, 300) == []


async def test_the_servers_own_keepalive_is_answered_on_any_channel(engine: Engine) -> None:
    with running(extra=("ClientAliveInterval 1", "ClientAliveCountMax 1")) as machine:
        async with up(machine.tunnel(engine.port)) as tunnel:
            _, writer = await streams(tunnel)
            writer.write(b"silent\n")
            link = tunnel._link
            # Our own keepalive would hide theirs: sshd asks only when nothing was heard.
            link._heart._ask_at += 3600
            handlers, asked = link._inner._channel_handler_table, []
            answer = handlers[wire.REQUEST]
            handlers[wire.REQUEST] = lambda *about: (asked.append(about), answer(*about))
            await eventually(lambda: len(asked) == 2 or not link.alive)
            assert link.alive, "sshd hangs up before it asks a second time"
            writer.transport.abort()


async def test_a_key_for_one_port_opens_this_port_and_runs_nothing(engine: Engine) -> None:
    with running() as machine:
        machine.authorize(authorized_line(machine.key.public_line, engine.port))
        async with up(machine.tunnel(engine.port)) as tunnel:
            reader, writer = await streams(tunnel)
            writer.write(b"done\n")
            assert await reader.read() == b"done\n"
            writer.close()
        other = Engine()
        await other.start()
        async with up(machine.tunnel(other.port)) as tunnel:
            with pytest.raises(EngineRefused, match="not allowed for this key"):
                await streams(tunnel)
        await other.close()
        transport = machine.login(machine.target()).transport
        session = transport.open_session()
        session.exec_command("echo it ran")
        assert session.recv(100) == b""
        transport.close()
        transport.join()


async def test_a_server_that_speaks_first_is_heard(shared_machine: Machine) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello\n")
        writer.close()

    async with listening(greet) as port, up(shared_machine.tunnel(port)) as tunnel:
        for _ in range(5):
            reader, writer = await streams(tunnel)
            assert await reader.read() == b"hello\n"
            writer.close()


async def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    shared_machine: Machine, engine: Engine
) -> None:
    chance = random.Random(20261123)

    async def visit(tunnel: Tunnel) -> None:
        reader, writer = await streams(tunnel)
        try:
            writer.write(chance.choice((b"flood\n", b"echo\n", b"records 0 50 0\n", b"silent\n")))
            writer.write(bytes(chance.randrange(300_000)))
            if chance.random() < 0.7:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(chance.random() / 20):
                        await reader.read(chance.randrange(1, 200_000))
            chance.choice((writer.close, writer.write_eof))()
        finally:
            if chance.random() < 0.7 or not writer.is_closing():
                writer.transport.abort()

    async def visitor(tunnel: Tunnel) -> None:
        for _ in range(25):
            task = asyncio.ensure_future(visit(tunnel))
            if chance.random() < 0.2:
                await asyncio.sleep(chance.random() / 100)
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    troubles: list[str] = []
    async with nothing_left(), up(shared_machine.tunnel(engine.port)) as tunnel:
        tunnel.subscribe(lambda status: troubles.append(status.detail))
        await asyncio.gather(*(visitor(tunnel) for _ in range(20)))
        await eventually(lambda: tunnel.status().channels <= 1)
        await eventually(lambda: engine.open <= 1)
        assert tunnel.status().connections == 1, troubles
        history = History()
        await read_records(tunnel, history, 0, 50)
        assert history.faults(1, 50) == []
        await engine.close()
