"""The watchdog that ends a rented machine from within; what it does is in ``watchdog.sh``."""

import secrets
import shlex
from typing import Literal

from msgspec import Struct

from llmctl.core.clock import Clock, SystemClock
from llmctl.core.errors import RemoteFailed
from llmctl.core.rental import ProviderName
from llmctl.ssh.remote import Remote
from llmctl.ssh.scripts import DIRECTORY, STATE, packaged

START_SCRIPT_CHARACTERS = 3800
"""vast.ai takes 4096 for start script and arguments together."""
LATE_START_S = 3600
"""How long a machine may live, not armed anew, that is started again after its first deadline."""
SKEW_S = 120.0
"""A machine whose clock is further off would end itself at the wrong time."""
ATTEMPTS = 2
OVERTAKEN = 75
"""Status of a start whose watchdog is not the newest one."""
RETRY_S = 30.0

_END = "LLMCTL_WATCHDOG"
# Asks by a number that nobody else knows, and a signal; the answer comes from the process itself.
# Asked again every second: two that ask at once overwrite each other's number.
_ASK = """
{ read -r q <"$d/pid"; } 2>/dev/null || exit 0
i=0
until [ -s "$d/answer.$n" ]; do
    mine "$q" "$d/watchdog.sh" && [ $i -le 150 ] || exit 0
    if [ $((i % 10)) = 0 ]; then
        echo "$n" >"$d/ask.$n" && mv -f "$d/ask.$n" "$d/ask" && kill -USR1 "$q"
    fi
    i=$((i + 1))
    sleep 0.1 || sleep 1
done
cat "$d/answer.$n"
rm -f "$d/answer.$n"
"""


class Guard(Struct, frozen=True, kw_only=True):
    """What a watchdog is told."""

    provider: ProviderName
    instance_id: str
    """Empty before there is one: then the provider's own variables name it."""
    api_url: str
    """Without a path: ``https://console.vast.ai``, ``https://api.runpod.io``."""
    instance_key: str | None = None
    """A key of this instance alone; without it the one that the provider put on the machine."""
    deadline: float
    """Unix time."""
    idle_s: float
    """0: no limit."""
    action: Literal["destroy", "stop"] = "destroy"
    uuid: str = ""
    retry_s: float = RETRY_S
    """Between two tries to end the machine."""

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Guard({self.provider} {self.instance_id!r} until {self.deadline:.0f})"


class Armed(Struct, frozen=True, kw_only=True):
    """What a watchdog says of itself."""

    deadline: float
    """Unix time, in whole seconds."""
    idle_s: float
    pid: int
    unused_s: float = 0.0
    """How long nobody has used the machine."""


def start_script(guard: Guard) -> str:
    """Return shell for ``Order.start_script``: the deadline holds before anybody has logged in.

    ``LLMCTL_DEADLINE`` in the container's environment goes before the guard's own deadline. It
    does not block; the idle limit begins when the machine is armed over SSH. At most 3800
    characters.
    """
    late = f'[ "$e" -gt "$n" ] || e=$((n + {LATE_START_S}))\n'
    script = (
        f"{DIRECTORY}{_write_script()}"
        f"n=$(date +%s)\ne=${{LLMCTL_DEADLINE:-{int(guard.deadline)}}}\ne=${{e%.*}}\n{late}"
        f"{_launch(guard, deadline='$e', idle='0')}"
    )
    assert len(script) <= START_SCRIPT_CHARACTERS
    return script


