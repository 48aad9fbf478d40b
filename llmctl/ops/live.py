"""One look after the other at a running proxy, for a screen or a program that watches."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable

from llmctl.core.errors import BackendError
from llmctl.core.reports_live import GpuUse, LiveReport, ProxyState
from llmctl.ops.rent.world import Sleep
from llmctl.ops.running import RunningProxy

STATE = "/ui/state"


async def looks(
    proxy: RunningProxy,
    *,
    gpus: Callable[[], list[GpuUse]],
    every_s: float,
    sleep: Sleep = asyncio.sleep,
) -> AsyncGenerator[LiveReport, None]:
    """Yield what the proxy does, every ``every_s`` seconds, for ever.

    While none answers that is said instead; raises ``AuthError`` for a refused token.
    """
    while True:
        # httpx is synchronous here: one request at a time, and a thread that waits for it
        state, problem = await asyncio.to_thread(_ask, proxy)
        yield LiveReport(
            at=time.time() if state is None else state.at,
            url=proxy.url,
            proxy=state,
            problem=problem,
            gpus=gpus(),
        )
        await sleep(every_s)


def _ask(proxy: RunningProxy) -> tuple[ProxyState | None, str]:
    try:
        found: ProxyState = proxy.decode(proxy.get(STATE), STATE, ProxyState)
    except BackendError as failure:
        return None, failure.message
    return found, ""
