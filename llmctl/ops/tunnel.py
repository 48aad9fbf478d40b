"""Keep a tunnel open with a door on this machine, and say how it does."""

import asyncio
import shlex
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from llmctl.core.tunnel import TunnelStatus
from llmctl.ssh.forward import Door, open_port, open_preferred_port, open_socket
from llmctl.ssh.supervisor import Tunnel

EVERY_S = 1.0
OLLAMA_PORT = 11434
RESTART_S = 5


class DoorWish(Struct, frozen=True, kw_only=True):
    """Where to listen: on ``socket``, else on ``port``, else on Ollama's port or a free one."""

    port: int | None = None
    socket: Path | None = None


class Held(Struct, frozen=True, kw_only=True):
    """A tunnel and its door now."""

    status: TunnelStatus
    url: str
    """``http://127.0.0.1:PORT``, or ``unix:PATH``."""
    instead_of: int | None = None
    """The port that was to be had and is taken."""
    connections: int = 0


async def hold(
    tunnel: Tunnel, wish: DoorWish, *, every_s: float = EVERY_S
) -> AsyncGenerator[Held, None]:
    """Open the door, start the tunnel, and yield how it is: at each change and every ``every_s``.

    Runs until it is closed. Raises ``ConfigError`` for a door that cannot be had, and the
    ``SshError`` for which the tunnel gave up.
    """
    door, instead_of = _open(tunnel, wish)
    changed = asyncio.Event()
    unsubscribe = tunnel.subscribe(lambda _status: changed.set())
    try:
        await tunnel.start()
        while tunnel.failure is None:
            changed.clear()
            yield _held(tunnel, door, instead_of)
            await _either(changed, every_s)
        raise tunnel.failure
    finally:
        unsubscribe()
        await door.close()
        await tunnel.stop()


def unit_text(name: str, command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a systemd user unit that runs ``command``, which must stay in the foreground.

    It is not started again after exit status 4: a refused or changed key needs a person.
    """
    assignments = [f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items()]
    lines = [
        f"# ~/.config/systemd/user/llmctl-tunnel-{name}.service",
        f"# systemctl --user daemon-reload && systemctl --user enable --now llmctl-tunnel-{name}",
        "[Unit]",
        f"Description=llmctl tunnel to {name}".replace("%", "%%"),
        "",
        "[Service]",
        *assignments,
        f"ExecStart={' '.join(_quoted(word) for word in command)}",
        "Restart=on-failure",
        f"RestartSec={RESTART_S}",
        "RestartPreventExitStatus=2 4",
        "",
        "[Install]",
        "WantedBy=default.target",
    ]
    return "\n".join(lines) + "\n"


def _open(tunnel: Tunnel, wish: DoorWish) -> tuple[Door, int | None]:
    if wish.socket is not None:
        return open_socket(tunnel, wish.socket), None
    if wish.port == 0:
        return open_port(tunnel, 0), None
    wanted = wish.port or OLLAMA_PORT
    door, taken = open_preferred_port(tunnel, wanted)
    return door, wanted if taken else None


def _held(tunnel: Tunnel, door: Door, instead_of: int | None) -> Held:
    return Held(
        status=tunnel.status(), url=door.url, instead_of=instead_of, connections=door.connections
    )


async def _either(changed: asyncio.Event, within_s: float) -> None:
    try:
        async with asyncio.timeout(within_s):
            await changed.wait()
    except TimeoutError:
        pass


def _quoted(word: str) -> str:
    """Quote for systemd (systemd.service(5), COMMAND LINES): ``%`` and ``$`` mean something."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word == shlex.quote(word):
        return word
    escaped = word.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
