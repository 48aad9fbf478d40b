"""Load: many streams, their latency, a long time, readers that stall, and what the tunnel costs."""

import asyncio
import contextlib
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp

from benchmarks import bodies
from benchmarks.processes import TOKEN, free_port, rss_mb, running
from benchmarks.scorecard.bench import lines
from benchmarks.scorecard.card import Figure, Missing, Run
from benchmarks.scorecard.history import Heard, listen
from benchmarks.scorecard.rig import Served, quantile, until
from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.ssh.keys import load_or_make_key
from llmctl.ssh.tunnel_key import TUNNEL_KEY_NAME, authorized_line
from llmctl.state.store import RentalStore
from tests.e2e.processes import Proxy
from tests.emulators.ollama import Answer, Delay, OllamaEmulator
from tests.integration.proxy.conftest import ask
from tests.integration.ssh.sshd import SSHD, Sshd

MODEL = "qwen3-coder:30b"


@dataclass
class Road:
    """The same engine directly, and through serve, its tunnel and a real sshd."""

    engine: int
    """Port."""
    proxy: Proxy

    async def heard(self, stream: int, words: int, per_s: float, *, direct: bool) -> Heard:
        """Hear one stream."""
        text = f"stream {stream} {words} {per_s:g} {random.random()}"
        if direct:
            messages = [{"role": "user", "content": text}]
            body = json.dumps({"model": MODEL, "messages": messages, "stream": True}).encode()
            request = bodies.http("/api/chat", body, port=self.engine)
            return await listen(self.engine, request, stream, end=b'"done":true')
        port = int(self.proxy.url.rpartition(":")[2])
        body = json.dumps(ask(text, stream=True, max_tokens=100_000)).encode()
        request = bodies.http("/v1/messages", body, port=port, token=TOKEN)
        return await listen(port, request, stream, end=b"event: message_stop\n")

    async def many(self, streams: int, words: int, per_s: float, *, direct: bool) -> list[Heard]:
        """Hear so many at once."""
        return await asyncio.gather(
            *(self.heard(stream, words, per_s, direct=direct) for stream in range(streams))
        )


@contextlib.asynccontextmanager
async def road(directory: Path) -> AsyncIterator[Road]:
    """Run it all; raises ``Missing`` where there is no sshd."""
    if SSHD is None:
        raise Missing("no sshd on this machine (Debian: apt-get install openssh-server)")
    home, port = directory / "home", free_port()
    command = [sys.executable, "-m", "benchmarks.scorecard.source", "--port", str(port)]
    with running(command, port=port), _machine(directory, home, port):
        proxy = Proxy(home, ("box",), {"LLMCTL_AUTH_TOKEN": TOKEN})
        await proxy.start()
        try:
            yield Road(port, proxy)
        finally:
            await proxy.stop()


@contextlib.asynccontextmanager
async def tunnelled(directory: Path, engine: OllamaEmulator) -> AsyncIterator[Served]:
    """Run serve before an engine behind a tunnel and sshd; raises ``Missing`` without sshd."""
    if SSHD is None:
        raise Missing("no sshd on this machine (Debian: apt-get install openssh-server)")
    home = directory / "home"
    async with engine, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        with _machine(directory, home, engine.port):
            proxy = Proxy(home, ("box",), {"LLMCTL_AUTH_TOKEN": TOKEN})
            await proxy.start()
            try:
                yield Served(engine, proxy, session)
            finally:
                await proxy.stop()


@contextlib.contextmanager
def _machine(directory: Path, home: Path, engine_port: int) -> Iterator[Sshd]:
    """An sshd before the engine, and on record as an instance that is ready."""
    keys = home / "data" / "ssh"
    admin, tunnel = load_or_make_key(keys), load_or_make_key(keys, TUNNEL_KEY_NAME)
    lets_in = [admin.public_line, authorized_line(tunnel.public_line, engine_port)]
    with Sshd(directory / "sshd", authorized=lets_in, extra=("MaxStartups 100",)) as sshd:
        store = RentalStore(
            find_paths({"LLMCTL_HOME": str(home)}).rentals_file, clock=SystemClock()
        )
        spec = UpSpec(name="box", providers=(ProviderName.HOST,), host=sshd.address)
        known = {"addresses": (sshd.address,), "generation": "host", "engine_port": engine_port}
        rental = store.begin(spec, ProviderName.HOST)
        store.advance(rental.uuid, Phase.READY, model=MODEL, num_ctx=65536, **known)
        store.close()
        yield sshd


# -- L1, L2 --------------------------------------------------------------------------------------


async def streams(run: Run) -> AsyncIterator[Figure]:
    """100 streams of 30 words a second, 500 of 5."""
    async with road(run.directory) as way:
        await way.many(5, 10, 50, direct=False)
        seconds = run.many(60, 4)
        for count, per_s, most_ms, added in ((100, 30, 25.0, True), (500, 5, 500.0, False)):
            words = int(per_s * (seconds if added else min(seconds, 20)))
            direct = await way.many(count, words, per_s, direct=True)
            ours = await way.many(count, words, per_s, direct=False)
            wrong = [each for each in ours if not each.whole(words)]
            note = "" if not wrong else f"first: {wrong[0].status}, {len(wrong[0].numbers)} words"
            name = f"{count} streams of {per_s}/s"
            yield Figure(f"{name}: faulty", len(wrong), "streams", 0, note=note)
            p99 = _p99(ours) - (_p99(direct) if added else 0.0)
            yield Figure(f"{name}: {'added ' if added else ''}p99", p99, "ms", most_ms)


def _p99(heard: list[Heard]) -> float:
    return quantile([ms for each in heard for ms in each.ms] or [float("inf")], 0.99)


