"""HTTP to an engine inside an SSH tunnel: connections are channels, no local port is opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.client_proto import ResponseHandler

from llmctl.backend.base import Unreachable
from llmctl.core.errors import SshError
from llmctl.core.tunnel import engine_host
from llmctl.ssh.supervisor import Tunnel

if TYPE_CHECKING:
    from aiohttp.client_reqrep import ClientRequest
    from aiohttp.tracing import Trace

IDLE_CONNECTION_S = 300.0
"""As for engines without a tunnel; here a new connection costs a round trip, or the spare."""


class TunnelConnector(aiohttp.BaseConnector):
    """Connects every request to the tunnel's port, whatever its URL says.

    aiohttp has no public way to bring connections of one's own: this overrides what its connectors
    override, and tests/integration/tunnel/test_aiohttp_contract.py watches it. Does not own the
    tunnel.
    """

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(limit=0, keepalive_timeout=IDLE_CONNECTION_S)
        self._tunnel = tunnel

    async def _create_connection(
        self,
        req: "ClientRequest",  # noqa: ARG002  there is one place to connect to
        traces: list["Trace"],  # noqa: ARG002
        timeout: aiohttp.ClientTimeout,  # noqa: ARG002, ASYNC109  the tunnel has its own
    ) -> ResponseHandler:
        """Return a protocol on a new channel.

        Raises ``Unreachable``, a 529: after the time a request may wait for the tunnel, or at once
        where waiting is pointless. It passes through aiohttp unchanged.
        """
        try:
            _, protocol = await self._tunnel.connect(self._factory)
        except SshError as error:
            raise Unreachable(f"cannot reach the engine: {error.message}") from error
        return protocol


def through(tunnel: Tunnel) -> Callable[[], aiohttp.BaseConnector]:
    """Return the connector factory that ``EngineHttp`` takes."""
    return lambda: TunnelConnector(tunnel)


def tunnel_url(tunnel: Tunnel) -> str:
    """Return the engine's URL, for messages: its name is not an address that could be opened here.

    ``EngineHttp`` sends 127.0.0.1 as ``Host``, which every Ollama on loopback answers to.
    """
    return f"http://{engine_host(tunnel.name)}.localhost:{tunnel.port}"
