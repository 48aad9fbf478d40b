"""How many connections there may be, of whom, and which make room; on a clock of their own."""

import asyncio
import json

import pytest
from aiohttp import web

from llmctl.proxy.room import MOST_OF_PEER, PATIENCE_S
from llmctl.proxy.server import FAREWELL_S, MAX_CONNECTIONS, Front
from tests.clocks import ManualClock
from tests.unit.proxy import virtual_time
from tests.unit.proxy.wire import GET, HEAD, HEADER_S, Wire, answer, connect, front, virtually


async def answer_those_known(request: web.BaseRequest) -> web.Response:
    """Answer as the app does, which knows who has shown a token; some answers take for ever."""
    if "x-api-key" in request.headers:
        request.protocol.admitted()
    if request.path == "/busy":
        await asyncio.Event().wait()
    return web.Response(text="done")


KNOWN = b"GET / HTTP/1.1\r\nHost: x\r\nx-api-key: k\r\n\r\n"
BUSY = KNOWN.replace(b"/ ", b"/busy ", 1)


async def connected(server: Front, said: bytes, *peers: str) -> list[Wire]:
    wires = [connect(server, peer=peer) for peer in peers]
    for wire in wires:
        wire.protocol.data_received(said)
    await asyncio.sleep(0.1)
    return wires


def stay(wires: list[Wire]) -> list[bool]:
    return [wire.closed_at is None for wire in wires]


def told(wire: Wire) -> tuple[int, str]:
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head
    assert f"\r\nContent-Length: {len(body)}".encode() in head
    error = json.loads(body)["error"]
    assert error["type"] == "overloaded_error"
    return int(head.split()[1]), error["message"]


@virtually
async def test_more_connections_than_are_allowed(clock: ManualClock) -> None:
    server = front(answer_those_known)
    wires = [
        wire for n in range(4) for wire in await connected(server, BUSY, *[f"10.0.0.{n}"] * 256)
    ]
    assert len(wires) == MAX_CONNECTIONS
    (refused,) = await connected(server, KNOWN, "10.0.0.9")
    assert told(refused)[0] == 529
    await asyncio.sleep(1.0)
    assert refused.closed_at is not None
    assert refused.written.count(b"HTTP/1.1") == 1
    assert all(stay(wires))
    wires[0].close()
    await asyncio.sleep(1)
    assert stay(await connected(server, KNOWN, "10.0.0.9")) == [True]
    await server.stop(0.1)
    assert not server.connections
    assert not server.room


def test_one_address_has_its_share_and_no_more(caplog) -> None:
    virtual_time.run(one_address_and_others)
    assert caplog.text.count("connections are refused") == 1


async def one_address_and_others(clock: ManualClock) -> None:
    server = Front(
        answer_those_known, header_s=HEADER_S, max_connections=10, max_peer_connections=4
    )
    busy = await connected(server, BUSY, *["10.0.0.1"] * 4)
    refused = await connected(server, KNOWN, *["10.0.0.1"] * 2)
    assert [told(wire) for wire in refused] == [
        (529, "10.0.0.1 has 4 connections in use; use fewer, or try again")
    ] * 2
    others = await connected(server, KNOWN, "10.0.0.2", "10.0.0.3")
    assert all(stay(busy + others))
    busy[0].close()
    await asyncio.sleep(0.1)
    assert stay(await connected(server, KNOWN, "10.0.0.1")) == [True]


@virtually
async def test_strangers_and_then_the_idle_make_room_for_their_own(clock: ManualClock) -> None:
    server = Front(answer_those_known, header_s=HEADER_S, max_peer_connections=4)
    idle = await connected(server, KNOWN, *["10.0.0.1"] * 2)
    busy = await connected(server, BUSY, "10.0.0.1")
    stranger = await connected(server, GET, "10.0.0.1")
    elsewhere = await connected(server, GET, "10.0.0.2")
    await asyncio.sleep(PATIENCE_S)
    first = await connected(server, BUSY, "10.0.0.1")
    assert [stay(each) for each in (idle, busy, stranger, first)] == [
        [True, True],
        [True],
        [False],
        [True],
    ]
    second = await connected(server, BUSY, "10.0.0.1")
    assert stay(idle + busy + first + second + elsewhere) == [False, *[True] * 5]


