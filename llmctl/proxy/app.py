"""The paths of the proxy and who may take them; everything else is a shaped 404."""

import asyncio
import contextlib
import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from msgspec import Struct

from llmctl.core.clock import Clock
from llmctl.core.errors import LlmctlError
from llmctl.ledger import queries
from llmctl.ledger.periods import PERIODS, By
from llmctl.ledger.reading import open_read_only
from llmctl.ledger.writer import LedgerWriter
from llmctl.protocol import ids
from llmctl.protocol.errors import ApiError
from llmctl.proxy import openapi
from llmctl.proxy.auth import Authenticator
from llmctl.proxy.body import BodyLimits, read_body
from llmctl.proxy.exposition import exposition
from llmctl.proxy.guard import Guard
from llmctl.proxy.health import ALONE, HealthDocument, Surroundings
from llmctl.proxy.messages import MessagesEndpoint
from llmctl.proxy.metrics import Metrics
from llmctl.proxy.models import model_page, one_model
from llmctl.proxy.pipeline import Pipeline
from llmctl.proxy.responses import JSON, body_response, error_response, json_response
from llmctl.proxy.server import Connection
from llmctl.proxy.ui.login import Codes, Sessions
from llmctl.proxy.ui.page import Page
from llmctl.proxy.ui.state import Observer, Purse, ReadSpend

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
    around: Surroundings = ALONE
    session_key: bytes = msgspec.field(default_factory=lambda: secrets.token_bytes(32))
    """Seals the cookies of ``/ui``; where it is kept, a restart does not end what it sealed."""
    spend: ReadSpend | None = None
    """What renting costs, where there may be a record of it."""


