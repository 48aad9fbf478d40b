"""``llmctl serve`` as a process of its own, with an emulated engine and clients in this one."""

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from benchmarks.processes import TOKEN
from tests.e2e.processes import Proxy
from tests.emulators.ollama import OllamaEmulator


@dataclass
class Served:
    """A running proxy, its engine, and a client of it."""

    engine: OllamaEmulator
    proxy: Proxy
    session: aiohttp.ClientSession
    token: str = TOKEN

    @property
    def port(self) -> int:
        return int(self.proxy.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        return self.proxy.pid

    def post(self, body: Any, *, token: str | None = None, path: str = "/v1/messages") -> Any:
        """Return the request context of a POST."""
        data = io.BytesIO(body if isinstance(body, bytes) else msgspec.json.encode(body))
        fields = {"Content-Type": "application/json", "x-api-key": token or self.token}
        return self.session.post(self.proxy.url + path, data=data, headers=fields)

    async def json(self, body: Any, **options: Any) -> tuple[int, Any, Any]:
        """POST and return status, headers and the decoded answer."""
        async with self.post(body, **options) as response:
            return response.status, response.headers, await response.json(content_type=None)

    async def health(self) -> dict[str, Any]:
        headers = {"x-api-key": self.token}
        async with self.session.get(f"{self.proxy.url}/health", headers=headers) as response:
            return await response.json()

    def no_traceback(self) -> int:
        """Return how many tracebacks were logged."""
        return self.proxy.stderr.count("Traceback")


@contextlib.asynccontextmanager
async def serving(
    directory: Path, engine: OllamaEmulator | None = None, *options: str, **settings: object
) -> AsyncIterator[Served]:
    """Run the installed command; settings are named as in ``LLMCTL_…``."""
    variables = {f"LLMCTL_{name.upper()}": str(value) for name, value in settings.items()}
    engine = engine or OllamaEmulator()
    directory.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  once, before anything runs
    async with engine, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        words = ("--backend", f"ollama:{engine.url}", *options)
        proxy = Proxy(directory / "home", words, {"LLMCTL_AUTH_TOKEN": TOKEN} | variables)
        await proxy.start()
        try:
            yield Served(engine, proxy, session)
        finally:
            await proxy.stop()


def quantile(values: list[float], share: float) -> float:
    """Return the value below which ``share`` of all are."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


@contextlib.contextmanager
def timed(into: list[float]) -> Iterator[None]:
    """Append the milliseconds that the block takes."""
    began = time.perf_counter()
    yield
    into.append((time.perf_counter() - began) * 1000)


async def until(condition: Any, *, within_s: float = 20.0) -> float:
    """Return the seconds until ``condition()``, a coroutine function, is true."""
    began = time.monotonic()
    while not await condition():
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"did not happen within {within_s:g} s")
        await asyncio.sleep(0.005)
    return time.monotonic() - began