async def arm(remote: Remote, guard: Guard, *, clock: Clock | None = None) -> Armed:
    """Start a watchdog in place of the one that runs, and return what it answers.

    Raises ``RemoteFailed`` unless a living process says that it is armed as asked.
    """
    key = (guard.instance_key or "").encode() + b"\n"
    launch = _launch(guard, deadline=str(int(guard.deadline)), idle=str(round(guard.idle_s)))
    script = (
        f'set -e\n{STATE}chmod 700 "$d"\n{_write_script()}'
        # Where no key came with it the old one stays: only the first arming has it.
        'IFS= read -r k || :\n[ -z "$k" ] || { printf "%s\\n" "$k" >"$d/key.new"; '
        'mv -f "$d/key.new" "$d/key"; }\n'
        f'date +%s >"$d/lease"\n{launch}'
        # The new one has written its number when this script goes on to ask.
        'i=0\nuntil [ "$(cat "$d/pid" 2>/dev/null)" = $! ]; do i=$((i + 1)); '
        f"[ $i -le 100 ] || exit {OVERTAKEN}; sleep 0.1 || sleep 1; done\n"
        "date +%s\n"
    )
    trouble = ""
    # The start script's own may begin at the same moment, and be the newest by a hair.
    for _ in range(ATTEMPTS):
        ran = await remote.run(script, stdin=key)
        if ran.status not in {0, OVERTAKEN}:
            raise RemoteFailed(f"cannot start the watchdog on {remote.where}: {_words(ran.stderr)}")
        if ran.status == 0:
            _check_clock(remote, ran.stdout, clock or SystemClock())
        said = await armed(remote)
        if said is not None and _is_as_asked(said, guard):
            return said
        trouble = "does not answer" if said is None else f"is armed otherwise than asked: {said}"
    raise RemoteFailed(f"the watchdog on {remote.where} was started and {trouble}")


def _is_as_asked(said: Armed, guard: Guard) -> bool:
    return (int(said.deadline), round(said.idle_s)) == (int(guard.deadline), round(guard.idle_s))


async def armed(remote: Remote) -> Armed | None:
    """Ask the watchdog; None where none runs or it does not answer."""
    nonce = secrets.token_hex(8)
    ran = await remote.run(f"{STATE}n={nonce}\n{_ASK}")
    match ran.stdout.split():
        case ["armed", said, pid, deadline, idle, unused] if said == nonce:
            return Armed(
                deadline=float(deadline),
                idle_s=float(idle),
                pid=int(pid),
                unused_s=max(float(unused), 0.0),
            )
        case _:
            return None


async def renew(remote: Remote) -> None:
    """Let the idle time begin anew."""
    ran = await remote.run(f'{STATE}date +%s >"$d/lease.$$" && mv -f "$d/lease.$$" "$d/lease"')
    if ran.status != 0:
        raise RemoteFailed(f"cannot renew the lease on {remote.where}: {_words(ran.stderr)}")


async def disarm(remote: Remote) -> None:
    """End the watchdog: for machines that stay when llmctl leaves; idempotent."""
    await remote.run(
        f'{STATE}{{ read -r q <"$d/pid"; }} 2>/dev/null || exit 0\n'
        'mine "$q" "$d/watchdog.sh" || exit 0\n'
        'kill "$q"; rm -f "$d/pid" "$d/key" "$d/lease"'
    )


def _write_script() -> str:
    """A running shell goes on with the file it has open: the new one gets a name of its own."""
    return (
        f"cat >\"$d/watchdog.new\" <<'{_END}'\n{packaged('watchdog.sh')}{_END}\n"
        'mv -f "$d/watchdog.new" "$d/watchdog.sh"\n'
    )


def _launch(guard: Guard, *, deadline: str, idle: str) -> str:
    words = [guard.provider.value, guard.instance_id or "-", guard.api_url or "-", guard.action]
    told = " ".join(shlex.quote(word) for word in words)
    return (
        f'$(command -v setsid || echo nohup) sh "$d/watchdog.sh" {told} {deadline} {idle} '
        f'"$d/ollama.log" {guard.retry_s:g} </dev/null >>"$d/watchdog.log" 2>&1 &\n'
    )


def _check_clock(remote: Remote, said: str, clock: Clock) -> None:
    theirs = float(said.rsplit(maxsplit=1)[-1])
    off = theirs - clock.now()
    if abs(off) > SKEW_S:
        raise RemoteFailed(
            f"the clock of {remote.where} is {off:+.0f} s off ours: its deadline would be wrong"
        )


def _words(stderr: str) -> str:
    return stderr.strip().splitlines()[-1] if stderr.strip() else "no reason was given"
