"""What is refused before a token is even looked at.

Any web page the user visits can reach a port on the laptop; ``Host``, ``Origin`` and
``Sec-Fetch-Site`` tell such requests apart (DNS rebinding, cross-site posts). Requests that are
not plain HTTP/1.x to this very server are refused as well.
"""

from collections.abc import Iterable

from aiohttp import HttpVersion10, HttpVersion11, web

from llmctl.protocol.errors import ApiError

PAGE = "/ui/"
"""Paths of the page for people."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
_KEYS = ("x-api-key", "Authorization")
_ALLOWED_FETCH_SITES = frozenset({"none", "same-origin"})


class Guard:
    """Decides by request line and headers alone."""

    def __init__(self, *, listen: str, hosts: Iterable[str], origins: Iterable[str]) -> None:
        named = {listen, *hosts} - {"0.0.0.0", "::", ""}  # noqa: S104  wildcards name no host
        self._hosts = LOOPBACK | {_bracketed(host.lower()) for host in named}
        self._origins = frozenset(origin.rstrip("/").lower() for origin in origins)
        self._passed: set[str] = set()

    def check(self, request: web.BaseRequest) -> None:
        """Raise ``ApiError`` for a request that must not go on."""
        if request.version not in (HttpVersion11, HttpVersion10):
            spoken = f"HTTP/{request.version.major}.{request.version.minor}"
            raise ApiError(400, f"{spoken} is not spoken here, use HTTP/1.1")
        target = request.raw_path
        if request.method == "CONNECT" or not target.startswith("/"):
            raise ApiError(400, "this is not a proxy for other hosts; use a path as request target")
        headers = request.headers
        _check_framing(request)
        self._check_host(headers.getall("Host", ()))
        for name in _KEYS:
            if len(headers.getall(name, ())) > 1:
                raise ApiError(400, f"{name} came more than once; send one token")
        if "Origin" in headers and not self._is_allowed(headers["Origin"].lower(), request):
            raise ApiError(403, f"origin {headers['Origin'][:200]!r} is not allowed")
        if headers.get("Sec-Fetch-Site", "none") not in _ALLOWED_FETCH_SITES:
            raise ApiError(403, "cross-site requests from a browser are not allowed")
        if "Upgrade" in headers:
            raise ApiError(426, "protocol upgrades are not offered; use HTTP/1.1")

    def _is_allowed(self, origin: str, request: web.BaseRequest) -> bool:
        """Tell whether a page may call: those of ``allowed_origins``, and our own its own paths.

        The host is one of ours by now, so that the page came from here as well.
        """
        if origin in self._origins:
            return True
        host = request.headers["Host"].lower()
        return request.path.startswith(PAGE) and origin in {f"http://{host}", f"https://{host}"}

    def _check_host(self, values: Iterable[str]) -> None:
        hosts = list(values)
        if len(hosts) != 1:
            raise ApiError(400, "exactly one Host header is needed")
        host = hosts[0]
        if host in self._passed:
            return
        if _without_port(host.lower()) not in self._hosts:
            raise ApiError(
                403,
                f"host {host[:200]!r} is not served here; "
                "add it to serve.allowed_hosts if it should be",
            )
        if len(self._passed) < 64:
            self._passed.add(host)


def _check_framing(request: web.BaseRequest) -> None:
    """Refuse codings that are not undone here, and chunks in HTTP/1.0 (RFC 9112, section 6.1)."""
    if "Transfer-Encoding" not in request.headers:
        return
    codings = request.headers.getall("Transfer-Encoding")
    if request.version < HttpVersion11 or [each.strip().lower() for each in codings] != ["chunked"]:
        said = ", ".join(codings)[:100]
        raise ApiError(400, f"transfer-encoding {said!r} is not understood, only chunked is")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return (
        name if colon and port.isdigit() and (not name.count(":") or name.endswith("]")) else host
    )
