"""Ollama on a machine: start it for loopback only, and bring its model into GPU memory."""

import asyncio
import ipaddress
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from msgspec import Struct

from llmctl.core.errors import ConfigError, DeadlineExceeded, NotFound, RemoteFailed
from llmctl.ssh.install import check_version
from llmctl.ssh.remote import HttpReply, Remote
from llmctl.ssh.scripts import STATE, packaged

START_S = 90.0
POLL_S = 0.3
ASK_S = 30.0
LOAD_S = 900.0
LOG_LINES = 15
_PROMPT = "Answer with the one word: ready"
_ANSWER_TOKENS = 24

Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


class EngineSettings(Struct, frozen=True, kw_only=True):
    """How Ollama runs; what is None is left to its own choice."""

    port: int = 11434
    models_dir: str | None = None
    """None: below ``/workspace`` where that is there, else Ollama's own place."""
    num_ctx: int | None = None
    kv_cache_type: str | None = None
    parallel: int = 1
    max_loaded: int = 1
    load_timeout: str = "15m"


class RemoteModel(Struct, frozen=True, kw_only=True):
    """A model that is on the machine."""

    name: str
    bytes: int
    digest: str


class Warmed(Struct, frozen=True, kw_only=True):
    """A loaded model that has answered."""

    size_bytes: int
    """What it takes, context included."""
    vram_bytes: int
    """The part of it in GPU memory."""
    tokens_per_s: float
    text: str
    context_length: int | None = None
    """Tokens that it really holds."""

    @property
    def all_on_gpu(self) -> bool:
        """Whether nothing of it was left to the CPU."""
        return self.vram_bytes == self.size_bytes > 0


class _Listed(Struct, frozen=True):
    name: str
    size: int = 0
    digest: str = ""


class _Tags(Struct, frozen=True):
    models: list[_Listed] | None = None


class _Loaded(Struct, frozen=True):
    name: str
    size: int = 0
    size_vram: int = 0
    context_length: int | None = None


class _Ps(Struct, frozen=True):
    models: list[_Loaded] | None = None


class _Message(Struct, frozen=True):
    content: str = ""
    thinking: str = ""


class _Chat(Struct, frozen=True):
    message: _Message = _Message()
    eval_count: int = 0
    eval_duration: int = 0


def environment(settings: EngineSettings) -> dict[str, str]:
    """Return Ollama's variables; a model stays loaded for ever, as the machine is there for it."""
    variables = {
        "OLLAMA_HOST": f"127.0.0.1:{settings.port}",
        "OLLAMA_KEEP_ALIVE": "-1",
        "OLLAMA_NUM_PARALLEL": str(settings.parallel),
        "OLLAMA_MAX_LOADED_MODELS": str(settings.max_loaded),
        "OLLAMA_LOAD_TIMEOUT": settings.load_timeout,
        "OLLAMA_NOPRUNE": "1",  # else a restart throws half-pulled models away
        "OLLAMA_NO_CLOUD": "1",
        "OLLAMA_FLASH_ATTENTION": "1",  # a quantised KV cache needs it
    }
    if settings.num_ctx is not None:
        variables["OLLAMA_CONTEXT_LENGTH"] = str(settings.num_ctx)
    if settings.kv_cache_type is not None:
        variables["OLLAMA_KV_CACHE_TYPE"] = settings.kv_cache_type
    return variables


async def serve(remote: Remote, settings: EngineSettings, *, sleep: Sleep = asyncio.sleep) -> None:
    """Start Ollama, or keep the one that runs with these settings, and wait until it answers.

    Raises ``RemoteFailed`` with its last words when it ends, when somebody else has its port, when
    it is too old, or when it listens on more than loopback; ``DeadlineExceeded``.
    """
    lines = [f"{settings.port} {settings.models_dir or '-'}"]
    lines += [f"{name}={value}" for name, value in environment(settings).items()]
    told = "".join(f"{line}\n" for line in lines).encode()
    ran = await remote.run(STATE + packaged("serve.sh"), stdin=told)
    if ran.status != 0:
        hint = "stop it there, or choose another port" if "is taken" in ran.stderr else None
        words = ran.stderr.strip() or f"exit status {ran.status}"
        raise RemoteFailed(f"cannot start Ollama on {remote.where}: {words}", hint=hint)
    await _wait_until_it_answers(remote, settings.port, sleep)
    await _check_exposure(remote, settings.port)
    version = msgspec.json.decode((await ask(remote, settings.port, "GET", "/api/version")).body)
    check_running_version(str(version.get("version", "")), remote.where)


def check_running_version(version: str, where: str) -> None:
    """Raise ``RemoteFailed`` for one with a known hole; a build of one's own says 0.0.0."""
    if version == "0.0.0":
        return
    try:
        check_version(version, what=f"the Ollama on {where}")
    except ConfigError as refused:
        raise RemoteFailed(refused.message) from refused


async def _wait_until_it_answers(remote: Remote, port: int, sleep: Sleep) -> None:
    deadline, missing = time.monotonic() + START_S, 0
    while True:
        try:
            if (await remote.http(port, "GET", "/", timeout_s=ASK_S)).status == 200:
                return
        except RemoteFailed:
            pass  # it does not listen yet
        # Twice: a process that is just becoming another program shows no command line.
        missing = 0 if await _runs(remote) else missing + 1
        if missing >= 2:
            words = "\n".join(await logs(remote, LOG_LINES))
            raise RemoteFailed(f"Ollama ended on {remote.where}:\n{words}")
        if time.monotonic() > deadline:
            raise DeadlineExceeded(f"Ollama on {remote.where} does not answer after {START_S:g} s")
        await sleep(POLL_S)


