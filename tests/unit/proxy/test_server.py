"""Deadlines of one connection, on a clock of its own: headers, idleness, clients that take nothing."""

import asyncio
import resource
from functools import partial

import pytest
from aiohttp import web
from aiohttp.http_parser import HttpRequestParserPy

from llmctl.core.errors import ConfigError
from llmctl.proxy.server import (
    FAREWELL_S,
    IDLE_S,
    MAX_CONNECTIONS,
    Front,
    check_parser,
    connections_for,
    most_descriptors,
)
from tests.clocks import ManualClock
from tests.unit.proxy import virtual_time
from tests.unit.proxy.wire import (
    CHUNKED,
    GET,
    HEAD,
    HEADER_S,
    STALL_S,
    answer,
    connect,
    front,
    virtually,
)


@virtually
async def test_silence_from_the_beginning(clock: ManualClock) -> None:
    wire = connect(front())
    await asyncio.sleep(100)
    assert wire.closed_at == pytest.approx(HEADER_S)


@virtually
async def test_headers_in_drops(clock: ManualClock) -> None:
    wire = connect(front())
    for byte in HEAD[:20]:
        await asyncio.sleep(1)
        if wire.closed_at is None:
            wire.protocol.data_received(bytes([byte]))
    assert wire.closed_at == pytest.approx(HEADER_S)


@virtually
async def test_a_body_right_behind_the_headers(clock: ManualClock) -> None:
    wire = connect(front())
    for piece in (HEAD, b"one", b"two"):
        wire.protocol.data_received(piece)  # nothing else has run in between
    await asyncio.sleep(10 * HEADER_S)
    assert b"200 OK" in wire.written
    assert wire.closed_at is None


@virtually
async def test_a_body_that_takes_longer_than_the_headers_may(clock: ManualClock) -> None:
    wire = connect(front(partial(answer, pause_s=2 * HEADER_S)))
    wire.protocol.data_received(HEAD)
    for piece in (b"on", b"et", b"wo"):
        await asyncio.sleep(HEADER_S)
        wire.protocol.data_received(piece)
    await asyncio.sleep(10 * HEADER_S)
    assert b"200 OK" in wire.written
    assert wire.closed_at is None


@virtually
async def test_half_a_second_request(clock: ManualClock) -> None:
    wire = connect(front())
    wire.protocol.data_received(HEAD + b"onetwo")
    await asyncio.sleep(100)
    wire.protocol.data_received(HEAD[:10])
    await asyncio.sleep(100)
    assert wire.closed_at == pytest.approx(100 + HEADER_S)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"onetwo" + HEAD[:10]],
        [HEAD + b"one", b"two" + HEAD[:10]],
        [HEAD + b"onetwo", HEAD[:10]],
        [HEAD + b"onetwo", b"P"],
        [GET + HEAD[:10]],
        [GET[:-1], GET[-1:] + HEAD[:10]],
        [HEAD + b"onetwo" + GET + HEAD[:10]],
        [CHUNKED + b"3\r\none\r\n0\r\n\r\n" + HEAD[:10]],
        [CHUNKED + b"3\r\none\r\n0\r\n", b"\r\n" + HEAD[:10]],
    ],
)
@pytest.mark.parametrize("pause_s", [0.0, 3 * HEADER_S])
def test_half_a_request_right_behind_a_whole_one(pieces: list[bytes], pause_s: float) -> None:
    async def half(clock: ManualClock) -> None:
        wire = connect(front(partial(answer, pause_s=pause_s)))
        for piece in pieces:
            wire.protocol.data_received(piece)
        await asyncio.sleep(10 * HEADER_S)
        assert wire.written.count(b"200 OK") == b"".join(pieces).count(b"HTTP/1.1")
        assert wire.closed_at is not None
        assert wire.closed_at <= 2 * pause_s + HEADER_S

    virtual_time.run(half)


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"onetwo"],
        [HEAD, b"onetwo"],
        [HEAD + b"\r\n\r\nxy"],
        [HEAD[:-2], HEAD[-2:] + b"one", b"two"],
        [CHUNKED + b"3\r\none\r\n0\r\n\r\n"],
        [CHUNKED + b"3\r\none\r\n", b"0\r\n\r", b"\n"],
        [GET + GET, GET],
        [HEAD + b"onetwo" + HEAD[:10], HEAD[10:] + b"onetwo"],
        [GET[:5], GET[5:]],
    ],
)
@pytest.mark.parametrize("pause_s", [0.0, 3 * HEADER_S])
def test_whole_requests_however_they_come(pieces: list[bytes], pause_s: float) -> None:
    async def whole(clock: ManualClock) -> None:
        wire = connect(front(partial(answer, pause_s=pause_s)))
        for piece in pieces:
            wire.protocol.data_received(piece)
        await asyncio.sleep(IDLE_S - 1)
        assert wire.written.count(b"200 OK") == b"".join(pieces).count(b"HTTP/1.1")
        assert wire.closed_at is None

    virtual_time.run(whole)


