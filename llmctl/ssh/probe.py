"""Whether something answers HTTP at the other end of a tunnel, asked as any request would be."""

import asyncio
from collections.abc import Awaitable, Callable

from llmctl.core.errors import SshError

ANSWER_S = 5.0
_REQUEST = b"GET /api/version HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"

Connect = Callable[
    [Callable[[], asyncio.StreamReaderProtocol]],
    Awaitable[tuple[asyncio.Transport, asyncio.StreamReaderProtocol]],
]


async def engine_trouble(connect: Connect, where: str) -> str:
    """Return what is wrong with the engine, or with the way to it; empty when it answers HTTP.

    Any answer will do: not every engine knows the path. ``where`` is for the sentence.
    """
    reader = asyncio.StreamReader()
    try:
        transport, _ = await connect(lambda: asyncio.StreamReaderProtocol(reader))
    except SshError as error:
        return error.message
    try:
        transport.write(_REQUEST)
        async with asyncio.timeout(ANSWER_S):
            line = await reader.readline()
    except TimeoutError:
        return f"nothing answers on {where} within {ANSWER_S:g} s"
    except (OSError, ValueError):
        return f"the connection to {where} broke"
    finally:
        transport.abort()
    return "" if line.startswith(b"HTTP/1.") else f"what answers on {where} is not HTTP"
