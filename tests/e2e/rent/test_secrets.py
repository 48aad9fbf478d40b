"""Six secrets through every command at its most talkative, crashes included: they show nowhere."""

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import typer

from llmctl.cli.app import app
from tests.e2e.canaries import Canary, found, in_files, open_to_others
from tests.e2e.rent.conftest import Street
from tests.emulators.openai import OpenAIEmulator
from tests.integration.valkey import Valkey, running
from tests.streams import listening

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

VARIABLES = {
    "vast": "VAST_API_KEY",
    "runpod": "RUNPOD_API_KEY",
    "token": "LLMCTL_AUTH_TOKEN",
    "redis": "REDIS_PASSWORD",
    "engine": "LLMCTL_BACKEND_API_KEY",
}
TALKATIVE = {"LLMCTL_DEBUG": "1"}
BOX = ("--provider", "vast", "--yes")
BEFORE = (
    ("up", *BOX),
    ("up", "--dry-run", "--provider", "runpod"),
    ("auth", "login", "vast"),
    ("auth", "status"),
    ("status",),
    ("offer", "list"),
    ("instance", "list"),
    ("instance", "show", "main"),
    ("instance", "trust"),
    ("model", "list"),
    ("model", "test"),
    ("logs",),
    ("ssh", "main", "--", "env"),
    ("config", "show"),
    ("tunnel", "main", "--background"),
    ("tunnel", "list"),
)
WHILE_SERVING = (("health",), ("stats",), ("env",), ("claude", "--version"))
AFTER = (
    ("tunnel", "stop", "main"),
    ("cost",),
    ("token", "list"),
    ("stop", "main", "--yes"),
    ("down", "main", "--yes"),
    ("down", "--all", "--yes"),
    ("auth", "logout", "vast"),
    ("no-such-command",),
)
QUIET = {
    "completion", "help", "profile list", "profile show", "config path", "config edit", "config set",
    "token add", "token remove", "start", "model pull", "model remove", "instance adopt",
    "instance destroy", "serve",
}  # fmt: skip
"""Commands that hold no secret, or are of the same parts as one that is run."""
COMMAND_S = 30.0
CRASH = """
import os, sys
from llmctl.cli import main
from llmctl.config import load
def broken(**_): raise RuntimeError(f"everything there is: {dict(os.environ)}")
load.load = broken
sys.exit(main.run(sys.argv[1:]))
"""


def leaves() -> Iterator[str]:
    """Yield every command by its words."""

    def walk(command, words: tuple[str, ...]) -> Iterator[str]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words)
        else:
            for name, below in inner.items():
                yield from walk(below, (*words, name))

    yield from walk(typer.main.get_command(app), ())


def the_rest() -> list[tuple[str, ...]]:
    """Return every command that is named nowhere here."""
    named = [" ".join(words) for words in (*BEFORE, *WHILE_SERVING, *AFTER)]
    return [
        tuple(leaf.split())
        for leaf in leaves()
        if leaf not in QUIET and not any(each.startswith(leaf) for each in named)
    ]


class Watch:
    """Everything that came out of llmctl, and the command lines of all processes meanwhile."""

    def __init__(self) -> None:
        self.said: list[tuple[str, bytes]] = []
        self.command_lines: set[bytes] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    self.command_lines.add(place.read_bytes())


@contextlib.asynccontextmanager
async def recorded(watch: Watch, name: str, url: str) -> AsyncIterator[str]:
    """Put a listener before a market that keeps what is sent, but for the header it belongs in."""
    host, port = url.removeprefix("http://").split("/")[0].split(":")
    sent = bytearray()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection(host, int(port))

        async def forth() -> None:
            while data := await reader.read(65536):
                sent.extend(data)
                outer.write(data)
            outer.write_eof()

        async def back() -> None:
            while data := await inner.read(65536):
                writer.write(data)
            writer.close()

        try:
            await asyncio.gather(forth(), back())
        finally:
            outer.close()

    async with listening(relay) as door:
        yield url.replace(f"{host}:{port}", f"127.0.0.1:{door}")
    kept = re.sub(rb"(?im)^(authorization|x-api-key):.*$", b"", bytes(sent))
    watch.said.append((f"requests to {name}", kept))
    assert sent, f"{name} was asked nothing"


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


async def run(street: Street, watch: Watch, *words: str) -> int | None:
    """Run a command and keep what it says; one that does not end by itself is ended."""
    more = () if words[0] in ("claude", "ssh") else ("-vv",)
    process = await street.start(*words, *more)
    talk = asyncio.ensure_future(process.communicate())
    await asyncio.wait({talk}, timeout=COMMAND_S)
    if not talk.done():
        process.kill()
    out, err = await talk
    watch.said.append((f"stdout of {' '.join(words)}", out))
    watch.said.append((f"stderr of {' '.join(words)}", err))
    return process.returncode


