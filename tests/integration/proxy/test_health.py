"""``/health`` and what supervisors ask: alive, and ready for requests."""

import asyncio
import time

import pytest

from llmctl.core.clock import SystemClock
from llmctl.core.paths import find_paths
from llmctl.core.rental import Phase, ProviderName, UpSpec
from llmctl.proxy.health import PROBE_EVERY_S
from llmctl.state.store import RentalStore
from tests.emulators.ollama import Answer, Hold, OllamaEmulator
from tests.integration.eventually import eventually
from tests.integration.proxy.conftest import ask

NOWHERE = "ollama:http://127.0.0.1:9"


async def said(proxy, path, method="GET", **headers):
    async with proxy.session.request(method, proxy.url + path, headers=headers) as response:
        body = await response.read()
        return response.status, body and await response.json()


async def timed(proxy):
    """Return the parts that say how long they took; one that took half a second says nothing."""
    _, found = await proxy.get("/health")
    (backend,) = found["backends"]
    return [backend, found["cache"], found["ledger"]]


class TestReadiness:
    async def test_ready(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:
            assert await said(proxy, "/health/live") == (200, {"status": "live"})
            assert await said(proxy, "/health/ready") == (200, {"status": "ok"})

    async def test_alive_but_not_ready_without_an_engine(self, start):
        async with start(NOWHERE) as proxy:
            assert await said(proxy, "/health/live") == (200, {"status": "live"})
            assert await said(proxy, "/health/ready") == (503, {"status": "down"})

    async def test_ready_with_one_engine_of_two(self, start):
        async with OllamaEmulator() as emu, start(NOWHERE, f"ollama:{emu.url}") as proxy:
            assert await said(proxy, "/health/ready") == (200, {"status": "degraded"})

    async def test_while_it_drains_it_is_alive_and_not_ready(self, start):
        let_go = asyncio.Event()
        async with OllamaEmulator(Answer("Once", Hold(let_go), ".")) as emu:
            async with start(f"ollama:{emu.url}") as proxy:
                async with proxy.post(ask(stream=True)) as response:
                    await response.content.readany()
                    draining = asyncio.get_running_loop().create_task(proxy.app.drain())
                    await eventually(lambda: proxy.app.draining)
                    assert await said(proxy, "/health/ready") == (503, {"status": "draining"})
                    assert await said(proxy, "/health/live") == (200, {"status": "live"})
                    assert (await proxy.get("/health"))[1]["status"] == "draining"
                    let_go.set()
                    await response.read()
                await draining

    async def test_head_says_the_same(self, start):
        async with start(NOWHERE) as proxy:
            assert (await said(proxy, "/health/live", "HEAD"))[0] == 200
            assert (await said(proxy, "/health/ready", "HEAD"))[0] == 503

    async def test_strangers_get_one_word_and_nothing_else(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:
            assert (await said(proxy, "/health"))[0] == 401
            assert (await said(proxy, "/health/ready", "POST"))[0] == 401
            assert (await said(proxy, "/health/live", Origin="http://evil.example"))[0] == 403
            assert (await said(proxy, "/health/live", Host="evil.example"))[0] == 403


class TestTheDocument:
    async def test_what_was_there_is_there(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:
            status, found = await proxy.get("/health")
        assert status == 200
        assert {
            "status",
            "version",
            "uptime_s",
            "auth",
            "backends",
            "cache",
            "ledger",
        } <= found.keys()
        assert {"generations", "streams"} <= found.keys()
        (backend,) = found["backends"]
        assert {"name", "kind", "healthy", "detail", "models", "in_flight"} <= backend.keys()

    async def test_every_part_says_how_long_it_takes(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:
            found = await timed(proxy)
            async with asyncio.timeout(30):
                while any(part["latency_ms"] is None for part in found):
                    await asyncio.sleep(PROBE_EVERY_S)
                    found = await timed(proxy)
        assert (found[0]["version"], found[0]["loaded"]) == ("0.33.0", [])
        assert all(0 <= part["latency_ms"] < 5000 for part in found)

    async def test_what_is_loaded_and_where(self, start):
        async with OllamaEmulator(Answer("Hello")) as emu, start(f"ollama:{emu.url}") as proxy:
            await proxy.json(ask())
            await proxy.app.pipeline.pool.check()
            _, found = await proxy.get("/health")
        assert found["backends"][0]["loaded"] == [
            {"name": "qwen3-coder:30b", "context_tokens": 65536, "gpu_share": 1.0}
        ]

    async def test_asking_often_asks_the_stores_once(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:
            store, asked = proxy.app.pipeline.answers.store, []
            real = store.get

            async def counted(key):
                asked.append(key)
                return await real(key)

            store.get = counted
            began = time.monotonic()
            await asyncio.gather(*(proxy.get("/health") for _ in range(20)))
            seconds = time.monotonic() - began
        assert 1 <= len(asked) <= 1 + seconds / PROBE_EVERY_S

    async def test_a_store_that_hangs_does_not_keep_it_waiting(self, start):
        async with OllamaEmulator() as emu, start(f"ollama:{emu.url}") as proxy:

            async def never(_key):
                await asyncio.Event().wait()

            proxy.app.pipeline.answers.store.get = never
            async with asyncio.timeout(30):
                _, found = await proxy.get("/health")
            assert found["cache"]["latency_ms"] is None

    async def test_machines_on_record_are_told_without_asking_anybody(self, start, llmctl_home):
        import os

        paths = find_paths(os.environ)
        store = RentalStore(paths.rentals_file, clock=SystemClock())
        spec = UpSpec(name="main", providers=(ProviderName.VAST,))
        rental = store.begin(spec, ProviderName.VAST)
        store.advance(rental.uuid, Phase.READY, instance_id="7001", deadline=1_900_000_000.0)
        store.close()
        async with start(NOWHERE) as proxy:
            _, found = await proxy.get("/health")
        assert found["instances"] == [
            {
                "name": "main",
                "provider": "vast",
                "instance_id": "7001",
                "phase": "ready",
                "deadline": 1_900_000_000.0,
            }
        ]

    @pytest.mark.parametrize("damage", [b"no database at all, but long enough" * 100])
    async def test_a_record_that_cannot_be_read_is_left_out(self, start, llmctl_home, damage):
        import os

        path = find_paths(os.environ).rentals_file
        path.parent.mkdir(parents=True)
        path.write_bytes(damage)
        async with start(NOWHERE) as proxy:
            status, found = await proxy.get("/health")
        assert (status, found["instances"]) == (200, [])
