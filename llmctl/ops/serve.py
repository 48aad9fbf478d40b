"""The life of the proxy: listen, announce, drain, end.

First SIGTERM, SIGINT or closed terminal: new requests are refused with 529, open streams get
``drain_s`` seconds, then an SSE ``error`` event. Second SIGTERM or SIGINT: at once.
"""

import asyncio
import errno
import logging
import os
import signal
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from llmctl.config.schema import ServeConfig
from llmctl.core.errors import ConfigError
from llmctl.core.tasks import Tasks
from llmctl.protocol.errors import overloaded
from llmctl.proxy.app import App
from llmctl.proxy.server import Front, check_parser, connections_for, most_descriptors

log = logging.getLogger(__name__)

LAST_WORDS_S = 1.0
"""Time for error events to reach clients whose stream is ended."""


async def serve(
    app: App,
    config: ServeConfig,
    *,
    ready: Callable[[int], Coroutine[Any, Any, None]],
    names: Sequence[str] = (),
) -> None:
    """Serve until a signal comes; ``ready`` is told the port once connections are accepted.

    ``names`` are the instances behind it, for what is advised where it cannot listen.
    Raises ``ConfigError`` when the address cannot be bound, and for an aiohttp that is not safe.
    """
    pipeline = app.pipeline
    check_parser()
    room = connections_for(most_descriptors())
    front = Front(
        app.handle,
        header_s=config.header_s,
        max_connections=room,
        max_peer_connections=config.max_peer_connections,
    )
    stop = Stop()
    server = await _bind(front, config.listen, config.port, names)
    try:
        port = server.sockets[0].getsockname()[1]
        await _unless(stop.asked, ready(port))
        await stop.asked.wait()
        if pipeline.running:
            log.warning("stopping: %d answers in progress", pipeline.running)
        await _unless(stop.now, app.drain(), within_s=config.drain_s)
        if pipeline.running:
            log.warning("ending %d answers that are still in progress", pipeline.running)
    finally:
        server.close()
        await pipeline.close(overloaded("llmctl is shutting down", retry_after_s=5))
        await front.stop(LAST_WORDS_S)


class Stop:
    """The two signals: ``asked`` to stop, then ``now``.

    A closed terminal (SIGHUP) asks too, unless whoever started the process had it outlive its
    terminal: nohup ignores the signal.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.now = asyncio.Event()
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        for number in numbers:
            loop.add_signal_handler(number, self._signalled, number)

    def _signalled(self, number: signal.Signals) -> None:
        # of one closed terminal both the kernel and the shell tell
        if self.asked.is_set() and number is not signal.SIGHUP:
            self.now.set()
        self.asked.set()


async def _bind(front: Front, listen: str, port: int, names: Sequence[str]) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(front, listen, port, backlog=512)
    except OSError as failure:
        raise _refusal(failure, listen, port, names) from failure


def _refusal(failure: OSError, listen: str, port: int, names: Sequence[str] = ()) -> ConfigError:
    """Say why an address cannot be had, and which can."""
    number = failure.errno or 0
    # Names that are not known have numbers below zero and words of their own.
    reason = os.strerror(number).lower() if number > 0 else failure.strerror or str(failure)
    if number == errno.EADDRINUSE:
        change = f"--port {port + 1}"
    elif isinstance(failure, PermissionError):
        change = f"--port {8000 + port % 1024}"
    else:
        change = "--listen 127.0.0.1"
    hint = " ".join(["llmctl serve", *names, change])
    return ConfigError(f"cannot listen on {listen}:{port}: {reason}", hint=hint)


async def _unless(
    event: asyncio.Event, work: Coroutine[Any, Any, None], *, within_s: float | None = None
) -> None:
    """Await ``work``, which is given up when ``event`` comes or ``within_s`` seconds have gone."""
    tasks, limit = Tasks(), asyncio.timeout(within_s)
    try:
        async with limit:
            tasks.start(_cut(limit, event), name="signal")
            await work
    except TimeoutError:
        if not limit.expired():
            raise
    finally:
        await tasks.close()


async def _cut(limit: asyncio.Timeout, event: asyncio.Event) -> None:
    await event.wait()
    limit.reschedule(asyncio.get_running_loop().time())
