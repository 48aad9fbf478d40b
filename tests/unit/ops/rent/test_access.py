import shutil
import subprocess
from pathlib import Path

import pytest

from llmctl.core.errors import HostKeyChanged, LlmctlError, SshError
from llmctl.core.rental import Phase, ProviderName, Rental, SshAddress
from llmctl.ops.rent.access import machine_logs, plan_trust, shell, trust
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.up import up
from tests.unit.ops.rent.stage import ADDRESS, Stage, a_spec

OLD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0IGtleSBvZiB0aGlzIGluc3RhbGwh"
NEW = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHNlY29uZCBrZXkgb2YgdGhpcyBpbnN0YWxs"
RELAY = SshAddress(host="relay.example.com", port=2222, relay=True)


def rental(**changes) -> Rental:
    usual = {
        "uuid": "0a" * 16,
        "name": "main",
        "provider": ProviderName.VAST,
        "label": "llmctl/0a1b2c3d/x",
        "phase": Phase.READY,
        "created_at": 0.0,
        "spec": a_spec(),
        "addresses": (RELAY, ADDRESS),
    }
    return Rental(**(usual | changes))


def words(**changes) -> list[str]:
    given = {"key_file": Path("/k/id"), "known_hosts_file": Path("/k/known_hosts")}
    return shell(rental(), OLD, **(given | changes)).argv


def test_a_shell_goes_to_the_direct_address_with_our_key_only():
    argv = words()
    assert argv[:3] == ["ssh", "-F", "none"]
    assert argv[argv.index("-i") + 1] == "/k/id"
    assert argv[argv.index("-p") + 1] == "40022"
    assert argv[-2:] == ["--", "root@203.0.113.7"]
    assert "IdentitiesOnly=yes" in argv


def test_the_pinned_key_is_the_only_one_accepted():
    made = shell(rental(), OLD, key_file=Path("/k"), known_hosts_file=Path("/h"))
    alias, key = made.known_hosts.split(maxsplit=1)
    assert key == OLD + "\n"
    assert f"HostKeyAlias={alias}" in made.argv
    assert "HostKeyAlgorithms=ssh-ed25519" in made.argv
    assert "StrictHostKeyChecking=yes" in made.argv


def test_rsa_keys_sign_with_sha2():
    made = shell(rental(), "ssh-rsa AAAA", key_file=Path("/k"), known_hosts_file=Path("/h"))
    assert "HostKeyAlgorithms=rsa-sha2-512,rsa-sha2-256" in made.argv


def test_a_command_comes_last():
    assert words(command=["nvidia-smi", "-L"])[-3:] == ["root@203.0.113.7", "nvidia-smi", "-L"]


@pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")
def test_ssh_itself_understands_every_option(tmp_path):
    odd = tmp_path / "a %d b"
    argv = shell(rental(), OLD, key_file=odd / "id", known_hosts_file=odd / "known").argv
    answer = subprocess.run(
        [argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=True
    ).stdout
    assert f"userknownhostsfile {odd / 'known'}" in answer
    assert f"hostkeyalias llmctl-{'0a' * 16}" in answer
    assert "stricthostkeychecking true" in answer
    assert "port 40022" in answer


@pytest.mark.parametrize("changes", [{"addresses": ()}, {}])
def test_a_shell_needs_an_address_and_a_pin(changes):
    with pytest.raises(LlmctlError):
        shell(
            rental(**changes),
            OLD if changes else None,
            key_file=Path("/k"),
            known_hosts_file=Path("/h"),
        )


async def ready(stage: Stage) -> Rental:
    plan = await plan_up(stage.world, a_spec())
    return (await up(stage.world, plan, stage.release)).rental


def shows(stage: Stage, key: str) -> None:
    """Let the machine show a host key, checked against the pins as ssh/connect does."""
    reach = stage.machine.reach

    async def checked(target):
        pinned = stage.store.pinned(target.instance, target.generation)
        if pinned not in (None, key):
            raise HostKeyChanged("another key")
        host = await reach(target)
        stage.store.pin(target.instance, target.generation, key)
        return host

    stage.world.reach = checked


async def test_trust_shows_both_keys_and_pins_the_new_one(stage: Stage):
    shows(stage, OLD)
    made = await ready(stage)
    shows(stage, NEW)
    stage.store.pin(made.uuid, "earlier", OLD)
    plan = await plan_trust(stage.world, made)
    assert plan.changed
    assert plan.old != plan.new
    assert stage.store.pinned(made.uuid, made.generation) == OLD
    trust(stage.world, plan)
    assert stage.store.pinned(made.uuid, made.generation) == NEW
    assert stage.store.pinned(made.uuid, "earlier") is None


async def test_nothing_to_trust_where_nothing_changed(stage: Stage):
    shows(stage, OLD)
    made = await ready(stage)
    assert not (await plan_trust(stage.world, made)).changed


async def test_a_machine_that_refuses_our_key_is_not_trusted(stage: Stage):
    shows(stage, OLD)
    made = await ready(stage)
    stage.machine.fails["reach"] = [SshError("refused our key", terminal=True)]
    with pytest.raises(SshError, match="refused"):
        await plan_trust(stage.world, made)
    assert stage.store.pinned(made.uuid, made.generation) == OLD


async def test_logs_come_from_the_engine(stage: Stage):
    made = await ready(stage)
    assert await machine_logs(stage.world, made, lines=5) == ["from the engine"]


async def test_logs_come_from_the_container_before_that(stage: Stage):
    made = await ready(stage)
    early = stage.store.advance(made.uuid, Phase.CREATED)
    assert await machine_logs(stage.world, early, lines=2) == ["line 0", "line 1"]


async def test_what_is_stopped_has_no_shell(stage: Stage):
    plan = await plan_up(stage.world, a_spec())
    made = (await up(stage.world, plan, stage.release)).rental
    stopped = stage.store.advance(made.uuid, Phase.STOPPED)
    with pytest.raises(LlmctlError, match="main is stopped") as no:
        shell(stopped, OLD, key_file=Path("k"), known_hosts_file=Path("h"))
    assert no.value.hint == "llmctl start main"
