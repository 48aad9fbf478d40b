"""Where an engine listens, out of what operators write: URLs and the forms of ``OLLAMA_HOST``."""

from urllib.parse import SplitResult, urlsplit

from llmctl.core.errors import ConfigError

_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound to
"""Addresses a server binds to; a client on the same machine connects to loopback."""


def engine_address(text: str, *, default_port: int) -> str:
    """Return ``scheme://host:port[/prefix]`` without a trailing slash.

    Takes ``http(s)://host[:port][/prefix]``, ``host:port``, ``host``, ``:port`` and addresses one
    binds to (``0.0.0.0``). ``default_port`` is for those without a scheme; with one it is 80 or
    443, as Ollama's own client has it. Raises ``ConfigError``.
    """
    written = text.strip().strip("\"'")
    has_scheme = "://" in written
    try:
        parts = urlsplit(written if has_scheme else f"http://{written}")
        scheme_port = 443 if parts.scheme == "https" else 80
        port = parts.port or (scheme_port if has_scheme else default_port)
        host = _host(parts)
    except ValueError as error:
        raise _bad(text, str(error)) from error
    if parts.scheme not in {"http", "https"}:
        raise _bad(text, f"unknown scheme {parts.scheme}")
    if parts.query or parts.fragment:
        raise _bad(text, "a query or a fragment has no place in it")
    return f"{parts.scheme}://{host}:{port}{parts.path.rstrip('/')}"


def _host(parts: SplitResult) -> str:
    if parts.username is not None:
        raise ValueError("a user name has no place in it")
    host = _WILDCARDS.get(parts.hostname or "", parts.hostname or "")
    if any(letter.isspace() or letter in "\\<>\"'%" for letter in host):
        raise ValueError(f"{host!r} is not a host name")
    return f"[{host}]" if ":" in host else host


def _bad(text: str, why: str) -> ConfigError:
    # What stands before an @ may be a password.
    shown = text.rpartition("@")[2]
    hint = "write it as http://host:port, e.g. http://127.0.0.1:11434"
    return ConfigError(f"{shown!r} is not the address of an engine: {why}", hint=hint)
