"""Our tunnel against ``ssh -L`` with AES-GCM, both through the same sshd, in the same run.

``python -m benchmarks.tunnel [rtt|pace|bulk|many|channels|stalled|faults|cycles|wan|all]``
Needs OpenSSH's sshd and ssh; ``wan`` needs root and /dev/net/tun.
"""

import argparse
import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.processes import cpu_s, free_port, report, rss_mb
from benchmarks.tunnel_parts import HERE, NS, STAMP, STAMPED_BYTES
from llmctl.ssh.keys import Key, load_or_make_key
from tests.integration.ssh.sshd import Sshd
from tests.integration.tunnel.history import History

BULK_BYTES = 512 * 2**20
ROUNDS = 3
IN_NAMESPACE = ["ip", "netns", "exec", NS]


class Part:
    """A process of ``tunnel_parts``, and the lines that it says."""

    def __init__(self, *words: object, prefix: tuple[str, ...] = ()) -> None:
        command = [*prefix, sys.executable, "-m", "benchmarks.tunnel_parts", *map(str, words)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        self.pid = self.process.pid
        self._lines: list[str] = []
        self._rest = ""

    def line(self, within_s: float = 40.0) -> str:
        """Return the next line."""
        end = time.monotonic() + within_s
        while not self._lines and time.monotonic() < end:
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                said = os.read(self.process.stdout.fileno(), 65536).decode()
                *self._lines, self._rest = (self._rest + said).split("\n")
                if not said:
                    break
        if not self._lines:
            raise SystemExit("a part of the benchmark ended, or says nothing")
        return self._lines.pop(0)

    def ready(self) -> str:
        """Return its first line that is not a state."""
        while (line := self.line()).startswith("["):
            pass
        return line

    def state(self, wanted: str) -> float:
        """Wait until our tunnel says that it is ``wanted``; returns when that was."""
        while True:
            name, when = json.loads(self.line())
            if name == wanted:
                return when

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@contextmanager
def part(*words: object, prefix: tuple[str, ...] = ()) -> Iterator[Part]:
    made = Part(*words, prefix=prefix)
    try:
        yield made
    finally:
        made.end()


class Bench:
    """A source behind an sshd."""

    def __init__(self, directory: Path, sshd: Sshd, key: Key, source: int) -> None:
        self.directory, self.sshd, self.key, self.source = directory, sshd, key, source

    @contextmanager
    def ours(
        self, *, host: str = "127.0.0.1", port: int | None = None, prefix=()
    ) -> Iterator[Part]:
        words = (host, port or self.sshd.port, self.sshd.user, self.directory / "keys", self.source)
        with part("forward", *words, prefix=prefix) as forwarder:
            forwarder.port = int(forwarder.ready())
            yield forwarder

    @contextmanager
    def openssh(
        self, *, host: str = "127.0.0.1", port: int | None = None, prefix=()
    ) -> Iterator[Part]:
        """Run ``ssh -L`` with a command, which gives it TCP_NODELAY on the server as well."""
        local = free_port()
        command = [
            *prefix, "ssh", "-F", "none", "-c", "aes128-gcm@openssh.com",
            "-i", str(self.directory / "keys" / "id_ed25519"), "-p", str(port or self.sshd.port),
            "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
            "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=3", "-o", "LogLevel=ERROR",
            "-o", "ExitOnForwardFailure=yes", "-L", f"127.0.0.1:{local}:127.0.0.1:{self.source}",
            f"{self.sshd.user}@{host}", "echo ready; exec sleep 100000",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()
            process.port = local
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


@contextmanager
def bench(*extra: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="llmctl-tunnel-") as name:
        directory = Path(name)
        key = load_or_make_key(directory / "keys")
        options = {"authorized": [key.public_line], "extra": extra}
        with Sshd(directory / "sshd", **options) as sshd, part("source", 0) as source:
            yield Bench(directory, sshd, key, int(source.ready()))


def quantiles(values: list[float]) -> tuple[float, float]:
    values = sorted(values)
    return values[len(values) // 2], values[int(len(values) * 0.99)]


async def round_trips(port: int, count: int = 1500) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"echo\n")
    found = []
    for _ in range(count):
        begin = time.perf_counter()
        writer.write(bytes(256))
        await reader.readexactly(256)
        found.append((time.perf_counter() - begin) * 1e3)
    writer.close()
    return found


async def paced(port: int, stream: int, count: int, per_s: float, history: History) -> list[float]:
    """Read one paced stream; returns its one-way times in ms."""
    found = []
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"pace %d %d %g\n" % (stream, count, per_s))
        while True:
            piece = await reader.readexactly(STAMPED_BYTES)
            found.append((time.monotonic_ns() - STAMP.unpack_from(piece)[0]) / 1e6)
            history.got(stream, piece[STAMP.size :])
    except asyncio.IncompleteReadError as end:
        if not end.partial:
            history.end(stream)
        writer.close()
    except OSError:
        pass
    return found


async def many_paced(port: int, streams: int, count: int, per_s: float) -> tuple[list[float], int]:
    history = History()
    results = await asyncio.gather(
        *(paced(port, stream, count, per_s, history) for stream in range(streams))
    )
    return [each for one in results for each in one], len(history.faults(streams, count))


def bulk_down(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"down %d\n" % BULK_BYTES)
        begin, size, buffer = time.perf_counter(), 0, bytearray(2**20)
        while got := sock.recv_into(buffer):
            size += got
        assert size == BULK_BYTES, size
        return time.perf_counter() - begin


def bulk_up(port: int) -> float:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"up\n")
        begin, block = time.perf_counter(), bytes(2**20)
        for _ in range(BULK_BYTES // len(block)):
            sock.sendall(block)
        sock.shutdown(socket.SHUT_WR)
        assert int(sock.makefile().readline()) == BULK_BYTES
        return time.perf_counter() - begin


@contextmanager
def three(rig: Bench) -> Iterator[dict[str, tuple[int, int | None]]]:
    with rig.ours() as ours, rig.openssh() as openssh:
        yield {
            "direct": (rig.source, None),
            "openssh": (openssh.port, openssh.pid),
            "ours": (ours.port, ours.pid),
        }


def rtt(_: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (port, _) in ways.items():
                times[name] += asyncio.run(round_trips(port))
        found = {name: quantiles(values) for name, values in times.items()}
        report(
            "256 B round trip",
            ours_p50_ms=found["ours"][0], ours_p99_ms=found["ours"][1],
            ssh_p50_ms=found["openssh"][0], ssh_p99_ms=found["openssh"][1],
            added_p50_ms=found["ours"][0] - found["direct"][0],
            added_p99_ms=found["ours"][1] - found["direct"][1],
        )  # fmt: skip


def pace(_: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, (port, _) in ways.items():
                times[name] += asyncio.run(paced(port, 0, 200, 50, History()))
        found = {name: quantiles(values) for name, values in times.items()}
        report(
            "50 tokens/s one way",
            added_p50_ms=found["ours"][0] - found["direct"][0],
            added_p99_ms=found["ours"][1] - found["direct"][1],
            ssh_added_p50_ms=found["openssh"][0] - found["direct"][0],
            ssh_added_p99_ms=found["openssh"][1] - found["direct"][1],
        )


def bulk(_: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        for name, job in (("down", bulk_down), ("up", bulk_up)):
            seconds = {key: [] for key in ways}
            cpu = {key: [] for key in ways}
            for _ in range(ROUNDS):
                for key, (port, pid) in ways.items():
                    before = cpu_s(pid) if pid else 0.0
                    seconds[key].append(job(port))
                    cpu[key].append((cpu_s(pid) if pid else 0.0) - before)
            middle = {key: sorted(values)[ROUNDS // 2] for key, values in seconds.items()}
            used = {key: sorted(values)[ROUNDS // 2] for key, values in cpu.items()}
            report(
                f"bulk {name}",
                ours_mb_s=BULK_BYTES / 1e6 / middle["ours"],
                ssh_mb_s=BULK_BYTES / 1e6 / middle["openssh"],
                ratio=middle["openssh"] / middle["ours"],
                ours_cpu_s_gb=used["ours"] / BULK_BYTES * 1e9,
                ssh_cpu_s_gb=used["openssh"] / BULK_BYTES * 1e9,
            )


def many(options: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        for name, (port, pid) in ways.items():
            before, begin = cpu_s(pid) if pid else 0.0, time.monotonic()
            times, faults = asyncio.run(many_paced(port, 100, int(30 * options.seconds), 30))
            used = (cpu_s(pid) if pid else 0.0) - before
            p50, p99 = quantiles(times)
            cpu_percent = 100 * used / (time.monotonic() - begin)
            report(
                f"100 streams of 30/s, {name}",
                faulty_streams=faults, p50_ms=p50, p99_ms=p99, cpu_percent=cpu_percent,
            )  # fmt: skip


def channels(_: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        for name, (port, _) in ways.items():
            times, faults = asyncio.run(many_paced(port, 500, 50, 5))
            p50, p99 = quantiles(times)
            report(f"500 streams of 5/s, {name}", faulty_streams=faults, p50_ms=p50, p99_ms=p99)


def stalled(_: argparse.Namespace) -> None:
    with bench() as rig, three(rig) as ways:
        for name in ("openssh", "ours"):
            port, pid = ways[name]
            quiet, _ = asyncio.run(many_paced(port, 1, 250, 50))
            before = rss_mb(pid)
            stuck = [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
            for sock in stuck:
                sock.sendall(b"flood\n")
            time.sleep(3)
            times, faults = asyncio.run(many_paced(port, 1, 250, 50))
            report(
                f"50 stalled readers, {name}",
                rss_growth_mb=rss_mb(pid) - before, healthy_faults=faults,
                healthy_p50_ms=quantiles(times)[0], healthy_p99_ms=quantiles(times)[1],
                quiet_p50_ms=quantiles(quiet)[0], quiet_p99_ms=quantiles(quiet)[1],
            )  # fmt: skip
            for sock in stuck:
                sock.close()


def faults(_: argparse.Namespace) -> None:
    """Hurt the link; the times are from the deed, and from its end, to what the tunnel says."""
    with bench() as rig, part("hop", rig.sshd.port) as hop:
        through = int(hop.ready())
        with rig.ours(port=through) as ours:
            for name in ("killed", "frozen", "black hole"):
                time.sleep(1.5)
                begin = time.monotonic()
                _hurt(name, rig, hop)
                noticed = ours.state("down") - begin
                healed = begin + noticed
                if name == "black hole":
                    time.sleep(10)
                    healed = time.monotonic()
                    os.kill(hop.pid, signal.SIGCONT)
                asyncio.run(round_trips(ours.port, 1))
                served = time.monotonic() - healed
                report(f"link {name}", noticed_s=noticed, served_again_s=served)


def _hurt(name: str, rig: Bench, hop: Part) -> None:
    if name == "killed":
        rig.sshd.kill_sessions()
    elif name == "frozen":
        for pid in rig.sshd.sessions():
            os.kill(pid, signal.SIGSTOP)
    else:
        os.kill(hop.pid, signal.SIGSTOP)


def cycles(options: argparse.Namespace) -> None:
    with bench() as rig, rig.ours() as ours:
        asyncio.run(round_trips(ours.port, 10))
        standing = _standing(ours.pid)
        worst = 0.0
        for _ in range(options.cycles):
            rig.sshd.kill_sessions()
            begin = ours.state("down")
            asyncio.run(round_trips(ours.port, 1))
            worst = max(worst, time.monotonic() - begin)
        time.sleep(2)
        after = _standing(ours.pid)
        report(
            f"{options.cycles} times killed",
            threads_more=after[0] - standing[0], descriptors_more=after[1] - standing[1],
            rss_more_mb=after[2] - standing[2], slowest_s=worst,
        )  # fmt: skip


def _standing(pid: int) -> tuple[int, int, float]:
    tasks, descriptors = Path(f"/proc/{pid}/task"), Path(f"/proc/{pid}/fd")
    return len(list(tasks.iterdir())), len(list(descriptors.iterdir())), rss_mb(pid)


def wan(_: argparse.Namespace) -> None:
    """80 ms of round trip between two network namespaces."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists():
        report("80 ms link", skipped="needs root and /dev/net/tun")
        return
    prefix = tuple(IN_NAMESPACE)
    try:
        with part("wire") as wire:
            wire.ready()
            port = free_port()
            with bench(f"ListenAddress {HERE}:{port}") as rig:
                for name, way in (("openssh", rig.openssh), ("ours", rig.ours)):
                    with way(host=HERE, port=port, prefix=prefix) as forwarder:
                        client_of(name, forwarder.port, prefix)
                        if name == "ours":
                            rig.sshd.kill_sessions()
                            lost = forwarder.state("down")
                            again = forwarder.state("up") - lost
                            report("80 ms link, up again after a kill", seconds=again)
    finally:
        subprocess.run(["ip", "netns", "delete", NS], check=False)


def client_of(name: str, port: int, prefix: tuple[str, ...]) -> None:
    with part("client", port, prefix=prefix) as measuring:
        p50, p99, first, again = json.loads("[" + measuring.ready())
        report(
            f"80 ms link, {name}",
            one_way_p50_ms=p50, one_way_p99_ms=p99,
            connect_and_first_byte_ms=first, round_trip_ms=again,
        )  # fmt: skip


async def client(words: list[str]) -> None:
    """Measure on the far side of the link; prints the figures without the first bracket."""
    port = int(words[0])
    times = await paced(port, 0, 500, 50, History())
    firsts = []
    for _ in range(10):
        begin = time.perf_counter()
        await round_trips(port, 1)
        firsts.append((time.perf_counter() - begin) * 1e3)
        await asyncio.sleep(0.5)
    again = quantiles(await round_trips(port, 30))[0]
    print(json.dumps([*quantiles(times), quantiles(firsts)[0], again])[1:], flush=True)


JOBS = {
    "rtt": rtt, "pace": pace, "bulk": bulk, "many": many, "channels": channels,
    "stalled": stalled, "faults": faults, "cycles": cycles, "wan": wan,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", default="all", choices=[*JOBS, "all"])
    parser.add_argument("--seconds", type=float, default=60.0, help="of the 100 streams")
    parser.add_argument("--cycles", type=int, default=50)
    options = parser.parse_args()
    for name, job in JOBS.items():
        if options.what in (name, "all"):
            with contextlib.suppress(KeyboardInterrupt):
                job(options)


if __name__ == "__main__":
    main()
