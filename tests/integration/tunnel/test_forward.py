"""Local doors: a port or a unix socket, with what other programs do to them."""

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import stat
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from llmctl.core.errors import ConfigError
from llmctl.ssh.forward import Door, open_port, open_preferred_port, open_socket
from llmctl.ssh.supervisor import Pace, Tunnel
from tests.integration.eventually import eventually
from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.history import History, record
from tests.integration.tunnel.machine import Machine, nothing_left


@contextlib.asynccontextmanager
async def doored(tunnel: Tunnel, path: Path | None = None) -> AsyncIterator[Door]:
    door = open_socket(tunnel, path) if path else open_port(tunnel, 0)
    await tunnel.start()
    try:
        await tunnel.until_up()
        yield door
    finally:
        await door.close()
        await tunnel.stop()


async def knock(door: Door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if door.url.startswith("unix:"):
        return await asyncio.open_unix_connection(door.url.removeprefix("unix:"))
    return await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))


def still(figure: Callable[[], int]) -> Callable[[], bool]:
    """Whether the figure was the same at a hundred looks in a row."""
    looks: deque[int] = deque(maxlen=100)

    def unchanged() -> bool:
        looks.append(figure())
        return looks.count(looks[0]) == looks.maxlen

    return unchanged


async def leave(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@pytest.fixture
def socket_path(shared_machine: Machine) -> Path:
    """A short path: unix sockets allow 104 bytes."""
    return shared_machine.log.parent / "doors" / "engine.sock"


async def test_much_and_little_in_turns_arrive_as_they_were(
    shared_machine: Machine, engine: Engine
) -> None:
    dice = random.Random(7)
    bursts = [dice.randbytes(dice.choice((1, 900, 200_000, 1_500_000))) for _ in range(40)]
    sent, came = hashlib.sha256(), hashlib.sha256()
    async with doored(shared_machine.tunnel(engine.port)) as door:
        reader, writer = await knock(door)
        writer.write(b"echo\n")
        for burst in bursts:
            writer.write(burst)
            sent.update(burst)
            came.update(await reader.readexactly(len(burst)))
        writer.write(b"".join(bursts))
        writer.write_eof()
        while data := await reader.read(65536):
            came.update(data)
        await leave(writer)
        await eventually(lambda: door.connections == 0)
    sent.update(b"".join(bursts))
    assert came.digest() == sent.digest()


@pytest.mark.parametrize("unix", [False, True])
async def test_both_directions_end_on_their_own(
    shared_machine: Machine, engine: Engine, socket_path: Path, *, unix: bool
) -> None:
    tunnel = shared_machine.tunnel(engine.port)
    async with doored(tunnel, socket_path if unix else None) as door:
        reader, writer = await knock(door)
        writer.write(b"count\n" + bytes(5_000_000))
        writer.write_eof()
        assert await reader.readline() == b"5000000\n"
        assert await reader.read() == b""
        await leave(writer)
        await eventually(lambda: door.connections == 0)


async def test_the_socket_is_its_owners_alone_and_goes_with_the_door(
    shared_machine: Machine, engine: Engine, socket_path: Path
) -> None:
    old = os.umask(0)
    try:
        async with doored(shared_machine.tunnel(engine.port), socket_path):
            assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
            assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    finally:
        os.umask(old)
    assert not socket_path.exists()


async def test_a_socket_that_nobody_listens_on_is_replaced_others_are_not(
    shared_machine: Machine, engine: Engine, socket_path: Path
) -> None:
    socket_path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as forgotten:
        forgotten.bind(str(socket_path))
    tunnel = shared_machine.tunnel(engine.port)
    async with doored(tunnel, socket_path):
        with pytest.raises(ConfigError, match="something listens"):
            open_socket(tunnel, socket_path)
    socket_path.write_text("notes")
    with pytest.raises(ConfigError, match="is not a socket"):
        open_socket(tunnel, socket_path)
    assert socket_path.read_text() == "notes"
    socket_path.unlink()


async def test_a_port_that_is_taken_is_said_or_replaced(
    shared_machine: Machine, engine: Engine
) -> None:
    tunnel = shared_machine.tunnel(engine.port)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{taken}: address already in use"):
            open_port(tunnel, taken)
        door, instead = open_preferred_port(tunnel, taken)
        assert instead
        assert not door.url.endswith(f":{taken}")
        await door.close()


async def test_five_hundred_at_once_are_served_without_an_error(
    shared_machine: Machine, engine: Engine
) -> None:
    history = History()

    async def one(door: Door, stream: int) -> None:
        reader, writer = await knock(door)
        writer.write(b"records %d 5 0.05\n" % stream)
        while data := await reader.read(65536):
            history.got(stream, data)
        history.end(stream)
        await leave(writer)

    async with nothing_left():
        async with doored(shared_machine.tunnel(engine.port)) as door:
            async with asyncio.TaskGroup() as everybody:
                for stream in range(500):
                    everybody.create_task(one(door, stream))
            assert history.faults(500, 5) == []
            await eventually(lambda: door.connections == 0)
        await engine.close()


async def test_readers_that_stall_leave_the_others_alone(
    shared_machine: Machine, engine: Engine
) -> None:
    history = History()
    async with doored(shared_machine.tunnel(engine.port)) as door:
        stalled = []
        for _ in range(20):
            reader, writer = await knock(door)
            writer.transport.pause_reading()
            writer.write(b"flood\n")
            stalled.append((reader, writer))
        reader, writer = await knock(door)
        writer.write(b"records 0 300 0.001\n")
        while data := await reader.read(65536):
            history.got(0, data)
        history.end(0)
        await leave(writer)
        assert history.faults(1, 300) == []
        for _, each in stalled:
            each.transport.abort()
        await eventually(lambda: engine.open <= 1)


async def test_a_reader_that_comes_back_gets_every_byte(
    shared_machine: Machine, engine: Engine
) -> None:
    history = History()
    async with doored(shared_machine.tunnel(engine.port)) as door:
        reader, writer = await knock(door)
        writer.transport.pause_reading()
        writer.write(b"records 0 100000 0\n")
        await eventually(lambda: door._tunnel.status().received_bytes > 500_000)
        await eventually(still(lambda: door._tunnel.status().received_bytes))
        assert door._tunnel.status().received_bytes < 100_000 * len(record(0, 0))
        writer.transport.resume_reading()
        while data := await reader.read(65536):
            history.got(0, data)
        history.end(0)
        await leave(writer)
    assert history.faults(1, 100_000) == []


async def test_a_client_that_leaves_closes_the_connection_at_the_engine(
    shared_machine: Machine, engine: Engine
) -> None:
    async with doored(shared_machine.tunnel(engine.port)) as door:
        reader, writer = await knock(door)
        writer.write(b"flood\n")
        await reader.readexactly(100_000)
        assert (engine.floods, door.connections) == (1, 1)
        writer.transport.abort()
        await eventually(lambda: not engine.floods and not door.connections)


async def test_a_broken_link_resets_and_does_not_look_like_an_end(
    machine: Machine, engine: Engine
) -> None:
    async with doored(machine.tunnel(engine.port)) as door:
        reader, writer = await knock(door)
        writer.write(b"records 0 100000 0.001\n")
        await reader.readexactly(1000)
        machine.kill_sessions()
        with pytest.raises(ConnectionResetError):
            while await reader.read(65536):
                pass
        await leave(writer)
        reader, writer = await knock(door)
        writer.write(b"done\n")
        assert await reader.read() == b"done\n"
        await leave(writer)


async def test_who_knocks_while_the_tunnel_is_down_is_reset_in_the_end(
    machine: Machine, engine: Engine
) -> None:
    pace = Pace(first_s=0.05, longest_s=0.2, wait_s=5.0)
    async with doored(machine.tunnel(engine.port, pace=pace)) as door:
        machine.stop()
        reader, writer = await knock(door)
        with pytest.raises(ConnectionResetError):
            writer.write(b"done\n")
            await reader.readexactly(1)
        await leave(writer)