async def serve(street: Street, watch: Watch, *words: str) -> None:
    """Serve, be asked well and badly, and end."""
    process = await street.start("serve", *words, "-vv", "--port", "0", "--json", **TALKATIVE)
    out = b""
    while b"\n}" not in out:
        assert (line := await process.stdout.readline()), (await process.stderr.read()).decode()
        out += line
    url = json.loads(out)["url"]
    street.environment["LLMCTL_SERVE_PORT"] = url.rpartition(":")[2]
    token = street.environment["LLMCTL_AUTH_TOKEN"]
    async with aiohttp.ClientSession() as session:
        for offered in (token, token[:-1] + "x"):
            headers = {"x-api-key": offered}
            for path in (
                "/health",
                "/stats",
                "/metrics",
                "/v1/models",
                "/openapi.json",
                "/nothing",
            ):
                async with session.get(url + path, headers=headers) as answer:
                    watch.said.append((path, await answer.read() + repr(answer.headers).encode()))
            for body in (ask("hi"), ask("hi") | {"stream": True}, ask("x") | {"model": "none"}, []):
                post = session.post(f"{url}/v1/messages", json=body, headers=headers)
                async with post as answer:
                    watch.said.append(("an answer", await answer.read()))
    for command in WHILE_SERVING:
        await run(street, watch, *command)
    process.send_signal(signal.SIGTERM)
    rest, err = await process.communicate()
    watch.said += [("stdout of serve", out + rest), ("stderr of serve", err)]
    assert process.returncode == 0, err.decode()


def ask(text: str) -> dict:
    messages = [{"role": "user", "content": text}]
    return {"model": "claude-sonnet-5", "max_tokens": 20, "messages": messages}


def fake_claude(place: Path) -> str:
    """A client that says how it was called."""
    place.mkdir()
    (place / "claude").write_text('#!/bin/sh\necho "$0 $@"; ps -ww -o args= -p $$ || true\n')
    (place / "claude").chmod(0o755)
    return f"{place}:{os.environ['PATH']}"


ALL = """
local all = ''
for _, key in ipairs(redis.call('KEYS', '*')) do all = all .. key .. redis.call('DUMP', key) end
return all
"""


def stored(valkey: Valkey) -> bytes:
    """Everything Redis holds."""
    valkey.command("CONFIG", "SET", "rdbcompression", "no")
    held = valkey.command("EVAL", ALL, "0")
    assert len(held) > 100
    return held


async def test_secrets_show_nowhere(street: Street, tmp_path: Path, open_umask: None):
    planted = {name: Canary(name) for name in VARIABLES}
    street.vast.key, street.runpod.key = planted["vast"].value, planted["runpod"].value
    async with contextlib.AsyncExitStack() as stack:
        watch = stack.enter_context(Watch())
        valkey = stack.enter_context(running())
        # not on its own command line
        valkey.command("CONFIG", "SET", "requirepass", planted["redis"].value)
        valkey.password = planted["redis"].value
        engine = await stack.enter_async_context(OpenAIEmulator())
        asked = await stack.enter_async_context(recorded(watch, "vast", street.vast.url))
        pods = await stack.enter_async_context(recorded(watch, "runpod", street.runpod.url))
        street.environment |= TALKATIVE | {
            **{variable: planted[name].value for name, variable in VARIABLES.items()},
            "VAST_URL": asked,
            "RUNPOD_API_BASE_URL": pods,
            "REDIS_HOST": "127.0.0.1",
            "REDIS_PORT": str(valkey.port),
            "PATH": fake_claude(tmp_path / "bin"),
        }
        codes = [await run(street, watch, *words) for words in BEFORE]
        assert codes[0] == 0, watch.said
        await serve(street, watch, "main")
        await serve(street, watch, "--backend", f"openai:{engine.url}")
        assert all(
            r.headers["Authorization"].endswith(planted["engine"].value) for r in engine.chats
        )
        watch.said.append(("Redis", stored(valkey)))
        for words in (*AFTER, *the_rest()):
            await run(street, watch, *words)
        await crash(street, watch)
        canaries = [*planted.values(), *private_keys(street.home)]
        assert len(canaries) >= 6
    hits = [hit for where, data in watch.said for hit in found(canaries, where, data)]
    hits = [hit for hit in hits if hit != "token in stdout of env"]  # which is what it is for
    hits += [hit for line in watch.command_lines for hit in found(canaries, "a command line", line)]
    hits += in_files(canaries, street.home, but=(street.home / "data" / "ssh").iterdir())
    assert hits == []
    assert "\n".join(open_to_others(street.home)) == ""


async def crash(street: Street, watch: Watch) -> None:
    """A bug that takes the whole environment along in its exception."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CRASH, "config", "show"),
        env=os.environ | street.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 70, err.decode()
    assert b"everything there is" in err
    assert list((street.home / "logs").glob("crash-*.txt")) or list(street.home.rglob("crash-*"))
    watch.said += [("stdout of a crash", out), ("stderr of a crash", err)]


def private_keys(home: Path) -> list[Canary]:
    """A line of each private key of ours: the key material in OpenSSH's own base64."""
    files = [path for path in (home / "data" / "ssh").iterdir() if path.suffix != ".pub"]
    lines = [(path.name, path.read_text().splitlines()) for path in files]
    return [Canary(name, text[-2]) for name, text in lines if "PRIVATE" in text[0]]
