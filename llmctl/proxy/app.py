"""The paths of the proxy and who may take them; everything else is a shaped 404."""

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from msgspec import Struct

from llmctl import __version__
from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.ledger import queries
from llmctl.ledger.writer import LedgerWriter
from llmctl.protocol import ids
from llmctl.protocol.errors import ApiError
from llmctl.proxy.auth import Authenticator
from llmctl.proxy.body import BodyLimits, read_body
from llmctl.proxy.guard import Guard
from llmctl.proxy.messages import MessagesEndpoint
from llmctl.proxy.metrics import Metrics, exposition
from llmctl.proxy.models import model_page, one_model
from llmctl.proxy.pipeline import Pipeline
from llmctl.proxy.responses import body_response, error_response, json_response

log = logging.getLogger(__name__)

Endpoint = Callable[[web.BaseRequest, str, str], Awaitable[web.StreamResponse]]


class Parts(Struct, frozen=True, kw_only=True):
    """What the app is made of."""

    pipeline: Pipeline
    guard: Guard
    auth: Authenticator
    metrics: Metrics
    ledger: LedgerWriter | None
    ledger_path: Path
    clock: Clock
    limits: BodyLimits


class App:
    """Dispatches requests; ``handle`` is the handler of the HTTP front."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.pipeline = parts.pipeline
        self._started = parts.clock.monotonic()
        self.draining = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._messages = MessagesEndpoint(
            parts.pipeline,
            ledger=parts.ledger,
            metrics=parts.metrics,
            clock=parts.clock,
            limits=parts.limits,
        )
        self._routes: dict[str, dict[str, Endpoint]] = {
            "/v1/messages": {"POST": self._post_messages},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
            "/v1/models": {"GET": self._list_models, "HEAD": self._list_models},
            "/health": {"GET": self._health, "HEAD": self._health},
            "/metrics": {"GET": self._metrics, "HEAD": self._metrics},
            "/stats": {"GET": self._stats, "HEAD": self._stats},
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, in Anthropic's shape."""
        request_id = ids.request_id()
        self._open += 1
        try:
            return await self._dispatch(request, request_id)
        except ApiError as error:
            return error_response(error, request_id=request_id, close=error.status in _CLOSING)
        except ConnectionError:
            raise
        except Exception:
            log.exception("unexpected failure while answering %r", request.path)
            failure = ApiError(500, "internal error in llmctl, see its log")
            return error_response(failure, request_id=request_id, close=True)
        finally:
            self._open -= 1
            if not self._open and self.draining:
                self._idle.set()

    async def drain(self) -> None:
        """Refuse new messages from now on and wait until no request is being answered."""
        self.draining = self._messages.draining = True
        if self._open:
            self._idle.clear()
        await self._idle.wait()

    async def _dispatch(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        parts = self._parts
        parts.guard.check(request)
        path = request.path
        if path == "/" and request.method == "HEAD":
            return body_response(b"", content_type="text/plain", request_id=request_id)
        tenant = await parts.auth.tenant(request)
        methods = self._routes.get(path)
        if methods is None and path.startswith("/v1/models/"):
            methods = {"GET": self._one_model, "HEAD": self._one_model}
        if methods is None:
            raise ApiError(404, f"there is no {path[:200]!r} here")
        endpoint = methods.get(request.method)
        if endpoint is None:
            raise ApiError(405, f"{path} takes {', '.join(methods)}, not {request.method[:20]}")
        return await endpoint(request, tenant, request_id)

    async def _post_messages(
        self, request: web.BaseRequest, tenant: str, request_id: str
    ) -> web.StreamResponse:
        return await self._messages.answer(request, tenant, request_id)

    async def _count_tokens(
        self, request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        body = await read_body(request, self._parts.limits)
        tokens = await self.pipeline.count_tokens(body)
        return json_response({"input_tokens": tokens}, request_id=request_id)

    async def _list_models(
        self, request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        return json_response(model_page(self.pipeline, request.query), request_id=request_id)

    async def _one_model(
        self, request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        name = request.path.removeprefix("/v1/models/")
        return json_response(one_model(self.pipeline, name), request_id=request_id)

    async def _health(
        self, _request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        return json_response(self.health(), request_id=request_id)

    def health(self) -> dict[str, Any]:
        """Describe every part; ``status`` is ``ok``, ``degraded``, ``down`` or ``draining``."""
        parts = self._parts
        backends = self.pipeline.pool.status()
        store = self.pipeline.answers.store.status()
        ledger = None if parts.ledger is None else parts.ledger.status()
        healthy = [backend.healthy for backend in backends]
        status = "ok" if all(healthy) else "degraded"
        if not store.healthy or (ledger is not None and not ledger.healthy):
            status = "degraded"
        if not any(healthy):
            status = "down"
        return {
            "status": "draining" if self.draining else status,
            "version": __version__,
            "uptime_s": round(parts.clock.monotonic() - self._started, 3),
            "auth": parts.auth.required,
            "backends": backends,
            "cache": store,
            "ledger": ledger,
            "generations": self.pipeline.running,
            "streams": parts.metrics.streams,
        }

    async def _metrics(
        self, _request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        metrics = self._parts.metrics
        metrics.generations = self.pipeline.running
        return body_response(
            exposition(metrics),
            content_type="text/plain; version=0.0.4; charset=utf-8",
            request_id=request_id,
        )

    async def _stats(
        self, request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        if self._parts.ledger is None:
            raise ApiError(404, "the ledger is switched off ([ledger] enabled = false)")
        since = _seconds(request.query.get("since"))
        try:
            summary = await asyncio.to_thread(self._summary, since)
        except LlmctlError as failure:
            raise ApiError(503, failure.message) from failure
        return json_response(summary, request_id=request_id)

    def _summary(self, since: float | None) -> queries.LedgerSummary:
        with queries.open_read_only(self._parts.ledger_path) as connection:
            return queries.summary(connection, since)


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(seconds := float(text)):
            return seconds
    raise ApiError(400, f"since={text[:40]!r} is not a number of epoch seconds")


_CLOSING = frozenset({403, 408, 413, 426})
"""Statuses after which the rest of the connection is not worth reading."""
