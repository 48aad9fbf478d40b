"""Connections through a tunnel as pairs of asyncio streams."""

import asyncio

from llmctl.ssh.supervisor import Tunnel


async def streams(
    tunnel: Tunnel, *, limit: int = 2**16
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a channel of a tunnel."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=limit)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await tunnel.connect(lambda: protocol)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
