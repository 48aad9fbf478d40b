"""Reading a request body: bounded in size and in silence."""

import asyncio

from aiohttp import HttpVersion11, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Struct

from llmctl.protocol.errors import ApiError
from llmctl.proxy.responses import JSON

SLOWEST_BYTES_S = 256
"""A body that comes more slowly than this, all in all, is not waited for."""
_ENCODINGS = frozenset({"identity", "gzip", "deflate", "br", "zstd"})


class BodyLimits(Struct, frozen=True, kw_only=True):
    """What a client may send."""

    max_bytes: int
    """After decompression."""
    pause_s: float
    """Longest silence between two pieces, and what a body has on top of ``SLOWEST_BYTES_S``."""


async def read_body(request: web.BaseRequest, limits: BodyLimits) -> bytes:
    """Return the decompressed body.

    Raises ``ApiError`` 413 for one too large, 408 when the client falls silent or sends in drops,
    415 for what is not JSON or compressed in an unknown way, 417 for an ``Expect`` that is not
    understood, and 400 for a body that breaks off or cannot be decompressed.
    """
    _check_type(request)
    _check_encoding(request)
    if (request.content_length or 0) > limits.max_bytes:
        raise _too_large(limits.max_bytes)
    await _invite(request)
    chunks: list[bytes] = []
    size = 0
    try:
        latest = asyncio.get_running_loop().time() + limits.pause_s
        async with asyncio.timeout_at(latest) as deadline:
            while chunk := await request.content.readany():
                size += len(chunk)
                if size > limits.max_bytes:
                    raise _too_large(limits.max_bytes)
                chunks.append(chunk)
                patient = asyncio.get_running_loop().time() + limits.pause_s
                deadline.reschedule(min(patient, latest + size / SLOWEST_BYTES_S))
    except TimeoutError:
        words = f"the body stopped coming or came too slowly ({size:,} bytes so far)"
        raise ApiError(408, words) from None
    except (HttpProcessingError, web.RequestPayloadError) as broken:
        # the last line says what; aiohttp puts a status before it
        reason = str(broken).splitlines()[-1].strip()
        raise ApiError(400, f"the body could not be read: {reason}") from broken
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _check_type(request: web.BaseRequest) -> None:
    declared = request.headers.get("Content-Type")
    if declared is None or declared == JSON:
        return
    if declared.partition(";")[0].strip().lower() != JSON:
        raise ApiError(415, f"content-type {declared[:100]!r} is not application/json")


def _check_encoding(request: web.BaseRequest) -> None:
    """Refuse what aiohttp would hand on as it is."""
    encoding = request.headers.get("Content-Encoding")
    if not encoding or encoding.strip().lower() in _ENCODINGS:
        return
    known = ", ".join(sorted(_ENCODINGS))
    raise ApiError(415, f"content-encoding {encoding[:100]!r} is none of {known}")


async def _invite(request: web.BaseRequest) -> None:
    """Ask for a body whose client waits to be asked: curl does, for bodies of more than 1 MB."""
    expected = request.headers.get("Expect")
    if expected is None or request.version < HttpVersion11:
        return
    if expected.lower() != "100-continue":
        raise ApiError(417, f"expect {expected[:100]!r} is not understood, only 100-continue is")
    writer = request.writer
    await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.output_size = 0  # the answer itself has not begun


def _too_large(max_bytes: int) -> ApiError:
    return ApiError(413, f"request body exceeds {max_bytes // (1024 * 1024)} MB")
