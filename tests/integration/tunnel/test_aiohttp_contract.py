"""What is used of aiohttp's inner parts: a release that changes them must fail here first."""

import inspect

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from llmctl.backend.base import Unreachable
from llmctl.backend.tunnelled import TunnelConnector
from llmctl.core.errors import SshError


class Dead:
    """A tunnel that cannot be used."""

    async def connect(self, factory):
        raise SshError("the tunnel to x is not up within 10 s: y")


class Local:
    """A tunnel that leads to a port of this machine, without SSH."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.opened = 0

    async def connect(self, factory):
        import asyncio

        self.opened += 1
        loop = asyncio.get_running_loop()
        return await loop.create_connection(factory, "127.0.0.1", self.port)


def test_connectors_still_override_this_method_alike() -> None:
    base = inspect.signature(aiohttp.BaseConnector._create_connection)
    ours = inspect.signature(TunnelConnector._create_connection)
    assert list(base.parameters) == list(ours.parameters) == ["self", "req", "traces", "timeout"]
    assert "self._create_connection(req, traces, timeout)" in inspect.getsource(
        aiohttp.BaseConnector.connect
    )


async def test_the_factory_makes_the_protocol_that_is_returned(engine) -> None:
    connector = TunnelConnector(Local(engine.port))
    assert isinstance(connector._factory(), ResponseHandler)
    await connector.close()


async def test_requests_go_through_and_connections_are_used_again(engine) -> None:
    tunnel = Local(engine.port)
    async with aiohttp.ClientSession(connector=TunnelConnector(tunnel)) as session:
        for _ in range(3):
            async with session.post("http://any.localhost:1/x", data=b"12345") as answer:
                assert await answer.json(content_type=None) == {"version": "0.0.0", "got": 5}
    assert tunnel.opened == 1


async def test_our_error_comes_out_as_it_went_in() -> None:
    async with aiohttp.ClientSession(connector=TunnelConnector(Dead())) as session:
        with pytest.raises(Unreachable, match="the tunnel to x is not up within 10 s") as caught:
            await session.get("http://any.localhost:1/x")
    assert caught.value.status == 529
    assert caught.value.retry_after_s
    assert not caught.value.retry_once
