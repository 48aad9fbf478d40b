"""Addresses of engines and Redis: brought to one form, and kept free of passwords."""

from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

OLLAMA = "http://127.0.0.1:11434"
_OLLAMA_PORT = 11434
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104  replaced here
_IN_NO_HOST = frozenset("\\<>\"'%")
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def backend_url(text: str) -> str:
    """Return ``ollama:URL``, ``openai:URL`` or ``embedded``; raises ``ValueError``."""
    kind, _, address = text.strip().partition(":")
    if kind == "embedded" and not address:
        return "embedded"
    if kind == "ollama":
        return "ollama:" + (ollama_url(address) if address else OLLAMA)
    if kind == "openai" and address:
        return "openai:" + _http_url(address)
    raise ValueError("expected ollama, ollama:URL, openai:URL or embedded")


def ollama_url(text: str) -> str:
    """Return the URL a client uses for a value of ``OLLAMA_HOST``; raises ``ValueError``.

    Ollama's own rules: quotes around it count for nothing, the port is 11434 where neither scheme
    nor port is given. A wildcard, which tells the server to listen everywhere, is the loopback
    address for its clients.
    """
    text = text.strip().strip("\"'")
    if "://" in text:
        return _http_url(text)
    parts = _split(f"http://127.0.0.1{text}" if text.startswith(":") else f"http://{text}")
    return _http_url(_joined(parts, parts.port or _OLLAMA_PORT))


def shown(address: str) -> str:
    """Return an address that cannot be used as it may be repeated: without what may be a password.

    Whatever stands before an ``@`` goes, up to the scheme or the kind of engine.
    """
    head, at, place = address.rpartition("@")
    if not at:
        return address
    kept = "//" if "//" in head else ":"
    start, mark, _ = head.partition(kept)
    return f"{start}{mark}…@{place}"


def redis_url(text: str) -> tuple[str, str]:
    """Return a Redis URL without its password, and the password; raises ``ValueError``."""
    parts = _split(text.strip())
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("expected redis://HOST:PORT/DB, rediss://… or unix://PATH")
    if parts.password is None:
        return text.strip(), ""
    account, _, place = parts.netloc.rpartition("@")
    user = account.partition(":")[0]
    netloc = f"{user}@{place}" if user else place
    return urlunsplit(parts._replace(netloc=netloc)), unquote(parts.password)


def is_local(host: str) -> bool:
    """Whether ``host`` names this machine and no other can reach it there."""
    if host in _LOCAL:
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def host_of(url: str) -> str:
    """Return the host of a URL in lower case, empty where there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def reachable(listen: str, port: int) -> str:
    """Return the URL at which a server that listens there can be reached from this machine."""
    host = _WILDCARDS.get(listen, listen)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _http_url(text: str) -> str:
    parts = _split(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected an address that starts with http:// or https://")
    if not parts.hostname:
        raise ValueError("expected an address with a host name, as in http://127.0.0.1:8080")
    if any(letter.isspace() or letter in _IN_NO_HOST for letter in parts.hostname):
        raise ValueError(f"{parts.hostname!r} is not a host name")
    if parts.username or parts.password:
        raise ValueError("an engine's address cannot carry a user name or a password")
    if parts.query or parts.fragment:
        raise ValueError("an engine's address cannot carry a query or a fragment")
    return _joined(parts, parts.port)


def _joined(parts: SplitResult, port: int | None) -> str:
    host = parts.hostname or ""
    host = _WILDCARDS.get(host, host)
    name = f"[{host}]" if ":" in host else host
    netloc = f"{name}:{port}" if port else name
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", ""))


def _split(text: str) -> SplitResult:
    """Split, with the port checked as well; raises ``ValueError``."""
    parts = urlsplit(text)
    try:
        _ = parts.port
    except ValueError:
        raise ValueError("the port is not a number from 0 to 65535") from None
    return parts
