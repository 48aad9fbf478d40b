"""A real Valkey, judged by what it says of itself."""

import pytest

from llmctl.cache.address import redis_address
from llmctl.cache.redis_facts import redis_facts
from llmctl.config.load import load
from llmctl.core.errors import LlmctlError
from llmctl.core.reports_health import CheckState
from llmctl.ops.doctor.redis import redis_findings
from tests.integration.valkey import free_port, running, valkey

__all__ = ["valkey"]


async def findings(tmp_path, url, **environ):
    environ |= {"LLMCTL_HOME": str(tmp_path), "REDIS_URL": url}
    found = await redis_findings(load(flags={}, environ=environ))
    return {each.name: each for each in found}


async def test_what_it_says(valkey):
    facts = await redis_facts(redis_address(url=valkey.url))
    assert (facts.software, facts.tls, facts.cluster, facts.replica) == (
        "Valkey",
        False,
        False,
        False,
    )
    assert facts.version.split(".")[0].isdigit()
    assert facts.room.policy == "noeviction"
    assert facts.used_bytes > 0
    assert 0 < facts.ping_ms < 5000


async def test_without_a_limit_it_may_take_the_machine(valkey, tmp_path):
    found = await findings(tmp_path, valkey.url)
    assert found["server"].state is CheckState.OK
    assert found["tls"].detail == "not needed: it is on this machine"
    assert found["eviction"].state is CheckState.NOTE


async def test_full_and_keeping_everything(tmp_path):
    with running("--maxmemory", "50mb", "--maxmemory-policy", "noeviction") as server:
        found = await findings(tmp_path, server.url)
    assert found["eviction"].state is CheckState.BAD
    assert found["eviction"].fix == (
        f"redis-cli -u {server.url} CONFIG SET maxmemory-policy volatile-lru"
    )


async def test_as_it_should_be(tmp_path):
    with running("--maxmemory", "50mb", "--maxmemory-policy", "volatile-lru") as server:
        found = await findings(tmp_path, server.url)
    assert found["eviction"].state is CheckState.OK


async def test_the_fix_of_the_policy_works(valkey, tmp_path):
    """What is pasted has the effect it is pasted for."""
    from redis.asyncio import Redis

    async with Redis.from_url(valkey.url) as client:
        await client.execute_command(
            *"CONFIG SET maxmemory 1gb maxmemory-policy volatile-lru".split()
        )
    found = await findings(tmp_path, valkey.url)
    assert found["eviction"].state is CheckState.OK


class TestOutOfReach:
    async def test_nobody_there(self, tmp_path):
        url = f"redis://127.0.0.1:{free_port()}/0"
        found = await findings(tmp_path, url)
        assert list(found) == ["server"]
        assert found["server"].state is CheckState.BAD
        assert found["server"].fix == f"redis-cli -u {url} ping"

    async def test_no_password(self, tmp_path):
        with running(password="open sesame") as server:
            found = await findings(tmp_path, server.url)
        assert (found["server"].state, found["server"].fix) == (
            CheckState.BAD,
            "export REDIS_PASSWORD=…",
        )

    async def test_the_password_is_never_told(self, tmp_path):
        with running(password="open sesame") as server:
            found = await findings(tmp_path, server.url, REDIS_PASSWORD="wrong-and-secret")
        assert found["server"].state is CheckState.BAD
        assert "wrong-and-secret" not in found["server"].detail

    async def test_frozen(self, valkey):
        valkey.freeze()
        try:
            with pytest.raises(LlmctlError, match="cannot be used"):
                await redis_facts(redis_address(url=valkey.url), within_s=0.2)
        finally:
            valkey.thaw()


async def test_not_configured(tmp_path):
    (found,) = await redis_findings(load(flags={}, environ={"LLMCTL_HOME": str(tmp_path)}))
    assert (found.state, found.detail) == (
        CheckState.UNKNOWN,
        "not used: answers are kept in sqlite",
    )
