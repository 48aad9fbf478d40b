"""A machine on record behind a real sshd, with an engine on its loopback."""

import asyncio
import json
import os
import sys
from urllib.parse import urlsplit

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.ssh.keys import load_or_make_key
from llmctl.ssh.tunnel_key import TUNNEL_KEY_NAME
from llmctl.state.store import RentalStore
from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.ssh.sshd import Sshd


@pytest.fixture
async def engine():
    async with OllamaEmulator(Answer(*(f"word{number} " for number in range(12)))) as emulator:
        yield emulator


@pytest.fixture
def box(tmp_path, engine, monkeypatch):
    """The record says that ``box`` is ready; both of our keys are let in."""
    monkeypatch.setenv("HOME", str(tmp_path / "machine-home"))
    (tmp_path / "machine-home").mkdir()
    paths = find_paths(os.environ)
    keys = [
        load_or_make_key(paths.data / "ssh"),
        load_or_make_key(paths.data / "ssh", TUNNEL_KEY_NAME),
    ]
    with Sshd(tmp_path / "sshd", authorized=[key.public_line for key in keys]) as sshd:
        store = RentalStore(paths.rentals_file, clock=SystemClock())
        spec = UpSpec(name="box", providers=(ProviderName.HOST,), host=sshd.address)
        rental = store.begin(spec, ProviderName.HOST)
        store.advance(
            rental.uuid,
            Phase.READY,
            addresses=(sshd.address,),
            engine_port=urlsplit(engine.url).port,
            model="qwen3-coder:30b",
            num_ctx=65536,
        )
        store.close()
        yield sshd


@pytest.fixture
def no_proxy_answers(monkeypatch):
    monkeypatch.setenv("LLMCTL_SERVE_PORT", "9")


async def llmctl(*arguments):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "llmctl", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


async def links():
    code, out, err = await llmctl("health", "--json")
    assert err == ""
    document = json.loads(out)
    assert document["healthy"] is (code == 0)
    return {each["kind"]: each for each in document["links"]}


@pytest.mark.usefixtures("no_proxy_answers")
class TestHealth:
    async def test_the_machine_and_the_engine_on_it(self, box, engine):
        found = await links()
        assert (
            found["instance"].items()
            >= {
                "name": "box",
                "state": "ok",
                "provider": "host",
                "phase": "ready",
            }.items()
        )
        assert found["instance"]["latency_ms"] > 0
        port = urlsplit(engine.url).port
        assert (
            found["backend"].items()
            >= {
                "name": f"ollama:http://box.localhost:{port}",
                "state": "ok",
                "version": "0.33.0",
            }.items()
        )

    async def test_an_engine_that_is_gone(self, box, engine):
        await engine.__aexit__(None, None, None)
        found = await links()
        assert found["instance"]["state"] == "ok"
        assert (found["backend"]["state"], found["backend"]["fix"]) == ("bad", "llmctl up box")

    async def test_a_machine_that_is_gone(self, box):
        box.stop()
        found = await links()
        assert "backend" not in found
        assert (found["instance"]["state"], found["instance"]["fix"]) == ("bad", "llmctl up box")

    async def test_another_machine_in_its_place(self, box):
        await links()  # pins the key it shows
        box.stop()
        box.new_host_key()
        box.start()
        found = await links()
        assert found["instance"]["fix"] == "llmctl instance trust box"


async def test_the_doctor_looks_at_it_too(box):
    _, out, err = await llmctl("doctor", "--json")
    assert err == ""
    found = {f"{each['section']}/{each['name']}": each for each in json.loads(out)["findings"]}
    assert found["instance/box"]["state"] == "ok"
    assert found["engine/version"]["state"] == "ok"
    assert found["engine/context"]["state"] == "ok"
    assert found["gpu/box"]["name"] == "box"
    assert "engine/reached" not in found  # serve would use the machine, not this one's Ollama


async def test_bench_goes_through_a_tunnel_of_its_own(box, engine):
    code, out, err = await llmctl("bench", "--json", "--usd-per-hour", "0.36")
    assert code == 0, err
    result = json.loads(out)
    assert (result["name"], result["provider"]) == ("box", "host")
    assert result["stopped"] == ""
    assert len(result["figures"]["levels"]) == 4
    assert {each.headers["Host"] for each in engine.chats} == {"127.0.0.1"}
    assert json.loads((await llmctl("bench", "box", "--history", "--json"))[1])[0] == result
