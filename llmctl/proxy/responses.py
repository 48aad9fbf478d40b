"""Answers of the proxy as aiohttp responses; every error in Anthropic's shape."""

from typing import Any

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from llmctl.protocol import errors, ids
from llmctl.protocol.errors import ApiError

JSON = "application/json"
EVENT_STREAM = "text/event-stream; charset=utf-8"

_encode = msgspec.json.Encoder().encode


def json_response(value: Any, *, request_id: str, status: int = 200) -> web.Response:
    """Return ``value`` (struct, dict or list) as JSON."""
    return body_response(_encode(value), content_type=JSON, request_id=request_id, status=status)


def body_response(
    body: bytes,
    *,
    content_type: str,
    request_id: str,
    status: int = 200,
    headers: dict[str, str] | None = None,
) -> web.Response:
    """Return finished bytes; ``Cache-Control: no-cache`` keeps middle boxes out."""
    fields = CIMultiDict(
        {"Content-Type": content_type, "request-id": request_id, "Cache-Control": "no-cache"}
    )
    if headers:
        fields.update(headers)
    return web.Response(body=body, status=status, headers=fields)


def error_response(
    error: ApiError, *, request_id: str | None = None, close: bool = False
) -> web.Response:
    """Return ``error`` as Anthropic shapes it; ``close`` ends the connection after it."""
    request_id = request_id or ids.request_id()
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    response = body_response(
        errors.body(error, request_id),
        content_type=JSON,
        request_id=request_id,
        status=error.status,
        headers=headers,
    )
    if close:
        response.force_close()
    return response


def raw_response(error: ApiError) -> bytes:
    """Return ``error`` as a whole HTTP answer, for a connection on which nothing may be asked."""
    request_id = ids.request_id()
    body = errors.body(error, request_id)
    head = [
        f"HTTP/1.1 {error.status} {error.type}",
        f"Content-Type: {JSON}",
        f"request-id: {request_id}",
        f"retry-after: {error.retry_after_s or 1}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
