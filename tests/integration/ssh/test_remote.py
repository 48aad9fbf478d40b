"""Commands and HTTP on a machine: the same over SSH and on this one."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmctl.core.errors import DeadlineExceeded, RemoteFailed, SshError
from llmctl.ssh.connect import SshTarget, connect
from llmctl.ssh.keys import Key
from llmctl.ssh.local import LocalRemote
from llmctl.ssh.remote import Remote
from llmctl.ssh.run import SshRemote
from tests.integration.eventually import eventually
from tests.integration.ssh.pins import Pins
from tests.integration.ssh.sshd import Sshd


@pytest.fixture(params=["ssh", "local"])
async def remote(request: pytest.FixtureRequest) -> AsyncIterator[Remote]:
    if request.param == "local":
        yield LocalRemote()
        return
    target, key, pins = (request.getfixturevalue(name) for name in ("target", "key", "pins"))
    over_ssh = SshRemote(await asyncio.to_thread(connect, target, key, pins))
    yield over_ssh
    await over_ssh.close()


@pytest.fixture
async def over_ssh(target: SshTarget, key: Key, pins: Pins) -> AsyncIterator[SshRemote]:
    remote = SshRemote(await asyncio.to_thread(connect, target, key, pins))
    yield remote
    await remote.close()


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.over.wait()
        self._answer(200, b"Host=" + self.headers["Host"].encode())

    def do_DELETE(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self._answer(204 if self.rfile.read(length) == b"{}" else 400, b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/refuse":
            self._answer(404, b'{"error":"no such thing"}')
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (b'{"n":', b'1}\n{"n":2}\n', body):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if self.path == "/silent":
            self.server.over.wait()
        if self.path == "/cut":
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> int:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.over = threading.Event()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_address[1]
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def collect(lines) -> list:
    return [line async for line in lines]


async def test_run_gives_status_and_both_streams(remote: Remote) -> None:
    ran = await remote.run("cat; echo oops >&2; exit 3", stdin=b"one\ntwo")
    assert (ran.status, ran.stdout, ran.stderr) == (3, "one\ntwo", "oops\n")


async def test_run_keeps_quotes_and_newlines(remote: Remote) -> None:
    ran = await remote.run("x='it'\"'\"'s'\nprintf '%s|%s' \"$x\" \"\\$HOME\"")
    assert ran.stdout == "it's|$HOME"


async def test_run_with_much_output(remote: Remote) -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' a; head -c 300000 /dev/zero | tr '\\0' b >&2"
    ran = await remote.run(script)
    assert len(ran.stdout) == 3_000_000
    assert len(ran.stderr) == 300_000


async def test_run_ended_by_a_signal(remote: Remote) -> None:
    ran = await remote.run("kill -9 $$")
    assert ran.status < 0


async def test_run_that_takes_too_long(remote: Remote) -> None:
    with pytest.raises(DeadlineExceeded, match=r"took more than 0\.2 s"):
        await remote.run("sleep 30", timeout_s=0.2)
    assert (await remote.run("echo alive")).stdout == "alive\n"


async def test_detached_process_outlives_its_command(remote: Remote, tmp_path) -> None:
    gone = tmp_path / "gone"
    script = f"setsid sh -c 'sleep 0.3; echo x >{gone}' >/dev/null 2>&1 </dev/null & echo started"
    assert (await remote.run(script)).stdout == "started\n"
    await eventually(gone.exists)


async def test_follow_yields_lines_as_they_come(remote: Remote, tmp_path) -> None:
    gate = tmp_path / "gate"
    script = f"echo one; until [ -e {gate} ]; do sleep 0.02; done; printf two"
    lines = []
    async with contextlib.aclosing(remote.follow(script)) as following:
        async for line in following:
            lines.append(line)
            gate.touch()
    assert lines == ["one", "two"]


async def test_follow_tells_the_last_words_of_a_failure(remote: Remote) -> None:
    with pytest.raises(RemoteFailed) as caught:
        await collect(remote.follow("echo fine; echo first >&2; echo disk full >&2; exit 1"))
    assert caught.value.message == "first\ndisk full"


async def test_follow_that_is_left_ends_the_command(remote: Remote, tmp_path) -> None:
    pid = tmp_path / "pid"
    async with contextlib.aclosing(
        remote.follow(f"echo $$ >{pid}; while echo tick; do sleep 0.02; done")
    ) as lines:
        async for _ in lines:
            break
    number = pid.read_text().strip()
    check = f"if kill -0 {number} 2>/dev/null; then echo alive; fi"

    async def ended() -> bool:
        return (await remote.run(check)).stdout == ""

    async with asyncio.timeout(30):
        while not await ended():
            await asyncio.sleep(0.02)
    assert await ended()


async def test_http(remote: Remote, port: int) -> None:
    reply = await remote.http(port, "GET", "/", timeout_s=30)
    assert (reply.status, reply.body) == (200, f"Host=127.0.0.1:{port}".encode())
    assert (await remote.http(port, "DELETE", "/", b"{}", timeout_s=30)).status == 204


async def test_http_deadline(remote: Remote, port: int) -> None:
    with pytest.raises(DeadlineExceeded, match=r"GET /slow on port \d+ of .* took more than"):
        await remote.http(port, "GET", "/slow", timeout_s=0.2)


async def test_http_where_nothing_listens(remote: Remote) -> None:
    with pytest.raises(RemoteFailed, match="nothing listens"):
        await remote.http(1, "GET", "/", timeout_s=30)


async def test_http_lines(remote: Remote, port: int) -> None:
    lines = await collect(remote.http_lines(port, "/", b"rest", idle_s=30))
    assert lines == [b'{"n":1}', b'{"n":2}', b"rest"]


async def test_http_lines_refused(remote: Remote, port: int) -> None:
    with pytest.raises(RemoteFailed, match="no such thing"):
        await collect(remote.http_lines(port, "/refuse", b"", idle_s=30))


async def test_http_lines_silence(remote: Remote, port: int) -> None:
    with pytest.raises(DeadlineExceeded, match=r"was silent for 0\.2 s"):
        await collect(remote.http_lines(port, "/silent", b"rest", idle_s=0.2))


async def test_http_lines_cut(remote: Remote, port: int) -> None:
    with pytest.raises(RemoteFailed, match="broke off its answer"):
        await collect(remote.http_lines(port, "/cut", b"rest", idle_s=30))


async def test_lost_link_is_an_ssh_error(over_ssh: SshRemote, sshd: Sshd, port: int) -> None:
    following = over_ssh.follow("echo one; exec sleep 60")
    assert await anext(following) == "one"
    sshd.kill_sessions()
    with pytest.raises(SshError, match="lost the link to root@|lost the link to"):
        await anext(following)
    with pytest.raises(SshError):
        await over_ssh.run("true")
    with pytest.raises(SshError):
        await over_ssh.http(port, "GET", "/", timeout_s=30)


async def test_frozen_machine_is_noticed(
    sshd: Sshd, target: SshTarget, key: Key, pins: Pins
) -> None:
    connection = await asyncio.to_thread(connect, target, key, pins)
    remote = SshRemote(connection, keepalive_s=0.5, silence_s=3.0)
    following = remote.follow("echo one; exec sleep 60")
    assert await anext(following) == "one"
    sshd.freeze()
    with pytest.raises(SshError, match="lost the link"):
        await anext(following)
    await remote.close()
    sshd.thaw()


async def test_local_commands_get_no_secrets() -> None:
    given = {"PATH": "/usr/bin:/bin", "VAST_API_KEY": "v", "LLMCTL_AUTH_TOKEN": "t", "LANG": "C"}
    ran = await LocalRemote(given).run("env")
    assert "LANG=C" in ran.stdout
    assert "VAST_API_KEY" not in ran.stdout
    assert "LLMCTL_AUTH_TOKEN" not in ran.stdout


async def test_close_leaves_no_thread(target: SshTarget, key: Key, pins: Pins) -> None:
    before = threading.active_count()
    remote = SshRemote(await asyncio.to_thread(connect, target, key, pins))
    await remote.run("echo x")
    await remote.close()
    # one of the executor, which to_thread keeps; the others are about to end
    await eventually(lambda: threading.active_count() <= before + 1)
    assert threading.active_count() <= before + 1


async def test_secrets_are_not_in_argv(remote: Remote) -> None:
    secret = "not-to-be-seen"
    script = "IFS= read -r key; tr '\\0' ' ' </proc/$$/cmdline; ps -ef; echo \"${#key}\""
    ran = await remote.run(script, stdin=secret.encode() + b"\n")
    assert secret not in ran.stdout
    assert ran.stdout.endswith(f"{len(secret)}\n")
