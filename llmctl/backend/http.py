"""One HTTP session to one engine: its address, its connections, and errors that name them."""

import asyncio
import io
import os
import socket
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import aiohttp

from llmctl import __version__
from llmctl.backend.base import Answer, Unreachable
from llmctl.backend.reading import Reading, read_whole
from llmctl.config.schema import TimeoutConfig
from llmctl.protocol.engine import EngineChunk
from llmctl.protocol.errors import ApiError, overloaded
from llmctl.protocol.lines import StreamDecoder

MAX_REPLY_BYTES = 8 * 1024 * 1024
IDLE_CONNECTION_S = 300.0
"""Kept open between two turns of a conversation: behind a tunnel a new one costs round trips."""
READ_BYTES = 32 * 1024
"""How much of an answer waits for us, doubled at most, before the engine is made to wait.

It is read at once and cut into chunks, many times its size: most of what a client costs that takes
nothing. With aiohttp's 256 kB that was 2.5 MB a stream, with this 0.6 (benchmarks/stalled.py); a
flood of tokens passes as fast.
"""
DOUBT_S = 1.0
"""For so long after a connection was lost none is used that was open before: a server that ends
its idle connections, or a link that lost them, hardly ends one."""
COPIED_BODY_BYTES = 1024 * 1024
"""Up to here a body is handed over whole; beyond it in pieces, between which others run."""
_KEEPALIVE = {"TCP_KEEPIDLE": 15, "TCP_KEEPALIVE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""Thirty seconds until a dead link is noticed, however long the answer on it may take.

``TCP_KEEPALIVE`` is what macOS calls ``TCP_KEEPIDLE``.
"""

T = TypeVar("T")


class Reply(NamedTuple):
    """A short answer, read whole."""

    status: int
    body: bytes


Connector = Callable[[], aiohttp.BaseConnector]


class EngineHttp:
    """The client side of one engine. Connections are made when needed, without a limit.

    ``connector`` brings connections to an engine on another machine's loopback, through a tunnel.
    """

    def __init__(
        self,
        address: str,
        timeouts: TimeoutConfig,
        *,
        api_key: str | None = None,
        connector: Connector | None = None,
    ) -> None:
        self.address = address
        self._timeouts = timeouts
        self._connector = connector or _direct_connector
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"llmctl/{__version__}",
        }
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        if connector is not None:
            self._headers["Host"] = "127.0.0.1"  # what it is called there; Ollama refuses others
        self._session: aiohttp.ClientSession | None = None
        self._spare: aiohttp.ClientSession | None = None
        """Keeps no connection, for a second try."""
        self._doubtful_until = 0.0

    async def get(self, path: str) -> Reply:
        """Ask for something the engine has at hand; raises ``ApiError`` when it does not answer."""
        return await self._ask("GET", path, None, max_bytes=MAX_REPLY_BYTES)

    async def post(
        self,
        path: str,
        body: bytes,
        *,
        max_bytes: int = MAX_REPLY_BYTES,
        within_s: float | None = None,
    ) -> Reply:
        """Send ``body`` for a short answer; ``within_s`` is the connect time-out if not given."""
        return await self._ask("POST", path, body, max_bytes=max_bytes, within_s=within_s)

    async def answer(
        self, path: str, body: bytes, decoder: StreamDecoder, *, reusable: bool = True
    ) -> Answer:
        """Send ``body`` and yield the decoded answer as it arrives.

        ``reusable`` is False for servers that close after a stream without saying so.
        """
        headers = None if reusable else {"Connection": "close"}
        reading, chunks = await self._begin(path, body, headers, decoder)
        del body  # not kept for as long as the answer lasts
        try:
            while chunks:
                yield chunks
                chunks = await reading.more()
        finally:
            reading.close()

    async def close(self) -> None:
        """Close all connections."""
        for session in (self._session, self._spare):
            if session is not None:
                await session.close()
        self._session = self._spare = None

    async def _begin(
        self, path: str, body: bytes, headers: dict[str, str] | None, decoder: StreamDecoder
    ) -> tuple[Reading, list[EngineChunk]]:
        first_token_s, idle_s = self._timeouts.first_token_s, self._timeouts.idle_s
        try:
            async with asyncio.timeout(first_token_s):
                response = await self._send("POST", path, body, headers)
                reading = Reading(response, decoder, address=self.address, idle_s=idle_s)
                return reading, await reading.first()
        except TimeoutError:
            raise overloaded(
                f"the engine at {self.address} gave no first token within {first_token_s:g} s"
            ) from None

    async def _ask(
        self,
        method: str,
        path: str,
        body: bytes | None,
        *,
        max_bytes: int,
        within_s: float | None = None,
    ) -> Reply:
        within_s = within_s or self._timeouts.connect_s
        try:
            async with asyncio.timeout(within_s):
                async with await self._send_again(method, path, body) as response:
                    return Reply(response.status, await read_whole(response, max_bytes=max_bytes))
        except TimeoutError:
            raise overloaded(
                f"the engine at {self.address} did not answer {path} within {within_s:g} s"
            ) from None
        except (aiohttp.ClientError, OSError) as failure:
            raise Unreachable(f"the engine at {self.address} broke off its answer") from failure

    async def _send_again(
        self, method: str, path: str, body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Send a request that changes nothing; a second time if the connection was just lost."""
        try:
            return await self._send(method, path, body)
        except Unreachable as error:
            if not error.retry_once:
                raise
        return await self._send(method, path, body)

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None
    ) -> aiohttp.ClientResponse:
        session = self._current_session()
        large = body is not None and len(body) > COPIED_BODY_BYTES
        try:
            return await session.request(
                method,
                self.address + path,
                data=io.BytesIO(body) if body is not None and large else body,
                headers=headers,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as failure:
            slow = isinstance(failure, aiohttp.ServerTimeoutError)
            if self._no_connection(failure) is None:
                self._doubtful_until = asyncio.get_running_loop().time() + DOUBT_S
            raise Unreachable(self._explain(failure), retry_once=not slow) from failure

    def _current_session(self) -> aiohttp.ClientSession:
        if asyncio.get_running_loop().time() < self._doubtful_until:
            if self._spare is None:
                self._spare = self._open_session({"Connection": "close"})
            return self._spare
        if self._session is None:
            self._session = self._open_session({})
        return self._session

    def _open_session(self, headers: dict[str, str]) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=self._connector(),
            headers=self._headers | headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
            trust_env=False,
            read_bufsize=READ_BYTES,
        )

    def _explain(self, failure: Exception) -> str:
        if isinstance(failure, aiohttp.ClientResponseError):
            first = failure.message.partition("\n")[0].rstrip(":")
            return f"what listens at {self.address} does not speak HTTP: {first}"
        if (reason := self._no_connection(failure)) is not None:
            return f"cannot reach the engine at {self.address}: {reason}"
        return f"the engine at {self.address} closed the connection before it answered"

    def _no_connection(self, failure: Exception) -> str | None:
        """Say why there is no connection; None where there was one."""
        match failure:
            case aiohttp.ServerTimeoutError():
                return f"no connection within {self._timeouts.connect_s:g} s"
            case aiohttp.ClientConnectorDNSError():
                return f"the name {failure.host} is not known"
            case aiohttp.ClientConnectorCertificateError():
                return f"its certificate was refused: {failure.certificate_error}"
            case aiohttp.ClientSSLError():
                return "TLS failed, is it http:// instead of https://?"
            case aiohttp.ClientConnectorError(os_error=error):
                return os.strerror(error.errno).lower() if error.errno else str(error)
        return None


def decoded(reply: Reply, decoder: Callable[[bytes], T], *, source: str) -> T:
    """Decode a 200; raises ``ApiError`` for anything else. ``source`` is the URL, for the error."""
    if reply.status != 200:
        shown = reply.body[:200].decode(errors="replace").strip() or "an empty body"
        message = f"{source} answered HTTP {reply.status}: {shown}"
        raise overloaded(message)
    try:
        return decoder(reply.body)
    except (ValueError, RecursionError) as error:
        message = f"{source} did not answer as expected ({error}); check the backend's address"
        raise ApiError(502, message, another_backend=True) from error


def _direct_connector() -> aiohttp.BaseConnector:
    return aiohttp.TCPConnector(
        limit=0, keepalive_timeout=IDLE_CONNECTION_S, socket_factory=watched_socket
    )


def watched_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket on which the kernel notices a peer that is gone without a word."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return made
