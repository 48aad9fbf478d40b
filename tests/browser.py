"""Debian's Chromium without a window, driven over its DevTools protocol."""

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE_S = 30.0
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
WHY_NOT = "no chromium here (apt-get install chromium)"


class Browser:
    """A running browser, known by the port of its DevTools."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    @contextlib.asynccontextmanager
    async def tab(self, *, width: int = 1000, height: int = 800) -> AsyncIterator["Tab"]:
        """Open an empty tab with cookies of its own."""
        async with aiohttp.ClientSession() as session:
            async with session.get(f"{self.url}/json/version") as answer:
                address = (await answer.json(content_type=None))["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0, proxy=None) as socket:
                tab = Tab(socket)
                async with tab.listening():
                    await tab.open(width, height)
                    yield tab
                    await tab.close()


class Tab:
    """One page; what it logs, asks for and is refused is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._session = ""
        self._context = ""
        self._target = ""
        self._skipped = asyncio.Event()
        self.complaints: list[str] = []
        """Lines in the console, uncaught exceptions, refused or failed requests."""
        self.asked: list[str] = []
        """Addresses that were asked for."""

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self._listen())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def open(self, width: int, height: int) -> None:
        self._context = (await self._send("Target.createBrowserContext"))["browserContextId"]
        made = await self._send(
            "Target.createTarget", url="about:blank", browserContextId=self._context
        )
        self._target = made["targetId"]
        attached = await self._send("Target.attachToTarget", targetId=self._target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(f"{domain}.enable")
        await self.resize(width, height)

    async def close(self) -> None:
        self._session = ""
        await self._send("Target.closeTarget", targetId=self._target)
        await self._send("Target.disposeBrowserContext", browserContextId=self._context)

    async def send(self, method: str, **fields: Any) -> Any:
        """Give an order to the page and return what it answers."""
        return await self._send(method, **fields)

    async def resize(self, width: int, height: int) -> None:
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    async def scheme(self, name: str) -> None:
        """Prefer ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": name}
        await self.send("Emulation.setEmulatedMedia", features=[feature])

    async def go(self, url: str) -> None:
        await self.send("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        answer = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true and return it; navigation in between is fine."""
        end = time.monotonic() + PATIENCE_S
        while True:
            found = None
            with contextlib.suppress(AssertionError, LookupError):
                found = await self.run(script)
            if found:
                return found
            if time.monotonic() > end:
                page = await self.run("document.body.innerText")
                raise AssertionError(f"never true: {script}; {self.complaints}; the page:\n{page}")
            await asyncio.sleep(0.02)

    async def skip(self, seconds: float) -> None:
        """Let so much time pass for the page, at once but for what it waits for from outside."""
        self._skipped.clear()
        await self.send(
            "Emulation.setVirtualTimePolicy",
            policy="pauseIfNetworkFetchesPending",
            budget=seconds * 1000,
        )
        async with asyncio.timeout(PATIENCE_S):
            await self._skipped.wait()

    async def screenshot(self) -> bytes:
        """Return the whole page as PNG."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    async def _send(self, method: str, **fields: Any) -> Any:
        number = len(self._answers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        order = {"id": number, "method": method, "params": fields}
        await self._socket.send_json(
            order | ({"sessionId": self._session} if self._session else {})
        )
        async with asyncio.timeout(PATIENCE_S):
            said = await answer
        if "error" in said:
            raise LookupError(said["error"]["message"])
        return said["result"]

    async def _listen(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                self._answers[said["id"]].set_result(said)
            else:
                self._note(said["method"], said["params"])

    def _note(self, method: str, event: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.asked.append(event["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{event['type']}: {event['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(f"exception: {event['exceptionDetails']}")
        elif method == "Emulation.virtualTimeBudgetExpired":
            self._skipped.set()
        elif method == "Log.entryAdded":
            entry = event["entry"]
            self.complaints.append(f"{entry['level']}: {entry['text']} {entry.get('url', '')}")


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Run a browser of our own until the block ends."""
    assert PROGRAM, WHY_NOT
    with tempfile.TemporaryDirectory(prefix="llmctl-chromium-") as home:
        command = [PROGRAM, "--headless", "--remote-debugging-port=0", f"--user-data-dir={home}"]
        command += ["--no-first-run", "--no-proxy-server", "--disable-gpu", "--disable-extensions"]
        command += ["--disable-background-networking", "--disable-component-update"]
        command += ["--disable-dev-shm-usage", "--no-default-browser-check"]
        if os.geteuid() == 0:
            command.append("--no-sandbox")  # its sandbox is not made for root
        with Path(home, "said").open("wb") as said:
            process = subprocess.Popen(
                [*command, "about:blank"],
                env={**os.environ, "HOME": home},
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        try:
            yield Browser(_port(process, Path(home)))
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: "subprocess.Popen[bytes]", home: Path) -> int:
    file = home / "DevToolsActivePort"
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(file.read_text().split()[0])
        time.sleep(0.02)
    raise AssertionError(f"chromium does not start: {(home / 'said').read_text()[-2000:]}")
