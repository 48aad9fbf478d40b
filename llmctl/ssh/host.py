"""What ``up`` does on a machine; every method may be repeated."""

import asyncio
from collections.abc import Callable

from msgspec import Struct

from llmctl.core.errors import RemoteFailed
from llmctl.core.rental import Step
from llmctl.ssh import engine, install, watchdog
from llmctl.ssh.connect import SshTarget, connect, hang_up
from llmctl.ssh.dial import in_thread
from llmctl.ssh.engine import EngineSettings, RemoteModel, Warmed
from llmctl.ssh.hostkeys import HostKeys
from llmctl.ssh.install import OllamaInstall
from llmctl.ssh.keys import Key
from llmctl.ssh.pull import STILL_S, Pull, PulledModel
from llmctl.ssh.remote import Remote
from llmctl.ssh.run import SshRemote
from llmctl.ssh.scripts import STATE
from llmctl.ssh.watchdog import Armed, Guard

_FACTS = """
nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/gpu /'
sed -n 's/^MemTotal: *\\([0-9]*\\) kB/ram \\1/p' /proc/meminfo
if [ -d /workspace ] && [ -w /workspace ]; then at=/workspace; else at=${HOME:-/}; fi
[ -d "$at" ] || at=/
df -Pk "$at" | tail -n 1 | sed 's/  */ /g' | cut -d ' ' -f 4 | sed 's/^/disk /'
echo "uid $(id -u)"
[ ! -d /run/systemd/system ] || echo systemd
"""


class GpuFact(Struct, frozen=True, kw_only=True):
    """A GPU as its driver names it."""

    name: str
    memory_mib: int


class HostFacts(Struct, frozen=True, kw_only=True):
    """What a machine says of itself."""

    gpus: tuple[GpuFact, ...]
    ram_mib: int
    disk_free_bytes: int
    """Where the models go."""
    is_root: bool
    systemd: bool


class Host:
    """One machine, over a ``Remote`` that it owns. ``port`` is that of its engine.

    Methods raise ``SshError`` when the link is lost, ``RemoteFailed`` for what fails there.
    """

    def __init__(
        self,
        remote: Remote,
        *,
        port: int = 11434,
        pull_still_s: float = STILL_S,
        load_s: float = engine.LOAD_S,
        sleep: engine.Sleep = asyncio.sleep,
    ) -> None:
        self.remote = remote
        self.port = port
        self._pull_still_s = pull_still_s
        self._load_s = load_s
        self._sleep = sleep

    @property
    def where(self) -> str:
        """For messages."""
        return self.remote.where

    async def arm(self, guard: Guard) -> Armed:
        """Start the watchdog, or replace the one that runs; returns what it says itself."""
        return await watchdog.arm(self.remote, guard)

    async def armed(self) -> Armed | None:
        """Ask the watchdog; None where none answers."""
        return await watchdog.armed(self.remote)

    async def renew(self) -> None:
        """Tell the watchdog that somebody uses the machine."""
        await watchdog.renew(self.remote)

    async def disarm(self) -> None:
        """End the watchdog of a machine that is not rented."""
        await watchdog.disarm(self.remote)

    async def facts(self) -> HostFacts:
        """Return what the machine has."""
        ran = await self.remote.run(_FACTS)
        try:
            return read_facts(ran.stdout)
        except (ValueError, KeyError) as failure:
            raise RemoteFailed(f"cannot read what {self.where} has: {ran.stdout!r}") from failure

    async def install(self, wanted: OllamaInstall, report: Callable[[Step], None]) -> str:
        """Put Ollama in place and return its version."""
        return await install.install(self.remote, wanted, report)

    async def serve(self, settings: EngineSettings) -> None:
        """Have Ollama run with these settings, for loopback only; later calls use its port."""
        await engine.serve(self.remote, settings, sleep=self._sleep)
        self.port = settings.port

    async def pull(
        self, model: str, report: Callable[[Step], None], *, insecure: bool = False
    ) -> PulledModel:
        """Have a model on the machine; goes on where an earlier pull ended."""
        pull = Pull(
            self.remote,
            self.port,
            report=report,
            keep_alive=self.renew,
            still_s=self._pull_still_s,
            insecure=insecure,
            sleep=self._sleep,
        )
        return await pull.run(model)

    async def warm(self, model: str, num_ctx: int | None) -> Warmed:
        """Load a model and let it answer once."""
        return await engine.warm(self.remote, self.port, model, num_ctx, load_s=self._load_s)

    async def models(self) -> list[RemoteModel]:
        """Return what was pulled."""
        return await engine.models(self.remote, self.port)

    async def remove(self, model: str) -> None:
        """Delete a model; raises ``NotFound``."""
        await engine.remove(self.remote, self.port, model)

    async def stop_engine(self) -> None:
        """End the Ollama that llmctl started; nothing where there is none."""
        await self.remote.run(
            f'{STATE}{{ read -r q <"$d/ollama.pid"; }} 2>/dev/null || exit 0\n'
            'mine "$q" "ollama serve" || exit 0\n'
            'kill "$q"; while mine "$q" "ollama serve"; do sleep 0.1 || sleep 1; done'
        )

    async def logs(self, lines: int) -> list[str]:
        """Return the last lines of the engine's log."""
        return await engine.logs(self.remote, lines)

    async def close(self) -> None:
        """Log out."""
        await self.remote.close()


def read_facts(text: str) -> HostFacts:
    """Read what ``_FACTS`` prints; raises ``ValueError`` or ``KeyError`` for anything else."""
    gpus, values = [], {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "gpu":
            name, _, memory = rest.rpartition(",")
            gpus.append(GpuFact(name=name.strip(), memory_mib=int(memory)))
        else:
            values[kind] = rest
    return HostFacts(
        gpus=tuple(gpus),
        ram_mib=int(values["ram"]) // 1024,
        disk_free_bytes=int(values["disk"]) * 1024,
        is_root=values["uid"] == "0",
        systemd="systemd" in values,
    )


async def reach(
    target: SshTarget,
    key: Key,
    pins: HostKeys,
    *,
    timeout_s: float = 15.0,
    pull_still_s: float = STILL_S,
    load_s: float = engine.LOAD_S,
) -> Host:
    """Log in over SSH, in a thread; raises as ``connect`` does. The host's ``close`` logs out."""
    connection = await in_thread(
        lambda: connect(target, key, pins, timeout_s=timeout_s),
        undo=lambda unwanted: hang_up(unwanted.transport),
    )
    remote = SshRemote(connection)
    return Host(remote, port=target.engine_port, pull_still_s=pull_still_s, load_s=load_s)
