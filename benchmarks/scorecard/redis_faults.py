"""Redis that fails, behind serve: the rows of the failure matrix.

What a fault adds is the difference to a serve whose Redis is well, asked in turns with the other.
"""

import asyncio
import contextlib
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scorecard.card import Figure, Run
from benchmarks.scorecard.rig import Served, quantile, serving, timed, until
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.proxy.conftest import ask
from tests.integration.valkey import Valkey
from tests.integration.valkey import running as valkey_running
from tests.streams import listening

ROUNDS = 350
"""Three that wait for the budget are fewer than one in a hundred."""


def _full(valkey: Valkey) -> None:
    valkey.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    valkey.command("CONFIG", "SET", "maxmemory", "1")


def _locked(valkey: Valkey) -> None:
    valkey.command("CONFIG", "SET", "requirepass", "x")
    valkey.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")


def _started_anew(valkey: Valkey) -> None:
    valkey.kill()
    valkey.start(keep_port=True)


def _nothing(_: Valkey) -> None:
    pass


Deed = Callable[[Valkey], Any]

COME_AND_GO: dict[str, tuple[Deed, Deed]] = {
    "frozen": (Valkey.freeze, Valkey.thaw),
    "paused": (
        lambda v: v.command("CLIENT", "PAUSE", "1500"),
        lambda v: v.command("CLIENT", "UNPAUSE"),
    ),
    "killed": (Valkey.kill, lambda v: v.start(keep_port=True)),
    "out of memory": (_full, lambda v: v.command("CONFIG", "SET", "maxmemory", "0")),
    "password asked for": (_locked, _started_anew),
    "restarted": (Valkey.restart, _nothing),
}
"""Faults that end: what is done, and what ends it."""


async def redis(run: Run) -> AsyncIterator[Figure]:
    """Every row in turn."""
    with valkey_running() as well:
        for name, (hurt, heal) in COME_AND_GO.items():
            place = run.directory / name.replace(" ", "-")
            with valkey_running() as valkey:
                async with _pair(place, valkey.url, well.url) as pair:
                    await pair.warm()
                    await asyncio.to_thread(hurt, valkey)
                    await asyncio.sleep(0.05)
                    for figure in await pair.figures(name):
                        yield figure
                    await asyncio.to_thread(heal, valkey)
                    again = await pair.used_again(name)
                    yield Figure(f"Redis {name}: used again after", again, "s", 1.0)
        for name, stand_in in STAND_INS.items():
            place = run.directory / name.replace(" ", "-")
            async with stand_in(run.directory) as url, _pair(place, url, well.url) as pair:
                await pair.warm()
                for figure in await pair.figures(name):
                    yield figure


@dataclass
class Pair:
    """A serve with that Redis, and one whose Redis is well."""

    plain: Served
    served: Served

    async def warm(self) -> None:
        for number in range(10):
            await self.served.json(ask(f"warm {number}"))
            await self.plain.json(ask(f"warm {number}"))

    async def figures(self, name: str) -> list[Figure]:
        direct: list[float] = []
        cached: list[float] = []
        failed = 0
        for number in range(ROUNDS):
            pairs = ((direct, self.plain), (cached, self.served))
            for into, each in pairs if number % 2 else reversed(pairs):
                with timed(into):
                    status, _, _ = await each.json(ask(f"{name} {number}"))
                failed += status != 200
        p50, p99 = (quantile(cached, share) - quantile(direct, share) for share in (0.5, 0.99))
        return [
            Figure(f"Redis {name}: failed requests", failed, "requests", 0),
            Figure(f"Redis {name}: added p50", p50, "ms", 0.2),
            Figure(f"Redis {name}: added p99", p99, "ms", 10.0),
        ]

    async def used_again(self, name: str) -> float:
        """Return the seconds until an answer comes from it."""

        async def hit() -> bool:
            _, headers, _ = await self.served.json(ask(f"{name} afterwards"))
            return headers["x-llmctl-cache"] == "hit"

        return await until(hit)


@contextlib.asynccontextmanager
async def _pair(place: Path, url: str, well: str) -> AsyncIterator[Pair]:
    async with _serve(place / "a", well) as plain, _serve(place / "b", url) as served:
        yield Pair(plain, served)


def _serve(place: Path, url: str) -> AbstractAsyncContextManager[Served]:
    engine = OllamaEmulator(Answer("Hello"))
    return serving(place, engine, cache_memory_bytes=0, redis_url=url)


# -- what is no Redis that could be used, and never will be ---------------------------------------


@contextlib.asynccontextmanager
async def _black_hole(_: Path) -> AsyncIterator[str]:
    """A full backlog: the kernel answers no further SYN, as a firewall that drops them."""
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.asynccontextmanager
async def _plain_port(_: Path) -> AsyncIterator[str]:
    """Of a server without TLS, which is asked for TLS."""
    with valkey_running() as valkey:
        yield valkey.url.replace("redis://", "rediss://")


@contextlib.asynccontextmanager
async def _tls_port(directory: Path, scheme: str = "redis") -> AsyncIterator[str]:
    """With a certificate that nobody has signed."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    if not key.exists():
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
        await asyncio.to_thread(subprocess.run, command, check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(listening(_swallow, tls=tls))
        yield f"{scheme}://127.0.0.1:{port}"


def _unknown_certificate(directory: Path) -> AbstractAsyncContextManager[str]:
    return _tls_port(directory, "rediss")


async def _swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await reader.read()
    writer.close()


STAND_INS: dict[str, Callable[[Path], AbstractAsyncContextManager[str]]] = {
    "black hole": _black_hole,
    "TLS to a plain port": _plain_port,
    "plain to a TLS port": _tls_port,
    "unknown certificate": _unknown_certificate,
}