@virtually
async def test_those_who_come_at_once_are_heard_or_told(clock: ManualClock) -> None:
    server = Front(answer_those_known, header_s=HEADER_S, max_peer_connections=10)
    wires = [connect(server, peer="10.0.0.1") for _ in range(20)]
    for wire in wires:
        wire.protocol.data_received(BUSY)
    await asyncio.sleep(0.5)
    assert stay(wires[:10]) == [True] * 10
    assert {told(wire)[0] for wire in wires[10:]} == {529}


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_this_machine_may_have_all(peer: str) -> None:
    async def ours(clock: ManualClock) -> None:
        server = front(answer_those_known)
        here = await connected(server, BUSY, *[peer] * (MAX_CONNECTIONS - 1))
        there = await connected(server, BUSY, "fe80::1%eth0")
        assert all(stay(here + there))

    virtual_time.run(ours)


@virtually
async def test_another_machine_may_have_half(clock: ManualClock) -> None:
    server = front(answer_those_known)
    wires = await connected(server, BUSY, *["192.0.2.1"] * (MOST_OF_PEER + 1))
    assert sum(b"529" in wire.written for wire in wires) == 1
    assert b"529" in wires[-1].written
    assert MOST_OF_PEER == MAX_CONNECTIONS // 2


@virtually
async def test_half_a_request_is_not_idle(clock: ManualClock) -> None:
    server = Front(answer_those_known, header_s=HEADER_S, max_peer_connections=2)
    asking, idle = await connected(server, KNOWN, *["10.0.0.1"] * 2)
    asking.protocol.data_received(KNOWN[:9])
    await connected(server, KNOWN, "10.0.0.1")
    assert stay([asking, idle]) == [True, False]
    asking.protocol.data_received(KNOWN[9:])
    await asyncio.sleep(0.1)
    assert asking.written.count(b"200 OK") == 2


@virtually
async def test_those_who_are_refused_by_the_hundred_do_not_linger(clock: ManualClock) -> None:
    server = Front(
        answer_those_known, header_s=HEADER_S, max_connections=160, max_peer_connections=1
    )
    await connected(server, BUSY, "10.0.0.1")
    refused = await connected(server, KNOWN, *["10.0.0.1"] * 200)
    assert {told(wire)[0] for wire in refused} == {529}
    assert sum(stay(refused)) == 40
    await asyncio.sleep(FAREWELL_S)
    assert not any(stay(refused))
    assert sum(stay(await connected(server, KNOWN, "10.0.0.1"))) == 1


@virtually
async def test_who_says_nothing_keeps_nobody_out(clock: ManualClock) -> None:
    server = Front(answer, header_s=HEADER_S, max_connections=10)
    polite = connect(server, peer="10.0.0.1")
    polite.protocol.data_received(HEAD[:10])
    silent = [connect(server, peer="10.0.0.2") for _ in range(9)]
    new = connect(server, peer="10.0.0.3")
    await asyncio.sleep(1)
    assert stay(silent) == [False] + [True] * 8
    assert polite.closed_at is None
    for wire in (polite, new):
        wire.protocol.data_received(HEAD[10:] + b"onetwo" if wire is polite else GET)
    await asyncio.sleep(1)
    assert b"200 OK" in polite.written
    assert b"200 OK" in new.written
    await asyncio.sleep(HEADER_S)
    assert stay(silent) == [False] * 9


@virtually
async def test_who_guesses_keeps_nobody_out(clock: ManualClock) -> None:
    cut = []

    async def delay(request: web.BaseRequest) -> web.Response:
        if "x-api-key" in request.headers:
            return await answer_those_known(request)
        try:
            await asyncio.sleep(2)
        except asyncio.CancelledError:
            cut.append(request.remote)
            raise
        return web.Response(status=401)

    server = Front(delay, header_s=HEADER_S, max_connections=10, max_peer_connections=8)
    guessing = await connected(server, GET, *["10.0.0.2"] * 8)
    await asyncio.sleep(PATIENCE_S)
    good = await connected(server, KNOWN, "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.2")
    assert all(stay(good))
    assert all(b"200 OK" in wire.written for wire in good)
    assert stay(guessing) == [False] * 2 + [True] * 6
    assert len(cut) == 2


@virtually
async def test_one_network_of_ipv6_is_one_peer(clock: ManualClock) -> None:
    server = Front(answer_those_known, header_s=HEADER_S, max_peer_connections=2)
    busy = await connected(server, BUSY, "2001:db8:1:2::1", "2001:db8:1:2:ffff::2")
    refused, other = await connected(server, KNOWN, "2001:db8:1:2::3", "2001:db8:1:3::1")
    status, words = told(refused)
    assert status == 529
    assert "2001:db8:1:2::/64 has 2 connections" in words
    assert stay([*busy, other]) == [True] * 3
