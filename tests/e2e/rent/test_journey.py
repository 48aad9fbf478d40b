"""The life of an instance with the installed command, at both markets and on machines one has."""

import asyncio
import signal

import httpx
import pytest

from tests.e2e.rent.conftest import Street
from tests.integration.eventually import eventually

pytestmark = pytest.mark.e2e


def emulator(street: Street, name: str):
    return {"vast": street.vast, "runpod": street.runpod}[name].market


@pytest.mark.parametrize("market", ["vast", "runpod"])
async def test_up_status_down(street, market):
    up = await street.ok("up", "--provider", market, "--yes")
    assert "qwen3-coder:latest" in up.out
    assert "65,536 tokens" in up.out
    assert "the machine ends itself in 8.0 h at the latest" in up.err
    assert "next: llmctl serve main" in up.err
    (shown,) = (await street.ok("status", "--json")).json
    assert (shown["name"], shown["phase"], shown["state"]) == ("main", "ready", "running")
    assert float(shown["spent_usd"]) > 0
    assert 28_000 < shown["seconds_left"] <= 28_800
    down = await street.ok("down", "--yes")
    assert "main is gone; it came to $0.00" in down.out
    assert emulator(street, market).live() == []
    assert (await street.ok("down", "main", "--yes")).out == "main is already down\n"


async def test_up_of_a_ready_name_changes_nothing_but_its_end(street):
    await street.ok("up", "--provider", "vast", "--yes")
    before = len(street.vast.market.writes())
    again = (await street.ok("up", "--provider", "vast", "--yes", "--json")).json
    assert again["ready_before"] is True
    assert len(street.vast.market.writes()) == before
    assert len(street.vast.market.ours()) == 1
    unasked = await street.llmctl("up", "--provider", "vast", "--ttl", "2h")
    assert unasked.code == 2
    assert "by itself after 2 h (at most $0.62)" in unasked.err
    await street.ok("up", "--provider", "vast", "--ttl", "2h", "--yes")
    (shown,) = (await street.ok("status", "--json")).json
    assert 7000 < shown["seconds_left"] <= 7200


async def test_dry_runs_send_only_reads(street):
    plan = (await street.ok("up", "--dry-run", "--json")).json
    assert plan["fit"]["num_ctx"] == 65536
    assert plan["offer"]["usd_per_hour"] == "0.3100"
    offers = (await street.ok("offer", "list", "--json")).json
    assert {each["provider"] for each in offers} == {"vast", "runpod"}
    searches = [call for call in street.vast.market.writes() if call.operation != "offers"]
    assert searches == []
    assert street.runpod.market.writes() == []


async def test_the_proxy_and_other_tools_reach_the_engine_through_tunnels(street):
    await street.ok("up", "--provider", "vast", "--yes")
    proxy = await street.start("serve", "main", "--port", "0", "--no-auth", "--json")
    try:
        line = b""
        while b"\n}" not in line:
            line += await asyncio.wait_for(proxy.stdout.readline(), 60)
        url = line.split(b'"url": "')[1].split(b'"')[0].decode()
        body = {
            "model": "claude-sonnet-5",
            "max_tokens": 20,
            "messages": [{"role": "user", "content": "hi"}],
        }
        async with httpx.AsyncClient() as client:
            answer = await client.post(f"{url}/v1/messages", json=body, timeout=60)
        assert answer.status_code == 200
        assert answer.json()["content"][0]["text"]
    finally:
        proxy.send_signal(signal.SIGTERM)
        await proxy.communicate()
    await street.ok("tunnel", "main", "--background")
    (running,) = (await street.ok("tunnel", "list", "--json")).json
    async with httpx.AsyncClient() as client:
        version = await client.get(f"{running['held']['url']}/api/version", timeout=60)
    assert version.json()["version"] == "0.33.0"
    await street.ok("tunnel", "stop", "main")
    limited = (street.sshd._directory / "authorized_keys").read_text().splitlines()[1]
    port = street.environment["LLMCTL_OLLAMA_PORT"]
    assert limited.startswith(f'restrict,port-forwarding,permitopen="127.0.0.1:{port}"')


