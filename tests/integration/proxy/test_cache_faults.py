"""The cache broken in every way, behind the proxy: each request is answered, and it is said once.

Answers are not kept in memory here (``cache_memory_bytes=0``), so that every hit is the store's.
"""

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulators.ollama import Answer, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask
from tests.integration.valkey import PATIENT_S, Valkey, running, valkey

__all__ = ["valkey"]

ROUNDS = 20


@pytest.fixture
async def engine():
    async with OllamaEmulator(Answer("Hello")) as emulator:
        yield emulator


async def outcomes(proxy, *, rounds: int = ROUNDS, text: str = "Say hello") -> set[str]:
    """Ask the same one by one and many at once; every answer must be whole."""
    found = set()
    for _ in range(rounds):
        found.add(await outcome(proxy, text))
    together = [outcome(proxy, f"{text} {number % 5}") for number in range(rounds)]
    return found | set(await asyncio.gather(*together))


async def outcome(proxy, text: str = "Say hello") -> str:
    status, headers, message = await proxy.json(ask(text))
    assert status == 200, message
    assert message["content"] == [{"type": "text", "text": "Hello"}]
    return headers["x-llmctl-cache"]


async def health(proxy) -> dict:
    _, body = await proxy.get("/health")
    return body


async def trouble(proxy, words: str) -> None:
    """Wait until ``/health`` says what is wrong with the cache."""
    await eventually(lambda: words in proxy.app.health()["cache"].detail)
    told = await health(proxy)
    assert told["status"] == "degraded"
    assert not told["cache"]["healthy"]


async def recovered(proxy) -> None:
    """Wait until the cache is well, and see that it is used."""
    await eventually(lambda: proxy.app.health()["cache"].healthy)
    await found_again(proxy, "after the fault")
    assert (await health(proxy))["status"] == "ok"


async def found_again(proxy, text: str) -> None:
    assert await outcome(proxy, text) == "miss"
    async with asyncio.timeout(20):  # writes are queued
        while await outcome(proxy, text) != "hit":
            await asyncio.sleep(0.01)


def said(caplog) -> list[str]:
    """What was logged about the cache from warnings on."""
    return [record.getMessage() for record in caplog.records if record.levelno >= 30]


# -- Redis


@pytest.fixture
def on_redis(engine, start):
    def started(url: str, **settings):
        settings |= {"redis_url": url, "redis_budget_s": PATIENT_S, "cache_memory_bytes": 0}
        return start(f"ollama:{engine.url}", **settings)

    return started


async def test_a_healthy_one_is_used(engine, valkey: Valkey, on_redis, caplog):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        assert valkey.calls("set") >= 1
    assert said(caplog) == []


async def test_dead_at_the_start(valkey: Valkey, on_redis, caplog):
    valkey.kill()
    async with on_redis(valkey.url) as proxy:
        assert "hit" not in await outcomes(proxy)
        await trouble(proxy, str(valkey.port))
        assert len(said(caplog)) == 1
        valkey.start(keep_port=True)
        await recovered(proxy)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_gone_and_back_again(valkey: Valkey, on_redis, caplog, fault):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        getattr(valkey, fault)()
        assert "hit" not in await outcomes(proxy)
        await trouble(proxy, str(valkey.port) if fault == "kill" else "within")
        assert 1 <= len(said(caplog)) <= 2  # of reads, of writes
        valkey.start(keep_port=True) if fault == "kill" else valkey.thaw()
        await eventually(lambda: proxy.app.health()["cache"].healthy)
        await found_again(proxy, "later")


async def test_restarted_between_two_requests(valkey: Valkey, on_redis):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        valkey.restart()
        assert await outcome(proxy, "after the fault") == "miss"
        assert "miss" in await outcomes(proxy)
        await eventually(lambda: proxy.app.health()["cache"].healthy)
        await found_again(proxy, "later")
        assert valkey.calls("set") >= 1


async def test_killed_while_a_hundred_ask(valkey: Valkey, on_redis):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        asking = [asyncio.create_task(outcome(proxy, f"number {n % 30}")) for n in range(100)]
        await asyncio.sleep(0)
        valkey.kill()
        assert set(await asyncio.gather(*asking)) <= {"hit", "miss", "shared"}


@pytest.mark.parametrize("ours", [None, "wrong"])
async def test_the_wrong_password(on_redis, monkeypatch, caplog, ours):
    if ours is not None:
        monkeypatch.setenv("REDIS_PASSWORD", ours)
    with running(password="sesame") as server:
        async with on_redis(server.url) as proxy:
            assert "hit" not in await outcomes(proxy)
            await trouble(proxy, "password")
            assert len(said(caplog)) == 1
            assert "sesame" not in str(await health(proxy))


async def test_full(valkey: Valkey, on_redis, caplog):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        valkey.command("CONFIG", "SET", "maxmemory", "1")
        assert await outcome(proxy, "after the fault") == "hit"
        await outcomes(proxy)
        await trouble(proxy, "maxmemory")
        assert await outcome(proxy, "after the fault") == "hit"
        assert len(said(caplog)) == 1
        valkey.command("CONFIG", "SET", "maxmemory", "0")
        async with asyncio.timeout(20):
            while await outcome(proxy, "again") != "hit":
                await asyncio.sleep(0.01)
        assert proxy.app.health()["cache"].healthy