class App:
    """Dispatches requests; ``handle`` is the handler of the HTTP front."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.pipeline = parts.pipeline
        self._document = HealthDocument(
            parts.pipeline,
            ledger=parts.ledger,
            metrics=parts.metrics,
            auth=parts.auth.required,
            clock=parts.clock,
            around=parts.around,
        )
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
        self._purse = Purse(parts.spend, parts.clock)
        self._page = Page(
            Observer(
                parts.pipeline,
                parts.metrics,
                health=self.health,
                purse=self._purse,
                clock=parts.clock,
            ),
            parts.auth,
            codes=Codes(parts.clock),
            sessions=Sessions(parts.session_key, parts.clock),
        )
        self._routes: dict[str, dict[str, Endpoint]] = {
            "/v1/messages": {"POST": self._post_messages},
            "/v1/messages/count_tokens": {"POST": self._count_tokens},
            "/v1/models": {"GET": self._list_models, "HEAD": self._list_models},
            "/health": {"GET": self._health, "HEAD": self._health},
            "/metrics": {"GET": self._metrics, "HEAD": self._metrics},
            "/stats": {"GET": self._stats, "HEAD": self._stats},
            "/openapi.json": {"GET": self._openapi, "HEAD": self._openapi},
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, whatever happens, in Anthropic's shape."""
        request_id = ids.request_id()
        self._open += 1
        try:
            try:
                tenant = await self._admit(request)
            except ApiError as refusal:
                # no connection is kept for who has shown no token
                return error_response(refusal, request_id=request_id, close=True)
            return await self._dispatch(request, tenant, request_id)
        except ApiError as error:
            # a body that broke off or cannot be decoded is the end of its connection
            close = error.status in _CLOSING or request.content.exception() is not None
            return error_response(error, request_id=request_id, close=close)
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

    async def _admit(self, request: web.BaseRequest) -> str | None:
        """Return the tenant, None for a knock at the door; raises ``ApiError`` for strangers."""
        self._parts.guard.check(request)
        if request.method in _OPEN.get(request.path, ()):
            return None
        ask = self._page.admit if self._page.owns(request.path) else self._parts.auth.tenant
        tenant = await ask(request)
        if tenant is not None and isinstance(request.protocol, Connection):
            request.protocol.admitted()
        return tenant

    async def _dispatch(
        self, request: web.BaseRequest, tenant: str | None, request_id: str
    ) -> web.StreamResponse:
        if self._page.owns(request.path):
            return await self._page.answer(request, tenant, request_id)
        if tenant is None:
            heard = self._said_to_anybody(request.path)
            heard.force_close()
            return heard
        path = request.path
        methods = self._routes.get(path)
        if methods is None and path.startswith("/v1/models/"):
            methods = {"GET": self._one_model, "HEAD": self._one_model}
        if methods is None:
            raise ApiError(404, f"there is no {path[:200]!r} here")
        endpoint = methods.get(request.method)
        if endpoint is None:
            taken = ", ".join(methods)
            refusal = ApiError(405, f"{path} takes {taken}, not {request.method[:20]}")
            refused = error_response(refusal, request_id=request_id)
            refused.headers["Allow"] = taken
            return refused
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
        await self._document.probe()
        return json_response(self.health(), request_id=request_id)

    def health(self) -> dict[str, Any]:
        """Describe every part; ``status`` is ``ok``, ``degraded``, ``down`` or ``draining``."""
        return self._document.document(draining=self.draining)

    def _said_to_anybody(self, path: str) -> web.Response:
        """Answer those who only want to know whether the process is there, or takes requests.

        Supervisors and load balancers have no token, and get one word for it. Not ready: while it
        drains, and while no engine is well.
        """
        if path == _ROOT:
            return body_response(b"", content_type="text/plain", request_id=ids.request_id())
        state = self._document.state(draining=self.draining)
        ready = path == _LIVE or state in _SERVING
        body = {"status": "live" if path == _LIVE else state}
        return json_response(body, request_id=ids.request_id(), status=200 if ready else 503)

    async def _metrics(
        self, _request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        spend, _ = await self._purse.look()
        return body_response(
            exposition(self._parts.metrics, self.health(), spend),
            content_type="text/plain; version=0.0.4; charset=utf-8",
            request_id=request_id,
        )

    async def _openapi(
        self, _request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        return body_response(openapi.document(), content_type=JSON, request_id=request_id)

    async def _stats(
        self, request: web.BaseRequest, _tenant: str, request_id: str
    ) -> web.StreamResponse:
        if self._parts.ledger is None:
            raise ApiError(404, "the ledger is switched off ([ledger] enabled = false)")
        query = request.query
        since, until = (_seconds(query, name) for name in ("since", "until"))
        by = _period(query.get("by"))
        try:
            answer = await asyncio.to_thread(self._sums, since, until, by)
        except LlmctlError as failure:
            raise ApiError(503, failure.message) from failure
        return json_response(answer, request_id=request_id)

    def _sums(
        self, since: float | None, until: float | None, by: By | None
    ) -> queries.LedgerSummary | queries.LedgerSeries:
        with contextlib.closing(open_read_only(self._parts.ledger_path)) as connection:
            if by is None:
                return queries.summary(connection, since, until)
            return queries.series(connection, since, until, by=by)


def _seconds(query: Mapping[str, str], name: str) -> float | None:
    text = query.get(name)
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        if math.isfinite(seconds := float(text)):
            return seconds
    raise ApiError(400, f"{name}={text[:40]!r} is not a number of epoch seconds")


def _period(text: str | None) -> By | None:
    for known in PERIODS:
        if text == known:
            return known
    if text is None:
        return None
    raise ApiError(400, f"by={text[:40]!r} is none of {', '.join(PERIODS)}")


_ROOT, _LIVE, _READY = "/", "/health/live", "/health/ready"
_OPEN = {_ROOT: ("HEAD",), _LIVE: ("GET", "HEAD"), _READY: ("GET", "HEAD")}
"""What needs no token: it tells nothing but that somebody is there."""
_SERVING = frozenset({"ok", "degraded"})
_CLOSING = frozenset({408, 413})
"""Statuses after which the rest of the connection is not worth reading."""