async def test_shell_logs_and_models(street):
    await street.ok("up", "--provider", "runpod", "--yes")
    assert (await street.ok("ssh", "main", "--", "echo", "here")).out == "here\n"
    assert "/api/chat" in (await street.ok("logs")).out
    (model,) = (await street.ok("model", "list", "--json")).json
    assert model["name"] == "qwen3-coder:latest"
    assert "tokens/s" in (await street.ok("model", "test")).out
    missing = await street.llmctl("model", "pull", "no-such-model")
    assert missing.code == 5
    assert "no-such-model" in missing.err
    assert "shows the pinned key" in (await street.ok("instance", "trust")).out


async def test_a_machine_one_has(street):
    address = f"{street.sshd.user}@127.0.0.1:{street.sshd.port}"
    await street.ok("up", "box", "--provider", "host", "--host", address)
    (shown,) = (await street.ok("status", "--json")).json
    assert (shown["provider"], shown["usd_per_hour"]) == ("host", None)
    await street.ok("down", "box", "--yes")
    assert (await street.ok("status")).out == "nothing is rented\n"
    assert street.vast.market.writes() == street.runpod.market.writes() == []


async def test_ctrl_c_destroys_what_it_made(street):
    street.vast.contracts.pull_s = 600.0
    process = await street.start("up", "--provider", "vast", "--yes")
    await eventually(lambda: street.vast.market.ours(), within_s=60)
    lines = b""
    while b"rented vast instance" not in lines:
        lines += await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"stopping" in err
    assert street.vast.market.ours() == []
    assert (await street.ok("status")).out == "nothing is rented\n"


async def test_a_killed_up_is_taken_up_again(street):
    street.vast.contracts.pull_s = 600.0
    process = await street.start("up", "--provider", "vast", "--yes")
    lines = b""
    while b"rented vast instance" not in lines:
        lines += await process.stderr.readline()
    process.kill()
    await process.communicate()
    street.vast.contracts.pull_s = 0.3
    await street.ok("up", "--provider", "vast", "--yes")
    assert len(street.vast.market.ours()) == 1
    assert len(street.vast.market.machines) == 1


async def test_a_market_that_says_yes_and_keeps_it_is_exit_code_8(street):
    await street.ok("up", "--provider", "vast", "--yes")
    street.vast.market.faults.add("destroy", "lies", times=-1)
    left = await street.llmctl("down", "--yes", LLMCTL_WAIT_GONE_S="1")
    assert left.code == 8
    assert "may still be running and billed" in left.err
    assert "llmctl down main" in left.err
    street.vast.market.faults.clear()
    # whatever comes next ends it, and says so
    assert "main is gone" in (await street.ok("offer", "list")).err
    assert street.vast.market.ours() == []


async def test_the_machine_ends_itself(street):
    await street.ok("up", "--provider", "vast", "--yes", "--ttl", "8s", "--idle", "1h")
    await eventually(lambda: not street.vast.market.ours(), within_s=60)
    status = await street.ok("status", LLMCTL_WAIT_LIST_LAG_S="2")
    assert "it ended without us" in status.err
    assert status.out == "nothing is rented\n"


async def test_what_cannot_be_done_is_said(street):
    dear = await street.llmctl("up", "--max-price", "0.10", "--yes")
    assert dear.code == 5
    assert "(cheapest now: $0.3" in dear.err
    assert "--max-price" in dear.err
    keyless = await street.llmctl("up", "--yes", VAST_API_KEY="", RUNPOD_API_KEY="")
    assert keyless.code == 4
    assert "llmctl auth login" in keyless.err
    wrong = await street.llmctl("up", "--provider", "vast", "--yes", VAST_API_KEY="wrong-key-9999")
    assert wrong.code == 4
    assert "9999" in wrong.err
    assert "wrong-key" not in wrong.err
    unasked = await street.llmctl("up", "--provider", "vast")
    assert unasked.code == 2
    assert "--yes" in unasked.err
    unknown = await street.llmctl("down", "mian", "--yes")
    assert unknown.code == 5
    assert street.vast.market.ours() == street.runpod.market.ours() == []
