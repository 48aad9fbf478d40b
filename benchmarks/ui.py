"""CPU that an open page costs a loaded proxy.

``python -m benchmarks.ui [--rounds 3] [--window 6]``. The load is streams at an engine's pace and
repeats that the cache answers, the same in every window; windows without a page, with one, and with
fifty take turns. One page is far below the noise of such windows, so its share is that of fifty,
divided. A page asks as the one in the browser does: every two seconds, with its cookie. With
``--browser`` the single page is a real one.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
from collections.abc import AsyncIterator
from itertools import count

import aiohttp

from benchmarks import processes
from tests import browser as chromium

STREAMS = 40
PACE = 50
HITS_PER_S = 50
MANY = 50
EVERY_S = 2.0
GOAL = 0.01
HEADERS = {"x-api-key": processes.TOKEN}


class Load:
    """Requests that keep coming at the same pace."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._numbers = count()

    async def post(self, text: str, *, stream: bool) -> None:
        body = {
            "model": "claude-sonnet-5",
            "max_tokens": 4096,
            "stream": stream,
            "messages": [{"role": "user", "content": text}],
        }
        async with self._session.post(f"{self._url}/v1/messages", json=body) as answer:
            async for _ in answer.content.iter_any():
                pass

    async def stream(self) -> None:
        await asyncio.sleep((next(self._numbers) % STREAMS) / PACE / STREAMS)
        while True:
            await self.post(f"question {next(self._numbers)}", stream=True)

    async def hit(self) -> None:
        while True:
            await self.post("the same", stream=False)
            await asyncio.sleep(10 / HITS_PER_S)


async def look(session: aiohttp.ClientSession, url: str, late_s: float) -> None:
    """Do what the page's script does."""
    await asyncio.sleep(late_s)
    while True:
        async with session.get(f"{url}/ui/state") as answer:
            assert answer.status == 200
            await answer.read()
        await asyncio.sleep(EVERY_S)


@contextlib.asynccontextmanager
async def pages(number: int, url: str, code: str) -> AsyncIterator[None]:
    """Keep so many pages open, their requests spread evenly."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar) as session:
        if number:
            async with session.post(f"{url}/ui/login", json={"secret": code}) as answer:
                assert answer.status == 200
        async with background(look(session, url, EVERY_S * n / number) for n in range(number)):
            yield


@contextlib.asynccontextmanager
async def background(work) -> AsyncIterator[None]:
    tasks = [asyncio.get_running_loop().create_task(each) for each in work]
    try:
        yield
        if broken := [task for task in tasks if task.done()]:
            raise SystemExit(f"ended early: {broken[0].exception()!r}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def real_page(url: str, code: str) -> AsyncIterator[None]:
    with chromium.running() as browser:
        async with browser.tab() as tab:
            await tab.go(f"{url}/ui/login#{code}")
            await tab.until("!!document.querySelector('.x-axis')")
            yield


async def share(pid: int, window_s: float) -> float:
    """Return the share of a core that the proxy takes."""
    clock = asyncio.get_running_loop().time
    began, before = clock(), processes.cpu_s(pid)
    await asyncio.sleep(window_s)
    return (processes.cpu_s(pid) - before) / (clock() - began)


async def measure(options: argparse.Namespace, port: int, pid: int) -> dict[str, list[float]]:
    url = f"http://127.0.0.1:{port}"
    found: dict[str, list[float]] = {"closed": [], "one": [], "many": []}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=HEADERS) as session:

        async def code() -> str:
            async with session.post(f"{url}/ui/code") as answer:
                return json.loads(await answer.read())["code"]

        load = Load(session, url)
        await load.post("the same", stream=False)
        streams = [load.stream() for _ in range(STREAMS)]
        async with background([*streams, *(load.hit() for _ in range(10))]):
            await asyncio.sleep(options.warm)  # until the page has a past to show
            for _ in range(options.rounds):
                for name, number in (("closed", 0), ("one", 1), ("many", MANY)):
                    opened = (
                        real_page(url, await code())
                        if options.browser and name == "one"
                        else pages(number, url, await code())
                    )
                    async with opened:
                        await asyncio.sleep(0.5)
                        found[name].append(await share(pid, options.window))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--window", type=float, default=6.0)
    parser.add_argument("--warm", type=float, default=20.0)
    parser.add_argument("--browser", action="store_true")
    options = parser.parse_args()
    processes.pin(0, processes.OTHERS)
    with (
        processes.ollama("--tokens", "300", "--rate", str(PACE)) as engine,
        processes.llmctl(engine) as (port, pid),
    ):
        found = asyncio.run(measure(options, port, pid))
    closed, one, many = (statistics.median(found[name]) for name in ("closed", "one", "many"))
    processes.report(
        f"open page, {STREAMS} streams of {PACE} tokens/s and {HITS_PER_S} hits/s",
        closed_cpu=closed,
        one_page_cpu=one,
        many_pages_cpu=many,
        added_by_a_page_percent=(many - closed) / MANY * 100,
        goal_percent=GOAL * 100,
    )


if __name__ == "__main__":
    main()
