"""The installed command as operators meet it: signals, addresses, crashes, engines that come late."""

import asyncio
import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.processes import base_environment, llmctl_command, run
from tests.emulators.ollama import Answer, Hold, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask, parse, text_of

PATIENCE_S = 60.0


class Served:
    """A running ``llmctl serve``, spoken to over HTTP only."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        url: str,
        home: Path,
        session: aiohttp.ClientSession,
    ) -> None:
        self.process = process
        self.url = url
        self.port = int(url.rpartition(":")[2])
        self.session = session
        self._token_file = home / "data" / "token"

    def post(self, **fields):
        return self.session.post(
            f"{self.url}/v1/messages",
            json=ask(**fields),
            headers={"x-api-key": self._token_file.read_text().strip()},
        )

    async def health(self) -> dict:
        headers = {"x-api-key": self._token_file.read_text().strip()}
        async with self.session.get(f"{self.url}/health", headers=headers) as response:
            return await response.json()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def draining(self) -> None:
        """Wait until it has begun to stop."""
        async with asyncio.timeout(PATIENCE_S):
            while (await self.health())["status"] != "draining":
                await asyncio.sleep(0.005)

    async def ended(self) -> tuple[int, str]:
        """Return exit code and stderr."""
        async with asyncio.timeout(PATIENCE_S):
            _, err = await self.process.communicate()
        assert "Traceback" not in err.decode(), err.decode()
        return self.process.returncode, err.decode()


def environment(home: Path, **settings: object) -> dict[str, str]:
    variables = {f"LLMCTL_{name.upper()}": str(value) for name, value in settings.items()}
    return base_environment(home.with_name("user")) | {"LLMCTL_HOME": str(home)} | variables


@asynccontextmanager
async def serving(
    home: Path,
    engine: str,
    *,
    port: int = 0,
    under: tuple[str, ...] = ("env", "--default-signal=HUP"),
    **settings,
) -> AsyncIterator[Served]:
    """Run ``llmctl serve`` from its announcement on; what still runs at the end is killed.

    ``under`` is what starts it: as a terminal does, even where nohup started the tests.
    """
    process = await asyncio.create_subprocess_exec(
        *under,
        *llmctl_command(),
        *("serve", "--json", "--port", str(port), "--backend", f"ollama:{engine}"),
        env=environment(home, **settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with aiohttp.ClientSession() as session:
            async with asyncio.timeout(PATIENCE_S):
                banner = await _announced(process)
            yield Served(process, banner["url"], home, session)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()


async def _announced(process: asyncio.subprocess.Process) -> dict:
    said = b""
    while line := await process.stdout.readline():
        said += line
        with suppress(ValueError):
            return json.loads(said)
    raise AssertionError(f"it ended with {(await process.stderr.read()).decode()}")


@pytest.fixture
async def engine():
    async with OllamaEmulator() as emulator:
        yield emulator


@asynccontextmanager
async def open_stream(served: Served, gate: asyncio.Event, engine: OllamaEmulator):
    """A stream of which the first words have arrived, and the task that reads the rest."""
    engine.script = Answer("one ", Hold(gate), "two")
    async with served.post(stream=True) as response:
        got = b""
        while b"one" not in got:
            got += await response.content.readany()

        async def rest() -> bytes:
            return got + await response.read()

        yield asyncio.create_task(rest())


# -- signals


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name
)
async def test_the_first_signal_lets_open_answers_finish(llmctl_home, engine, number):
    gate = asyncio.Event()
    async with serving(llmctl_home, engine.url) as served:
        async with open_stream(served, gate, engine) as reading:
            whole = asyncio.create_task(_whole(served))
            await engine.until(lambda: len(engine.chats) == 2)
            served.signal(number)
            await served.draining()
            async with served.post(messages=[{"role": "user", "content": "Too late?"}]) as refused:
                assert refused.status == 529
                assert int(refused.headers["retry-after"]) >= 1
                assert (await refused.json())["error"]["type"] == "overloaded_error"
            assert not reading.done()
            gate.set()
            events = parse(await reading)
            assert text_of(events) == "one two"
            assert events[-1]["type"] == "message_stop"
            assert await whole == "one two"
        code, err = await served.ended()
    assert code == 0
    assert "stopping: 2 answers in progress" in err
    assert not engine.closed


async def _whole(served: Served) -> str:
    async with served.post(temperature=0.5) as response:
        return (await response.json())["content"][0]["text"]


async def test_a_closed_terminal_is_one_signal_however_often_it_is_told(llmctl_home, engine):
    gate = asyncio.Event()
    async with serving(llmctl_home, engine.url) as served:
        async with open_stream(served, gate, engine) as reading:
            served.signal(signal.SIGHUP)
            await served.draining()
            served.signal(signal.SIGHUP)
            assert (await served.health())["status"] == "draining"
            gate.set()
            assert parse(await reading)[-1]["type"] == "message_stop"
        code, err = await served.ended()
    assert code == 0
    assert "still in progress" not in err


async def test_under_nohup_a_closed_terminal_is_nothing(llmctl_home, engine):
    async with serving(llmctl_home, engine.url, under=("nohup",)) as served:
        async with open_stream(served, asyncio.Event(), engine):
            served.signal(signal.SIGHUP)
            assert (await served.health())["status"] == "ok"
            served.signal(signal.SIGTERM)
            await served.draining()
            served.signal(signal.SIGTERM)
        assert (await served.ended())[0] == 0


async def test_the_second_signal_ends_everything_at_once(llmctl_home, engine):
    async with serving(llmctl_home, engine.url) as served:
        async with open_stream(served, asyncio.Event(), engine) as reading:
            whole = asyncio.create_task(served.post(temperature=0.5).__aenter__())
            await engine.until(lambda: len(engine.chats) == 2)
            served.signal(signal.SIGTERM)
            await served.draining()
            served.signal(signal.SIGTERM)
            events = parse(await reading)
            assert text_of(events) == "one "
            assert events[-1]["type"] == "error"
            assert events[-1]["error"]["type"] == "overloaded_error"
            assert (await whole).status == 529
        code, err = await served.ended()
    assert code == 0
    assert "ending 2 answers" in err
    await engine.until(lambda: len(engine.closed) == 2)


async def test_what_is_not_done_in_time_is_ended_with_an_error(llmctl_home, engine):
    async with serving(llmctl_home, engine.url, serve_drain_s=0.2) as served:
        async with open_stream(served, asyncio.Event(), engine) as reading:
            served.signal(signal.SIGTERM)
            assert parse(await reading)[-1]["type"] == "error"
        assert (await served.ended())[0] == 0


async def test_without_work_it_ends_at_once(llmctl_home, engine):
    async with serving(llmctl_home, engine.url) as served:
        assert (await served.health())["status"] == "ok"
        served.signal(signal.SIGTERM)
        code, err = await served.ended()
    assert code == 0
    assert "in progress" not in err


# -- addresses


async def test_a_port_that_is_taken(llmctl_home, engine):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended = await run(
            *llmctl_command(),
            *("serve", "--port", str(port), "--backend", f"ollama:{engine.url}"),
            environment=environment(llmctl_home),
        )
    assert ended.code == 2
    assert ended.stdout == ""
    assert f"cannot listen on 127.0.0.1:{port}: address already in use" in ended.stderr
    assert f"llmctl serve --port {port + 1}" in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_an_address_that_is_not_ours(llmctl_home, engine):
    ended = await run(
        *llmctl_command(),
        *("serve", "--listen", "192.0.2.1", "--backend", f"ollama:{engine.url}"),
        environment=environment(llmctl_home),
    )
    assert ended.code == 2
    assert "cannot listen on 192.0.2.1:8000" in ended.stderr
    assert "llmctl serve --listen 127.0.0.1" in ended.stderr


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.1"])
async def test_everybody_is_not_let_in_without_a_token(llmctl_home, engine, address):
    ended = await run(
        *llmctl_command(),
        *("serve", "--listen", address, "--no-auth", "--backend", f"ollama:{engine.url}"),
        environment=environment(llmctl_home),
    )
    assert ended.code == 2
    assert "--no-auth" in ended.stderr
    assert "hint:" in ended.stderr
    assert not engine.requests


# -- crashes


async def test_it_starts_again_after_a_crash_and_knows_what_it_knew(llmctl_home, engine):
    gate = asyncio.Event()
    async with serving(llmctl_home, engine.url) as served:
        await _ask_until_hit(served)
        await _written(llmctl_home)
        async with open_stream(served, gate, engine) as reading:
            served.signal(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientPayloadError):
                await reading
        await served.process.wait()
    await engine.until(lambda: len(engine.closed) == 1)
    async with serving(llmctl_home, engine.url, port=served.port) as again:
        assert again.port == served.port
        async with again.post(temperature=0.25) as response:
            assert response.headers["x-llmctl-cache"] == "hit"
        again.signal(signal.SIGTERM)
        assert (await again.ended())[0] == 0


async def _ask_until_hit(served: Served) -> None:
    for _ in range(2):
        async with served.post(temperature=0.25) as response:
            assert response.status == 200
            found = response.headers["x-llmctl-cache"]
    assert found == "hit"


async def _written(home: Path) -> None:
    """Wait until the answer is in the file: writes are queued, and a crash loses the queue."""

    def kept() -> int:
        with closing(sqlite3.connect(home / "cache" / "answers.db")) as db:
            return db.execute("SELECT count(*) FROM entries").fetchone()[0]

    await eventually(kept)


# -- engines


async def test_an_engine_that_comes_later_is_found(llmctl_home, engine):
    await engine.refuse()
    async with serving(llmctl_home, engine.url) as served:
        async with served.post() as response:
            assert response.status == 529
            assert str(engine.port) in (await response.json())["error"]["message"]
        assert (await served.health())["status"] == "down"
        await engine.listen()
        async with asyncio.timeout(PATIENCE_S):
            while (status := await _status(served)) != 200:
                assert status == 529
                await asyncio.sleep(0.05)
        assert (await served.health())["status"] == "ok"
        await engine.refuse()
        async with served.post(temperature=0.5) as response:
            assert response.status == 529
        assert (await served.health())["status"] == "down"
        served.signal(signal.SIGTERM)
        assert (await served.ended())[0] == 0


async def _status(served: Served) -> int:
    async with served.post() as response:
        return response.status


# -- memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
async def test_those_who_take_nothing_cost_little(llmctl_home, engine):
    """Twenty clients read nothing of forty megabytes each."""
    async with serving(llmctl_home, engine.url) as served:
        await _ask_until_hit(served)
        before = _resident_bytes(served.process.pid)
        engine.script = Answer(*["word " * 2000] * 4000)
        token = (llmctl_home / "data" / "token").read_text().strip()
        stalled = [await _stall(served.port, token, number) for number in range(20)]
        await engine.until(lambda: len(engine.active) == 20)
        async with asyncio.timeout(PATIENCE_S):
            while await _still_reading(served.process.pid):
                await asyncio.sleep(0.05)
        assert _resident_bytes(served.process.pid) - before < 64 * 1024 * 1024
        assert len(engine.active) == 20
        engine.script = Answer("Hello")
        assert await _status(served) == 200
        for sock in stalled:
            sock.close()
        await engine.until(lambda: len(engine.closed) == 20)
        served.signal(signal.SIGTERM)
        assert (await served.ended())[0] == 0


async def _stall(port: int, token: str, number: int) -> socket.socket:
    body = json.dumps(ask(f"question {number}", stream=True)).encode()
    head = f"POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {token}\r\n"
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", port))
    await loop.sock_sendall(sock, f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return sock


def _resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def _still_reading(pid: int) -> bool:
    """Whether it has used the processor for the last moment: all its buffers are not full yet."""
    before = _ticks(pid)
    await asyncio.sleep(0.2)
    return _ticks(pid) - before > 2