async def latency(run: Run) -> AsyncIterator[Figure]:
    """One paced stream: through everything on loopback, and the tunnel over 80 ms."""
    p50s, p99s, words = [], [], run.many(200, 100)
    async with road(run.directory) as way:
        await way.many(2, 10, 50, direct=False)
        for _ in range(run.many(5, 2)):
            direct = (await way.heard(0, words, 50, direct=True)).ms
            ours = (await way.heard(0, words, 50, direct=False)).ms
            p50s.append(quantile(ours, 0.5) - quantile(direct, 0.5))
            p99s.append(quantile(ours, 0.99) - quantile(direct, 0.99))
    yield Figure("50 words/s: added p50", quantile(p50s, 0.5), "ms", 1.0)
    yield Figure("50 words/s: added p99", quantile(p99s, 0.5), "ms", 5.0)
    if run.short:
        return
    found = await lines(run, "benchmarks.tunnel", "wan")
    ours = [line for line in found if line["name"] == "80 ms link, ours"]
    if not ours:
        raise Missing(next((line["skipped"] for line in found if "skipped" in line), "no link"))
    yield Figure("80 ms link: one way p50", ours[0]["one_way_p50_ms"], "ms", 43.0)


# -- L3 ------------------------------------------------------------------------------------------

CLIENTS = 20


async def soak(run: Run) -> AsyncIterator[Figure]:
    """Clients that ask through the tunnel, and leave when they like."""
    seconds = run.many(1800, 120)
    engine = OllamaEmulator(lambda _: Answer(*(["word "] * 10 + [Delay(0.02)]) * 5))
    samples: list[tuple[float, float]] = []
    async with tunnelled(run.directory, engine) as served:
        await served.health()  # has one of its own to the engine, as later
        channels = await _channels(served)
        await _live(served, 10.0, [])
        await _channels_left(served, channels)
        before = _standing(served.pid)
        await _live(served, seconds, samples)
        left = await _channels_left(served, channels)
        after = _standing(served.pid)
        engine.requests.clear()
        health = await served.health()
    yield Figure("soak", seconds, "s", seconds, at_least=True)
    yield Figure("soak: memory slope", slope(samples) * 600, "MB/10 min", 1.0)
    for name, first, last in zip(("descriptors", "threads"), before, after, strict=True):
        yield Figure(f"soak: {name} more", last - first, name, 2)
    yield Figure("soak: generations left", health["generations"], "generations", 0)
    yield Figure("soak: channels more", left - channels, "channels", 0)


async def _channels(served: Served) -> int:
    return sum(each["channels"] for each in (await served.health())["tunnels"])


async def _channels_left(served: Served, before: int) -> int:
    """Return how many are open once connections to the engine that nobody uses have ended."""

    async def back() -> bool:
        return await _channels(served) <= before

    with contextlib.suppress(TimeoutError):
        await until(back, within_s=60)
    return await _channels(served)


async def _live(served: Served, seconds: float, samples: list[tuple[float, float]]) -> None:
    """Ask for so long, on connections that are closed afterwards."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await _ask_and_leave(replace(served, session=session), seconds, samples)


async def _ask_and_leave(
    served: Served, seconds: float, samples: list[tuple[float, float]]
) -> None:
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        dice = random.Random(number)
        while time.monotonic() < end:
            patience = dice.choice((0.005, 0.05, 0.1, 5.0))
            body = ask(f"question {dice.randrange(500)}", stream=dice.random() < 0.7)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience), served.post(body) as response:
                    await response.read()
            await asyncio.sleep(dice.uniform(0, 0.1))

    async def sample() -> None:
        while time.monotonic() < end:
            await asyncio.sleep(2)
            samples.append((time.monotonic(), rss_mb(served.pid)))
            served.engine.requests.clear()
            served.engine.connections.clear()

    await asyncio.gather(sample(), *(client(number) for number in range(CLIENTS)))


def _standing(pid: int) -> tuple[int, int]:
    place = Path(f"/proc/{pid}")
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))


def slope(samples: list[tuple[float, float]]) -> float:
    """Return MB a second over the later two thirds: what is made once is made by then."""
    late = samples[len(samples) // 3 :]
    times, sizes = [t for t, _ in late], [mb for _, mb in late]
    middle, mean = sum(times) / len(times), sum(sizes) / len(sizes)
    over = sum((t - middle) * (mb - mean) for t, mb in late)
    return over / sum((t - middle) ** 2 for t in times)


# -- L4, L5 --------------------------------------------------------------------------------------


async def stalled(run: Run) -> AsyncIterator[Figure]:
    """Fifty readers that take nothing, at the proxy and at the tunnel."""
    (line,) = await lines(run, "benchmarks.stalled")
    yield Figure("50 stalled at serve: memory", line["grown_mb"], "MB", 64.0)
    yield Figure("50 stalled at serve: each", line["kb_per_stream"], "kB", 2048 + 512)
    ours = [
        each for each in await lines(run, "benchmarks.tunnel", "stalled") if "ours" in each["name"]
    ]
    yield Figure("50 stalled in the tunnel: memory", ours[0]["rss_growth_mb"], "MB", 64.0)
    ratio = ours[0]["healthy_p99_ms"] / ours[0]["quiet_p99_ms"]
    yield Figure("p99 of a healthy stream beside them", ratio, "times", 2.0)


async def tunnel_cost(run: Run) -> AsyncIterator[Figure]:
    """Half a gigabyte each way."""
    most = {"bulk down": 2.0, "bulk up": 2.5}
    for line in await lines(run, "benchmarks.tunnel", "bulk"):
        name = line["name"]
        yield Figure(f"{name}: CPU", line["ours_cpu_s_gb"], "s/GB", most[name])
        yield Figure(f"{name}: of ssh's rate", line["ratio"], "share", 0.6, at_least=True)
