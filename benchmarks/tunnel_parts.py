"""The parts of ``benchmarks.tunnel`` that are processes of their own: source, forwarder, network.

``source``   answers ``echo``, ``pace STREAM COUNT PER_S``, ``down BYTES``, ``up``, ``flood`` lines
``forward``  our tunnel with a door on a TCP port, as ``llmctl tunnel`` runs it
``hop``      a plain TCP hop: stopped with SIGSTOP it is a black hole
``wire``     40 ms each way between two TUN devices, one of them in the network namespace ``NS``
Each prints one line when it is ready.
"""

import argparse
import asyncio
import contextlib
import fcntl
import heapq
import json
import os
import select
import struct
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from tests.integration.tunnel.history import RECORD, record

NS, HERE, THERE = "llmctl-bench", "10.98.76.1", "10.98.76.2"
STAMP = struct.Struct(">q")
ONE_WAY_S = 0.04
QUEUE_PACKETS = 2000


def stamped(stream: int, number: int) -> bytes:
    """Return a record with the time of its sending before it."""
    return STAMP.pack(time.monotonic_ns()) + record(stream, number)


STAMPED_BYTES = STAMP.size + RECORD.size + 64


async def source(port: int) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        word, *rest = (await reader.readline()).split() or [b""]
        if (command := _COMMANDS.get(word)) is not None:
            await command(reader, writer, *map(float, rest))
    writer.close()


async def _echo(reader, writer) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def _pace(_, writer, stream: float, count: float, per_s: float) -> None:
    begin = time.monotonic()
    for number in range(int(count)):
        await asyncio.sleep(max(0.0, begin + number / per_s - time.monotonic()))
        writer.write(stamped(int(stream), number))
        await writer.drain()


async def _down(_, writer, size: float) -> None:
    block = bytes(262144)
    for _ in range(int(size) // len(block)):
        writer.write(block)
        await writer.drain()


async def _up(reader, writer) -> None:
    size = 0
    while data := await reader.read(262144):
        size += len(data)
    writer.write(b"%d\n" % size)
    await writer.drain()


async def _flood(_, writer) -> None:
    while True:
        writer.write(bytes(65536))
        await writer.drain()


_COMMANDS = {
    b"echo": _echo, b"pace": _pace, b"down": _down, b"up": _up, b"flood": _flood,
}  # fmt: skip


async def forward(host: str, ssh_port: int, user: str, keys: str, target: int) -> None:
    from llmctl.core.rental import SshAddress
    from llmctl.ssh.connect import SshTarget, connect
    from llmctl.ssh.forward import open_port
    from llmctl.ssh.keys import load_or_make_key
    from llmctl.ssh.supervisor import Tunnel
    from tests.integration.ssh.pins import Pins

    address = SshAddress(host=host, port=ssh_port, user=user)
    where = SshTarget(instance="bench", generation="1", addresses=(address,))

    async def locate() -> SshTarget:
        return where

    login = partial(connect, key=load_or_make_key(Path(keys)), pins=Pins())
    tunnel = Tunnel("bench", locate, login, port=target)
    tunnel.subscribe(lambda status: print(json.dumps([status.state, time.monotonic()]), flush=True))
    door = open_port(tunnel, 0)
    await tunnel.start()
    await tunnel.until_up(30)
    print(door.url.rpartition(":")[2], flush=True)
    await asyncio.Event().wait()


async def hop(target: int) -> None:
    from tests.emulators.faultproxy import FaultProxy

    proxy = FaultProxy(target)
    await proxy.start()
    print(proxy.port, flush=True)
    await asyncio.Event().wait()


def wire() -> None:
    """Carry packets between the two devices, each ``ONE_WAY_S`` later; needs root."""
    _run("ip", "netns", "add", NS, check=False)
    outer = _tun("lctl0", HERE, None)
    inner = _tun("lctl1", THERE, NS)
    print("ready", flush=True)
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    while True:
        left = waiting[0][0] - time.monotonic() if waiting else None
        readable, _, _ = select.select(
            [outer, inner], [], [], None if left is None else max(0, left)
        )
        for source_fd in readable:
            packet = os.read(source_fd, 65536)
            if len(waiting) < QUEUE_PACKETS:
                count += 1
                sink = inner if source_fd == outer else outer
                heapq.heappush(waiting, (time.monotonic() + ONE_WAY_S, count, sink, packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, sink, packet = heapq.heappop(waiting)
            os.write(sink, packet)


def _tun(name: str, address: str, namespace: str | None) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, 0x400454CA, struct.pack("16sH22x", name.encode(), 0x1001))
    prefix: list[str] = []
    if namespace is not None:
        _run("ip", "link", "set", name, "netns", namespace)
        prefix = ["ip", "netns", "exec", namespace]
    _run(*prefix, "ip", "address", "add", f"{address}/30", "dev", name)
    _run(*prefix, "ip", "link", "set", name, "up", "txqueuelen", "5000")
    _run(*prefix, "ip", "link", "set", "lo", "up")
    return descriptor


def _run(*words: str, check: bool = True) -> None:
    subprocess.run(words, check=check, stderr=subprocess.DEVNULL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()
    words = options.arguments
    match options.part:
        case "source":
            asyncio.run(source(int(words[0])))
        case "forward":
            asyncio.run(forward(words[0], int(words[1]), words[2], words[3], int(words[4])))
        case "hop":
            asyncio.run(hop(int(words[0])))
        case "wire":
            wire()
        case "client":
            from benchmarks.tunnel import client

            asyncio.run(client(words))
        case unknown:
            sys.exit(f"no part {unknown}")


if __name__ == "__main__":
    main()