async def _runs(remote: Remote) -> bool:
    ran = await remote.run(f'{STATE}mine "$(cat "$d/ollama.pid")" "ollama serve"')
    return ran.status == 0


async def _check_exposure(remote: Remote, port: int) -> None:
    """Make sure that nobody else can reach it: Ollama asks for no password."""
    ran = await remote.run("cat /proc/net/tcp /proc/net/tcp6 2>/dev/null || true")
    if exposed := [each for each in listening(ran.stdout, port) if each not in _LOOPBACK]:
        raise RemoteFailed(
            f"Ollama on {remote.where} listens on {', '.join(sorted(exposed))}, not only on "
            "127.0.0.1: anybody could use it"
        )


_LISTENING = re.compile(r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F:]+ 0A ", re.MULTILINE)
_LOOPBACK = {"127.0.0.1", "::1"}


def listening(table: str, port: int) -> set[str]:
    """Return the addresses that take connections to ``port``, from ``/proc/net/tcp`` and ``tcp6``.

    Addresses are in hexadecimal there, each group of four bytes in the machine's order, which is
    little-endian on all machines that Ollama runs on (proc(5)).
    """
    found = set()
    for match in re.finditer(
        r"^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F:]+ 0A ", table, re.MULTILINE
    ):
        if int(match[2], 16) == port:
            raw = bytes.fromhex(match[1])
            groups = [raw[at : at + 4][::-1] for at in range(0, len(raw), 4)]
            found.add(str(ipaddress.ip_address(b"".join(groups))))
    return found


async def warm(
    remote: Remote, port: int, model: str, num_ctx: int | None, *, load_s: float = LOAD_S
) -> Warmed:
    """Load a model with this context, let it answer, and say how much of it is in GPU memory.

    Raises ``RemoteFailed`` with Ollama's words, ``NotFound``, ``DeadlineExceeded``.
    """
    options: dict[str, object] = {"num_predict": _ANSWER_TOKENS}
    if num_ctx is not None:
        options["num_ctx"] = num_ctx
    body = {
        "model": model,
        "messages": [{"role": "user", "content": _PROMPT}],
        "stream": False,
        "keep_alive": -1,
        "truncate": False,
        "shift": False,
        "options": options,
    }
    reply = await ask(remote, port, "POST", "/api/chat", body, timeout_s=load_s)
    chat = _decode(reply, _Chat, remote)
    loaded = await _loaded(remote, port, model)
    seconds = chat.eval_duration / 1e9
    return Warmed(
        size_bytes=loaded.size,
        vram_bytes=loaded.size_vram,
        tokens_per_s=chat.eval_count / seconds if seconds else 0.0,
        text=(chat.message.content or chat.message.thinking).strip(),
        context_length=loaded.context_length,
    )


async def _loaded(remote: Remote, port: int, model: str) -> _Loaded:
    ps = _decode(await ask(remote, port, "GET", "/api/ps"), _Ps, remote)
    for each in ps.models or []:
        if full_name(each.name) == full_name(model):
            return each
    raise RemoteFailed(
        f"{model} answered on {remote.where} and is not loaded: it needs more memory"
    )


async def models(remote: Remote, port: int) -> list[RemoteModel]:
    """Return what was pulled."""
    tags = _decode(await ask(remote, port, "GET", "/api/tags"), _Tags, remote)
    return [
        RemoteModel(name=each.name, bytes=each.size, digest=each.digest)
        for each in tags.models or []
    ]


async def remove(remote: Remote, port: int, model: str) -> None:
    """Delete a model; raises ``NotFound`` where it is not there."""
    await ask(remote, port, "DELETE", "/api/delete", {"model": model})


async def logs(remote: Remote, lines: int) -> list[str]:
    """Return the last lines that Ollama wrote; none where it never ran."""
    ran = await remote.run(f'{STATE}tail -n {lines:d} "$d/ollama.log" 2>/dev/null || true')
    return ran.stdout.splitlines()


def full_name(model: str) -> str:
    """Return a model's name as Ollama compares it: in lower case, with its tag."""
    name = model.lower()
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


async def ask(
    remote: Remote,
    port: int,
    method: str,
    path: str,
    body: dict[str, object] | None = None,
    *,
    timeout_s: float = ASK_S,
) -> HttpReply:
    """Return an answer of Ollama with status 200; raises ``NotFound``, ``RemoteFailed``."""
    sent = None if body is None else msgspec.json.encode(body)
    reply = await remote.http(port, method, path, sent, timeout_s=timeout_s)
    if reply.status == 200:
        return reply
    try:
        words = str(msgspec.json.decode(reply.body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        words = f"HTTP {reply.status}"
    if reply.status == 404:
        raise NotFound(f"Ollama on {remote.where}: {words}")
    raise RemoteFailed(f"Ollama on {remote.where} failed at {path}: {words}")


def _decode(reply: HttpReply, kind: type[T], remote: Remote) -> T:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except msgspec.DecodeError as failure:
        raise RemoteFailed(
            f"what answers as Ollama on {remote.where} cannot be understood: {failure}"
        ) from failure
