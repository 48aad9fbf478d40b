"""``/ui``: the page for people, its files, its figures, and how a browser logs in to it."""

from functools import cache
from pathlib import Path

import msgspec
from aiohttp import web
from msgspec import Struct

from llmctl.protocol.errors import ApiError
from llmctl.proxy.auth import Authenticator, digest_of, digests
from llmctl.proxy.body import BodyLimits, read_body
from llmctl.proxy.responses import body_response, error_response, json_response
from llmctl.proxy.ui.login import CODE_S, SESSION_S, Codes, Sessions
from llmctl.proxy.ui.state import Observer

ROOT = "/ui"
CODE, LOGIN, LOGOUT, STATE = "/ui/code", "/ui/login", "/ui/logout", "/ui/state"
FORM = "login.html"
_NOBODY = "0" * 64
"""Digest in the cookie where authentication is off; no token has it."""
_LIMITS = BodyLimits(max_bytes=4096, pause_s=8.0)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_OPEN = {LOGIN: FORM} | {f"/ui/{name}": name for name in ("login.js", "page.css", "icon.svg")}
"""What the form for logging in is made of: there is nothing in it."""
_FILES = {ROOT: "page.html"} | {f"/ui/{name}": name for name in ("page.js", "charts.js")}


class Login(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Body of ``POST /ui/login``."""

    secret: str
    """A code of ``llmctl ui``, or the token itself."""


class Page:
    """Answers everything below ``/ui``; who may look is found out here."""

    def __init__(
        self, observer: Observer, auth: Authenticator, *, codes: Codes, sessions: Sessions
    ) -> None:
        self._observer = observer
        self._auth = auth
        self._codes = codes
        self._sessions = sessions
        self._posts = {LOGIN: self._log_in, LOGOUT: self._log_out}

    @staticmethod
    def owns(path: str) -> bool:
        """Tell whether a path is one of ours, existing or not."""
        return path == ROOT or path.startswith(f"{ROOT}/")

    async def admit(self, request: web.BaseRequest) -> str | None:
        """Return the tenant who looks, None for a stranger who may see the form for logging in.

        Raises ``ApiError`` 401 for other strangers. A cookie opens what can be looked at, and
        nothing else.
        """
        path = _path(request)
        if path in _OPEN or path in self._posts:
            return None
        if path == CODE:
            return await self._auth.tenant(request)
        for digest in (self._sessions.digest(_cookie(request)) or _NOBODY, *digests(request)):
            if (tenant := self._auth.tenant_of(digest)) is not None:
                return tenant
        if path == ROOT and "text/html" in request.headers.get("Accept", ""):
            return None
        return await self._auth.tenant(request)

    async def answer(
        self, request: web.BaseRequest, tenant: str | None, request_id: str
    ) -> web.StreamResponse:
        """Answer one request; raises ``ApiError``. A stranger's connection ends with the answer."""
        if tenant is not None:
            return await self._for_tenant(request, tenant, request_id)
        try:
            response = await self._for_stranger(request, request_id)
        except ApiError as error:
            return error_response(error, request_id=request_id, close=True)
        response.force_close()
        return response

    async def _for_tenant(
        self, request: web.BaseRequest, tenant: str, request_id: str
    ) -> web.Response:
        path = _path(request)
        if path == CODE:
            _only(request, "POST")
            return self._give_code(request, request_id)
        if path not in _FILES and path != STATE:
            raise ApiError(404, f"there is no {path[:200]!r} here")
        _only(request, "GET", "HEAD")
        if path == STATE:
            state = await self._observer.state(tenant)
            return _unkept(json_response(state, request_id=request_id))
        return _file(_FILES[path], request_id)

    async def _for_stranger(self, request: web.BaseRequest, request_id: str) -> web.Response:
        path = _path(request)
        if request.method == "POST" and path in self._posts:
            return await self._posts[path](request, request_id)
        _only(request, *(("GET", "HEAD") if path in _OPEN or path == ROOT else ("POST",)))
        return _file(_OPEN.get(path, FORM), request_id, status=401 if path == ROOT else 200)

    def _give_code(self, request: web.BaseRequest, request_id: str) -> web.Response:
        known = (digest for digest in digests(request) if self._auth.tenant_of(digest) is not None)
        code = self._codes.issue(next(known, _NOBODY))
        document = {"code": code, "path": LOGIN, "expires_s": int(CODE_S)}
        return _unkept(json_response(document, request_id=request_id))

    async def _log_in(self, request: web.BaseRequest, request_id: str) -> web.Response:
        try:
            login = msgspec.json.decode(await read_body(request, _LIMITS), type=Login)
        except msgspec.MsgspecError as wrong:
            raise ApiError(400, f"the body is not a login: {wrong}") from wrong
        secret = login.secret.strip()
        digest = self._codes.redeem(secret) or digest_of(secret.encode("utf-8", "surrogatepass"))
        if self._auth.tenant_of(digest) is None:
            await self._auth.delay(request)
            raise ApiError(401, "this code is used, too old or wrong; `llmctl ui` gives a new one")
        response = json_response({"location": ROOT}, request_id=request_id)
        return _set_cookie(request, response, self._sessions.cookie(digest), int(SESSION_S))

    async def _log_out(self, request: web.BaseRequest, request_id: str) -> web.Response:
        response = json_response({"location": LOGIN}, request_id=request_id)
        return _set_cookie(request, response, "", 0)


def _path(request: web.BaseRequest) -> str:
    return ROOT if request.path == f"{ROOT}/" else request.path


def _only(request: web.BaseRequest, *methods: str) -> None:
    if request.method not in methods:
        raise ApiError(405, f"{request.path} takes {', '.join(methods)}, not {request.method[:20]}")


def _unkept(response: web.Response) -> web.Response:
    response.headers.update(HEADERS | {"Cache-Control": "no-store"})
    return response


def _file(name: str, request_id: str, *, status: int = 200) -> web.Response:
    kept = "no-store" if name.endswith(".html") else "no-cache"
    return body_response(
        _content(name),
        content_type=_TYPES[Path(name).suffix],
        request_id=request_id,
        status=status,
        headers=HEADERS | {"Cache-Control": kept},
    )


@cache
def _content(name: str) -> bytes:
    return Path(__file__).with_name(name).read_bytes()


def _cookie_name(request: web.BaseRequest) -> str:
    """Return a name of this port's own: browsers give a cookie to every port of a host."""
    address = None if request.transport is None else request.transport.get_extra_info("sockname")
    return f"llmctl_ui_{address[1]}" if isinstance(address, tuple) else "llmctl_ui"


def _cookie(request: web.BaseRequest) -> str:
    wanted = _cookie_name(request)
    for header in request.headers.getall("Cookie", ()):
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            if name == wanted:
                return value
    return ""


def _set_cookie(
    request: web.BaseRequest, response: web.Response, value: str, max_age_s: int
) -> web.Response:
    # a browser that came over TLS, through a proxy in front of us, shall come back the same way
    secure = request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    response.set_cookie(
        _cookie_name(request),
        value,
        max_age=max_age_s,
        path=ROOT,
        httponly=True,
        samesite="Strict",
        secure=secure,
    )
    return _unkept(response)