@virtually
async def test_the_rest_of_a_request_behind_a_long_answer(clock: ManualClock) -> None:
    wire = connect(front(partial(answer, pause_s=10 * HEADER_S)))
    wire.protocol.data_received(HEAD + b"onetwo" + HEAD[:10])
    await asyncio.sleep(9 * HEADER_S)
    wire.protocol.data_received(HEAD[10:] + b"onetwo")
    await asyncio.sleep(100 * HEADER_S)
    assert wire.written.count(b"200 OK") == 2
    assert wire.closed_at is None


@virtually
async def test_a_connection_may_be_idle_between_two_turns(clock: ManualClock) -> None:
    wire = connect(front())
    for _ in range(3):
        wire.protocol.data_received(HEAD + b"onetwo")
        await asyncio.sleep(IDLE_S - 1)
    assert wire.written.count(b"200 OK") == 3
    assert wire.closed_at is None
    await asyncio.sleep(10)
    assert wire.closed_at is not None


@virtually
async def test_a_client_that_takes_nothing(clock: ManualClock) -> None:
    gone = []

    async def stream(request: web.BaseRequest) -> web.Response:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            gone.append(asyncio.get_running_loop().time() - 1000.0)
            raise
        return web.Response()

    wire = connect(front(stream))
    wire.protocol.data_received(HEAD + b"onetwo")
    await asyncio.sleep(5)
    wire.unsent = 100_000
    wire.protocol.pause_writing()
    await asyncio.sleep(100)
    assert wire.aborted
    assert gone == pytest.approx([5 + STALL_S])


@virtually
async def test_a_client_that_takes_a_little_now_and_then(clock: ManualClock) -> None:
    wire = connect(front(partial(answer, pause_s=3600)))
    wire.protocol.data_received(HEAD + b"onetwo")
    wire.unsent = 100_000
    wire.protocol.pause_writing()
    for _ in range(20):
        await asyncio.sleep(STALL_S - 1)
        wire.unsent -= 100
    assert wire.closed_at is None
    wire.unsent = 0
    wire.protocol.resume_writing()
    await asyncio.sleep(10 * STALL_S)
    assert wire.closed_at is None


@pytest.mark.parametrize(
    ("descriptors", "connections"), [(64, 1), (256, 64), (1024, 448), (10**6, MAX_CONNECTIONS)]
)
def test_connections_leave_room_for_files_and_engines(descriptors: int, connections: int) -> None:
    assert connections_for(descriptors) == connections


def test_only_the_strict_parser_will_do() -> None:
    check_parser()
    with pytest.raises(ConfigError, match="no compiled HTTP parser"):
        check_parser(HttpRequestParserPy)


def test_a_process_may_open_what_its_connections_need() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most_descriptors() == resource.getrlimit(resource.RLIMIT_NOFILE)[0] or hard < 0
    assert most_descriptors() >= min(2 * MAX_CONNECTIONS, hard if hard > 0 else 10**9)


@virtually
async def test_what_follows_nonsense_is_dropped_until_the_client_had_its_time(
    clock: ManualClock,
) -> None:
    server = front(partial(answer, pause_s=1.0))
    wire = connect(server)
    wire.protocol.data_received(GET)
    wire.protocol.data_received(b"no such method\r\n\r\n")
    for _ in range(4):
        await asyncio.sleep(0.1)
        wire.protocol.data_received(GET)
    assert not wire.written
    await asyncio.sleep(1.0)
    first, second = wire.written.split(b"HTTP/1.")[1:]
    assert first.startswith(b"1 200")
    assert second.startswith(b"0 400")
    assert wire.half_closed
    assert wire.closed_at is None
    await asyncio.sleep(HEADER_S)
    assert wire.closed_at == pytest.approx(1.0 + FAREWELL_S)
    assert not server.room


@virtually
async def test_more_nonsense_than_can_be_waited_for_is_answered_and_ended(
    clock: ManualClock,
) -> None:
    server = Front(answer, header_s=HEADER_S, max_connections=8)
    wires = [connect(server) for _ in range(3)]
    for wire in wires:
        wire.protocol.data_received(b"no such method\r\n\r\n")
    await asyncio.sleep(0.1)
    assert all(wire.written.startswith(b"HTTP/1.0 400") for wire in wires)
    assert [wire.closed_at is None for wire in wires] == [True, True, False]
