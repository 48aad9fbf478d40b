"""The page in a real browser, judged by what it shows: text, axes, colours, requests."""

import asyncio
import base64
import json
from contextlib import asynccontextmanager

import pytest

from tests import browser as chromium
from tests.emulators.ollama import Answer, Hold, HttpError, OllamaEmulator
from tests.integration.proxy.conftest import ask
from tests.integration.proxy.test_ui import code_of

pytestmark = pytest.mark.skipif(chromium.PROGRAM is None, reason=chromium.WHY_NOT)

READY = "!!document.querySelector('#chart-first .x-axis')"
ROWS = "[...document.querySelectorAll('#%s tbody tr')].map((row) => row.innerText)"
CHARTS = """[...document.querySelectorAll('figure')].map((figure) => ({
    title: figure.querySelector('figcaption').textContent,
    named: figure.querySelector('svg[role=img]').getAttribute('aria-labelledby').split(' ')
        .map((id) => document.getElementById(id).textContent),
    unit: figure.querySelector('.unit').textContent,
    y: [...figure.querySelectorAll('.y-axis text:not(.unit)')].map((one) => one.textContent),
    x: [...figure.querySelectorAll('.x-axis text')].map((one) => one.textContent),
    axes: figure.querySelectorAll('.axis').length,
    marks: figure.querySelectorAll('path.line[d*=L], circle.dot, rect[height]').length,
    legend: [...figure.querySelectorAll('.legend li')].map((one) => one.textContent),
}))"""
OVERLAPS = """[...document.querySelectorAll('figure')].flatMap((figure) => {
    const places = [...figure.querySelectorAll('.x-axis text')].map((one) => one.getBoundingClientRect());
    return places.slice(1).filter((place, at) => place.left < places[at].right + 2).length;
}).reduce((sum, count) => sum + count, 0)"""
FAINT = """(() => {
    const parts = (text) => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map((value) => value / 255)
            .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (node) => {
        for (let at = node; at; at = at.parentElement) {
            const colour = parts(getComputedStyle(at).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    const seen = [];
    const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walk.nextNode()) {
        const node = walk.currentNode.parentElement;
        if (!walk.currentNode.data.trim() || !node.getClientRects().length) continue;
        const style = getComputedStyle(node);
        const colour = parts(node.ownerSVGElement ? style.fill : style.color);
        const [low, high] = [light(colour), light(ground(node))].sort((a, b) => a - b);
        seen.push([(high + 0.05) / (low + 0.05), walk.currentNode.data.trim()]);
    }
    return { texts: seen.length, faint: seen.filter(([ratio]) => ratio < 4.5) };
})()"""
WIDER = """[...document.querySelectorAll('body *')]
    .filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5)
    .map((one) => one.tagName + ' ' + one.textContent.slice(0, 40))"""
PIXELS = """(async () => {
    const { shot, left, top, width, height, wanted } = %s;
    const bytes = Uint8Array.from(atob(shot), (letter) => letter.charCodeAt(0));
    const image = await createImageBitmap(new Blob([bytes], { type: 'image/png' }));
    const canvas = new OffscreenCanvas(image.width, image.height).getContext('2d');
    canvas.drawImage(image, 0, 0);
    const pixels = canvas.getImageData(left, top, width, height).data;
    let found = 0;
    for (let at = 0; at < pixels.length; at += 4) {
        found += wanted.every((part, which) => Math.abs(pixels[at + which] - part) < 3);
    }
    return { found, corner: [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)] };
})()"""


@pytest.fixture(scope="module")
def browser():
    with chromium.running() as running:
        yield running


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@pytest.fixture
async def proxy(engine, start):
    async with start(f"ollama:{engine.url}") as running:
        yield running


@asynccontextmanager
async def logged_in(browser, proxy, *, width: int = 1000):
    """Open the link of `llmctl ui`, and wait for the first figures."""
    async with browser.tab(width=width) as tab:
        await tab.go(f"{proxy.url}/ui/login#{await code_of(proxy)}")
        await tab.until(READY)
        yield tab


@asynccontextmanager
async def busy(proxy, engine):
    """A bit of everything: hits, a failure with a long message, and a stream that stays open."""
    for _ in range(3):
        await proxy.json(ask("Same"))
    engine.script = HttpError(400, "no" + "o" * 90)
    await proxy.json(ask("Fails"))
    gate = asyncio.Event()
    engine.script = Answer(*["word "] * 30, Hold(gate), "end")
    async with proxy.post(ask("Streams", stream=True)) as answer:
        said = b""
        while said.count(b"word ") < 30:
            said += await answer.content.readany()
        yield
        gate.set()
        await answer.read()


async def figure(tab, name: str) -> str:
    return await tab.run(f"document.getElementById('{name}').textContent")


async def test_figures_change_while_requests_run(browser, proxy, engine):
    async with logged_in(browser, proxy) as tab:
        assert await tab.run("location.href") == f"{proxy.url}/ui"
        assert await tab.run("document.cookie") == ""
        assert [await figure(tab, name) for name in ("open", "hits", "failed")] == ["0", "–", "0"]
        assert await figure(tab, "status") == "ok"
        assert await figure(tab, "today") == "$0.00"
        assert await tab.run("document.getElementById('requests').hidden") is True
        async with busy(proxy, engine):
            await tab.until("document.getElementById('open').textContent === '1'")
            assert await figure(tab, "failed") == "1"
            assert await figure(tab, "hits") == "50%"
            assert await figure(tab, "speed") != "0"
            assert await figure(tab, "first") != "–"
            [row] = await tab.run(ROWS % "requests")
            model, stage, _, tokens, _, who = row.split("\t")
            assert (model, stage, tokens, who) == ("qwen3-coder:30b", "answering", "30", "local")
            [failure] = await tab.run(ROWS % "failures")
            assert "400 invalid_request_error" in failure
            [backend] = await tab.run(ROWS % "backends")
            assert backend.startswith(f"ollama:{engine.url}\twell\tqwen3-coder:30b")
            assert backend.endswith("\t1\t0")
            assert await tab.run("document.title") == "1 open · llmctl"
        await tab.until("document.getElementById('open').textContent === '0'")
        assert tab.complaints == []
        assert {url.rpartition("/ui")[0] for url in tab.asked} == {proxy.url}


