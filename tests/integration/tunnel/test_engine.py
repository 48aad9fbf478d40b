"""An Ollama engine behind a tunnel, as ``serve`` uses it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import aiohttp.web
import pytest

from llmctl.backend.base import Unreachable
from llmctl.backend.http import EngineHttp
from llmctl.backend.ollama import OllamaEngine
from llmctl.backend.tunnelled import through, tunnel_url
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.errors import ApiError
from llmctl.protocol.ollama_stream import OllamaDecoder
from llmctl.ssh.supervisor import Pace, Tunnel
from tests.integration.eventually import eventually
from tests.integration.tunnel.engine import Engine
from tests.integration.tunnel.machine import Machine

TIMEOUTS = TimeoutConfig()


@contextlib.asynccontextmanager
async def up(tunnel: Tunnel) -> AsyncIterator[Tunnel]:
    await tunnel.start()
    try:
        await tunnel.until_up()
        yield tunnel
    finally:
        await tunnel.stop()


async def test_it_is_asked_by_the_name_it_has_there(machine: Machine) -> None:
    hosts: list[str] = []

    async def tags(request: aiohttp.web.Request) -> aiohttp.web.Response:
        hosts.append(request.headers["Host"])
        return aiohttp.web.json_response({"models": [{"name": "m:latest", "digest": "d"}]})

    app = aiohttp.web.Application()
    app.router.add_get("/api/tags", tags)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    async with up(machine.tunnel(port)) as tunnel:
        engine = OllamaEngine(tunnel_url(tunnel), timeouts=TIMEOUTS, connector=through(tunnel))
        assert [model.name for model in await engine.discover()] == ["m:latest"]
        assert engine.name == f"ollama:http://machine.localhost:{port}"
        assert hosts == ["127.0.0.1"]
        await engine.close()
    await runner.cleanup()


async def test_an_answer_that_is_cut_ends_with_an_error(machine: Machine, engine: Engine) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        http = EngineHttp(tunnel_url(tunnel), TIMEOUTS, connector=through(tunnel))
        answer = http.answer("/api/chat", b"{}", OllamaDecoder(model="m", num_ctx=1000))
        assert await anext(answer)
        machine.kill_sessions()
        with pytest.raises(ApiError, match="broke mid-answer") as caught:
            async for _ in answer:
                pass
        assert caught.value.status == 502
        await http.close()


async def test_requests_wait_for_the_tunnel_or_end_with_a_529(
    machine: Machine, engine: Engine
) -> None:
    async with up(machine.tunnel(engine.port)) as tunnel:
        http = EngineHttp(tunnel_url(tunnel), TIMEOUTS, connector=through(tunnel))
        machine.stop()
        await eventually(lambda: tunnel.status().detail)
        waiting = asyncio.gather(*(http.get("/api/version") for _ in range(20)))
        await asyncio.sleep(0)
        machine.start()
        assert {reply.status for reply in await waiting} == {200}
        await http.close()
    impatient = Pace(first_s=0.05, longest_s=0.2, wait_s=0.5)
    machine.stop()
    tunnel = machine.tunnel(engine.port, pace=impatient)
    await tunnel.start()
    http = EngineHttp(tunnel_url(tunnel), TIMEOUTS, connector=through(tunnel))
    with pytest.raises(Unreachable, match="not up within 0.5 s") as caught:
        await http.get("/api/version")
    assert caught.value.retry_after_s == 2
    await http.close()
    await tunnel.stop()
