"""A proxy on a free port of this process, in front of an emulated engine."""

import asyncio
import io
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from llmctl.config.load import load
from llmctl.proxy.app import App
from llmctl.proxy.server import Front
from llmctl.proxy.silence import SILENCE, Silence
from llmctl.runtime import Runtime

PROMPT = {"model": "claude-sonnet-5", "max_tokens": 100}


def ask(text: str = "Say hello", **fields: Any) -> dict[str, Any]:
    """Return the body of a small request."""
    return PROMPT | {"messages": [{"role": "user", "content": text}]} | fields


@dataclass
class Proxy:
    """One running proxy and a client of it."""

    app: App
    port: int
    token: str
    session: aiohttp.ClientSession
    front: Front

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        return {"x-api-key": self.token}

    def post(self, body: Any, path: str = "/v1/messages", **headers: str) -> Any:
        """Return the request context of a POST; bytes go as they are."""
        data = io.BytesIO(body if isinstance(body, bytes) else msgspec.json.encode(body))
        fields = {"Content-Type": "application/json"} | self.headers
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        return self.session.post(self.url + path, data=data, headers=fields)

    async def json(self, body: Any, path: str = "/v1/messages", **headers: str) -> Any:
        """POST and return ``(status, answer headers, JSON)``."""
        async with self.post(body, path, **headers) as response:
            return response.status, response.headers, await response.json()

    async def events(self, body: Any, **headers: str) -> list[dict[str, Any]]:
        """POST with ``stream`` and return every event."""
        async with self.post(body | {"stream": True}, **headers) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            return parse(await response.read())

    async def get(self, path: str) -> Any:
        async with self.session.get(self.url + path, headers=self.headers) as response:
            return response.status, await response.json()


def parse(stream: bytes) -> list[dict[str, Any]]:
    """Split a whole event stream; every event must name its type twice, equally."""
    events = []
    for block in stream.decode().split("\n\n"):
        if block:
            name, data = block.split("\n")
            event = msgspec.json.decode(data.removeprefix("data: "))
            assert name == f"event: {event['type']}"
            events.append(event)
    return events


def text_of(events: list[dict[str, Any]]) -> str:
    """Return the text of all text deltas."""
    return "".join(
        event["delta"].get("text", "") for event in events if "index" in event and "delta" in event
    )


Start = Callable[..., Any]


@pytest.fixture
def start(llmctl_home: Path) -> Start:
    """Return ``start(engine_url, …, **settings)``, an async context manager that yields a ``Proxy``.

    Settings are named as in ``LLMCTL_…``: ``serve_header_s=1``.
    """

    @asynccontextmanager
    async def running(
        *engines: str, silence: Silence = SILENCE, **settings: Any
    ) -> AsyncIterator[Proxy]:
        variables = {f"LLMCTL_{name.upper()}": str(value) for name, value in settings.items()}
        environ = os.environ | variables
        loaded = load(flags={"backend": list(engines)}, environ=environ)
        runtime = Runtime(loaded, environ, silence=silence)
        async with AsyncExitStack() as stack:
            app = await runtime.open(stack, runtime.engines(print))
            serve = runtime.config.serve
            front = Front(
                app.handle,
                header_s=serve.header_s,
                stall_s=silence.stall_s,
                max_peer_connections=serve.max_peer_connections,
            )
            server = await asyncio.get_running_loop().create_server(front, "127.0.0.1", 0)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            token_file = llmctl_home / "data" / "token"
            token = token_file.read_text().strip() if token_file.exists() else ""
            try:
                yield Proxy(app, server.sockets[0].getsockname()[1], token, session, front)
            finally:
                server.close()
                await front.stop(1.0)

    return running