async def test_charts_have_axes_units_names_and_tables(browser, proxy, engine):
    async with busy(proxy, engine), logged_in(browser, proxy) as tab:
        speed, requests, first = await tab.run(CHARTS)
        assert (speed["title"], speed["unit"]) == ("Tokens per second", "tokens/s")
        assert (requests["title"], requests["unit"]) == ("Requests", "requests in 10 s")
        assert (first["title"], first["unit"]) == ("Time to first token", "seconds")
        assert requests["legend"] == ["from the cache", "by an engine", "failed"]
        assert requests["named"][1].endswith("from the cache, 1 by an engine, 1 failed")
        for chart in (speed, requests, first):
            marks = [float(mark) for mark in chart["y"]]
            assert len(marks) >= 3
            assert marks == sorted(set(marks))
            assert marks[0] == 0
            assert len(chart["x"]) >= 3
            assert all(len(time) == 5 and time[2] == ":" for time in chart["x"])
            assert chart["axes"] >= 5
            assert chart["marks"] >= 1
            assert chart["named"][0] == f"{chart['title']}, last 15 minutes"
        await tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        await tab.until("document.querySelectorAll('figure tbody tr').length === 45")
        rows = await tab.run(
            "[...document.querySelectorAll('#chart-requests tbody tr')].map((row) =>"
            " [...row.cells].slice(1).map((cell) => Number(cell.textContent)))"
        )
        assert [sum(column) for column in zip(*rows, strict=True)] == [2, 1, 1]


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
async def test_it_can_be_read_on_a_phone_by_day_and_night(browser, proxy, engine, scheme, dark):
    async with busy(proxy, engine), logged_in(browser, proxy, width=320) as tab:
        await tab.scheme(scheme)
        await tab.until("document.querySelectorAll('#failures tbody tr').length === 1")
        await tab.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        assert await tab.run("innerWidth") == 320
        assert await tab.run("document.documentElement.scrollWidth") <= 320
        assert await tab.run(WIDER) == []
        assert await tab.run(OVERLAPS) == 0
        read = await tab.run(FAINT)
        assert read["texts"] > 80
        assert read["faint"] == []
        place = await tab.run(
            "(({ left, top, width, height }) => ({ left, top: top + scrollY, width, height }))"
            "(document.querySelector('#chart-speed > svg').getBoundingClientRect())"
        )
        colour = await tab.run(
            "getComputedStyle(document.querySelector('#chart-speed path.line')).stroke"
        )
        shot = base64.b64encode(await tab.screenshot()).decode()
        wanted = [int(part) for part in colour[4:-1].split(",")]
        where = {name: round(value) for name, value in place.items()}
    async with browser.tab() as blank:
        seen = await blank.run(PIXELS % json.dumps({"shot": shot, "wanted": wanted, **where}))
    assert seen["found"] > 20  # the line is painted
    assert (sum(seen["corner"]) < 3 * 64) == dark


async def test_nobody_looks_nobody_asks(browser, proxy):
    async with logged_in(browser, proxy) as tab:
        await tab.run(
            "Object.defineProperty(document, 'hidden', { get: () => window.away, configurable: true });"
            "window.turn = (away) => { window.away = away;"
            " document.dispatchEvent(new Event('visibilitychange')); }"
        )
        asked = [len(tab.asked)]
        for away in (True, False):
            await tab.run(f"turn({json.dumps(away)})")
            await tab.skip(60.0)
            asked.append(len(tab.asked))
        assert asked[1] - asked[0] <= 1  # one may have been on its way
        assert asked[2] - asked[1] > 5


async def test_who_is_logged_out_is_told_and_a_bad_code_as_well(browser, proxy):
    async with logged_in(browser, proxy) as tab:
        await tab.send("Network.clearBrowserCookies")
        await tab.until("document.querySelector('#problem a[href=\"/ui/login\"]') !== null")
        assert await figure(tab, "status") == "no answer"
        await tab.go(f"{proxy.url}/ui/login#used")
        await tab.until("document.getElementById('problem').textContent.includes('llmctl ui')")
        assert await tab.run("location.href") == f"{proxy.url}/ui/login"
        await tab.run(
            f"document.getElementById('secret').value = '{proxy.token}';"
            "document.getElementById('form').requestSubmit()"
        )
        await tab.until(READY)
        await tab.run("document.getElementById('logout').click()")
        await tab.until("location.pathname === '/ui/login'")


async def test_nothing_can_be_put_into_the_page(browser, proxy, engine):
    """Names and messages that engines and clients choose are text, whatever they hold."""
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    engine.script = HttpError(400, evil)
    await proxy.json(ask("Fails"))
    async with logged_in(browser, proxy) as tab:
        [row] = await tab.until(f"(({ROWS % 'failures'}))")
        assert evil in row
        assert await tab.run("document.querySelectorAll('main img, main script').length") == 0
        assert tab.complaints == []