async def test_values_that_somebody_has_changed(valkey: Valkey, on_redis):
    async with on_redis(valkey.url) as proxy:
        await recovered(proxy)
        # the raw reply to KEYS is an array; SCAN over a script is the shortest way to all values
        junk = "for _, k in ipairs(redis.call('keys', '*')) do redis.call('set', k, ARGV[1]) end"
        for value in ("", "junk", "\x01junkjunkjunkjunk", "[]"):
            valkey.command("EVAL", junk, "0", value)
            assert await outcome(proxy, "after the fault") == "miss"


# -- SQLite


@pytest.fixture
def on_sqlite(engine, start):
    return lambda **settings: start(f"ollama:{engine.url}", cache_memory_bytes=0, **settings)


async def test_a_place_that_cannot_be_made(llmctl_home: Path, on_sqlite, caplog):
    llmctl_home.mkdir()
    (llmctl_home / "cache").touch()
    async with on_sqlite() as proxy:
        assert "hit" not in await outcomes(proxy)
        await trouble(proxy, str(llmctl_home / "cache"))
        assert len(said(caplog)) == 1


async def test_a_corrupt_file(llmctl_home: Path, on_sqlite, caplog):
    (llmctl_home / "cache").mkdir(parents=True)
    (llmctl_home / "cache" / "answers.db").write_bytes(b"this is no database " * 500)
    async with on_sqlite() as proxy:
        await found_again(proxy, "anything")
        assert len(said(caplog)) == 1


async def test_a_file_that_breaks_while_it_is_used(llmctl_home: Path, on_sqlite):
    path = llmctl_home / "cache" / "answers.db"
    async with on_sqlite() as proxy:
        await recovered(proxy)
        with path.open("r+b") as file:
            file.write(b"\xff" * path.stat().st_size)
        await outcomes(proxy)
        async with asyncio.timeout(20):
            while await outcome(proxy, "later") != "hit":
                await asyncio.sleep(0.01)
        assert (await health(proxy))["cache"]["healthy"]


# -- disks


@contextlib.contextmanager
def small_disk(place: Path, size: str = "1m") -> Iterator[Path]:
    """Mount a disk that is soon full; skips where that is not allowed."""
    place.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a full disk needs the right to mount one")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", 0) as stream, contextlib.suppress(OSError):
        while stream.write(b"x" * 4096):
            pass
    return filler


async def test_a_full_disk_for_the_cache(llmctl_home: Path, on_sqlite, engine, caplog):
    with small_disk(llmctl_home / "cache") as place:
        async with on_sqlite() as proxy:
            await recovered(proxy)
            filler = fill(place)
            await outcomes(proxy)
            await trouble(proxy, "space")
            assert len(said(caplog)) == 1
            assert await outcome(proxy, "after the fault") == "hit"
            filler.unlink()
            async with asyncio.timeout(20):
                while await outcome(proxy, "again") != "hit":
                    await asyncio.sleep(0.01)


async def test_a_disk_that_becomes_read_only(llmctl_home: Path, on_sqlite, caplog):
    with small_disk(llmctl_home / "cache", "4m") as place:
        async with on_sqlite() as proxy:
            await recovered(proxy)
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        async with on_sqlite() as proxy:
            await outcomes(proxy)
            await eventually(lambda: not proxy.app.health()["cache"].healthy)
            assert (await health(proxy))["status"] == "degraded"
            assert len(said(caplog)) == 1


@pytest.mark.parametrize("fault", ["full", "read-only"])
async def test_a_disk_without_room_for_the_ledger(llmctl_home: Path, engine, start, caplog, fault):
    with small_disk(llmctl_home / "state") as place:
        fill(place) if fault == "full" else subprocess.run(
            ["mount", "-o", "remount,ro", str(place)], check=True
        )
        async with start(f"ollama:{engine.url}") as proxy:
            assert await outcomes(proxy) <= {"hit", "miss", "shared"}
            await eventually(lambda: not proxy.app.health()["ledger"].healthy)
            told = await health(proxy)
            assert told["status"] == "degraded"
            assert str(place) in told["ledger"]["detail"]
            assert len(said(caplog)) == 1
            status, body = await proxy.get("/stats")
            assert (status, body["type"]) == (503, "error")
            assert "Traceback" not in caplog.text


async def test_a_ledger_that_fills_up_later(llmctl_home: Path, engine, start, caplog):
    with small_disk(llmctl_home / "state") as place:
        async with start(f"ollama:{engine.url}") as proxy:
            await outcome(proxy)
            await proxy.app._parts.ledger.flush()
            filler = fill(place)
            for _ in range(10):
                await outcomes(proxy)
            await proxy.app._parts.ledger.flush()
            filler.unlink()
            await eventually(lambda: proxy.app.health()["ledger"].healthy)
            await proxy.app._parts.ledger.flush()
            _, stats = await proxy.get("/stats")
            assert stats["total"]["requests"] == 1 + 10 * 2 * ROUNDS
