"""The life of the proxy: listen, announce, drain, end.

First SIGTERM or SIGINT: new requests are refused with 529, open streams get ``drain_s`` seconds,
then an SSE ``error`` event. Second signal: at once.
"""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable

from llmctl.config.schema import ServeConfig
from llmctl.core.errors import ConfigError
from llmctl.core.tasks import Tasks
from llmctl.protocol.errors import overloaded
from llmctl.proxy.app import App
from llmctl.proxy.pipeline import Pipeline
from llmctl.proxy.server import Front

log = logging.getLogger(__name__)

LAST_WORDS_S = 1.0
"""Time for error events to reach clients whose stream is ended."""


async def serve(
    app: App,
    config: ServeConfig,
    *,
    ready: Callable[[int], Awaitable[None]],
) -> None:
    """Serve until a signal comes; ``ready`` is told the port once connections are accepted.

    Raises ``ConfigError`` when the address cannot be bound.
    """
    pipeline = app.pipeline
    front = Front(app.handle, header_s=config.header_s)
    stop = Stop()
    server = await _bind(front, config.listen, config.port)
    try:
        await ready(server.sockets[0].getsockname()[1])
        await stop.asked.wait()
        app.draining = True
        log.warning("stopping: %d answers in progress", pipeline.running)
        await _drain(pipeline, stop, config.drain_s)
    finally:
        server.close()
        await pipeline.close(overloaded("llmctl is shutting down", retry_after_s=5))
        await front.stop(LAST_WORDS_S)


class Stop:
    """The two signals: ``asked`` to stop, then ``now``."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        if self.asked.is_set():
            self.now.set()
        self.asked.set()


async def _bind(front: Front, listen: str, port: int) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(front, listen, port, backlog=512)
    except OSError as failure:
        if isinstance(failure, PermissionError) or (port and port < 1024):
            reason, hint = "may not be bound", f"llmctl serve --port {port + 8000}"
        else:
            reason, hint = failure.strerror or str(failure), f"llmctl serve --port {port + 1}"
        raise ConfigError(f"cannot listen on {listen}:{port}: {reason}", hint=hint) from failure


async def _drain(pipeline: Pipeline, stop: Stop, drain_s: float) -> None:
    tasks = Tasks()
    idle = tasks.start(pipeline.idle(), name="drain")
    now = tasks.start(stop.now.wait(), name="second signal")
    await asyncio.wait({idle, now}, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    await tasks.close()
    if pipeline.running:
        log.warning("ending %d answers that are still in progress", pipeline.running)
