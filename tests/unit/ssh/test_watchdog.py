import re
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.core.errors import RemoteFailed
from llmctl.core.rental import ProviderName
from llmctl.ssh.remote import Ran
from llmctl.ssh.scripts import packaged
from llmctl.ssh.watchdog import Guard, arm, armed, start_script
from tests.clocks import ManualClock

GUARD = Guard(
    provider=ProviderName.VAST,
    instance_id="4711",
    api_url="https://console.vast.ai",
    instance_key="canary",
    deadline=1_800_003_600.5,
    idle_s=1800,
)


class Machine:
    """Answers ``run`` as a machine would whose watchdog says what ``says`` makes of the nonce."""

    where = "root@box"

    def __init__(self, says: str, *, clock: int = 1_800_000_000, status: int = 0) -> None:
        self._says = says
        self._clock = clock
        self._status = status
        self.scripts: list[str] = []
        self.given: list[bytes] = []

    async def run(self, script: str, *, stdin: bytes = b"", timeout_s: float = 60.0) -> Ran:
        self.scripts.append(script)
        self.given.append(stdin)
        if asked := re.search(r"^n=([0-9a-f]+)$", script, re.M):
            return Ran(status=0, stdout=self._says.replace("NONCE", asked[1]), stderr="")
        return Ran(status=self._status, stdout=f"{self._clock}\n", stderr="no space\n")


async def test_arming_returns_what_the_process_says() -> None:
    machine = Machine("armed NONCE 77 1800003600 1800 0\n")
    said = await arm(machine, GUARD, clock=ManualClock())
    assert (said.deadline, said.idle_s, said.pid) == (1_800_003_600.0, 1800.0, 77)
    assert machine.given[0] == b"canary\n"
    assert all("canary" not in script for script in machine.scripts)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("", "does not answer"),
        ("armed 0123456789abcdef 77 1800003600 1800\n", "does not answer"),
        ("armed NONCE 77 1800009999 1800 0\n", "armed otherwise than asked"),
        ("armed NONCE 77 1800003600 0 0\n", "armed otherwise than asked"),
    ],
)
async def test_other_answers_are_not_believed(says: str, words: str) -> None:
    with pytest.raises(RemoteFailed, match=words):
        await arm(Machine(says), GUARD, clock=ManualClock())


async def test_machine_that_cannot_start_it() -> None:
    with pytest.raises(RemoteFailed, match="cannot start the watchdog on root@box: no space"):
        await arm(Machine("", status=1), GUARD, clock=ManualClock())


async def test_machine_with_another_time() -> None:
    machine = Machine("armed NONCE 77 1800003600 1800 0\n", clock=1_800_000_500)
    with pytest.raises(RemoteFailed, match=r"\+500 s off ours"):
        await arm(machine, GUARD, clock=ManualClock())


async def test_no_watchdog() -> None:
    assert await armed(Machine("")) is None


def test_key_does_not_show() -> None:
    assert "canary" not in repr(GUARD)
    assert "canary" not in f"{GUARD} {[GUARD]}"
    assert "canary" not in start_script(GUARD)


@given(
    instance=st.from_regex(r"[A-Za-z0-9'\" $`;-]{1,40}", fullmatch=True),
    deadline=st.floats(1e9, 4e9),
)
def test_start_script_fits_and_quotes(instance: str, deadline: float) -> None:
    guard = msgspec.structs.replace(GUARD, instance_id=instance, deadline=deadline)
    script = start_script(guard)
    assert len(script) <= 3800
    assert "LLMCTL_DEADLINE" in script
    assert str(int(deadline)) in script
    assert shlex.quote(instance) in script


@pytest.mark.parametrize("name", ["watchdog.sh", "install.sh", "serve.sh"])
def test_scripts_are_sent_without_comments(name: str) -> None:
    lines = packaged(name).splitlines()
    assert lines
    assert all(line and line == line.strip() and not line.startswith("#") for line in lines)
