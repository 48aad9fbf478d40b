"""Where Redis is and how to get in, with the password kept out of sight."""

from ipaddress import ip_address
from typing import Any

from redis.asyncio.connection import parse_url

from llmctl.core.errors import ConfigError

TLS_OPTIONS = frozenset(
    {
        "ssl_ca_certs",
        "ssl_ca_path",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)
"""What a URL's query may say, beside ``db``; time-outs and retries are ours to set."""
URL_FORM = "write it as redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix://PATH?db=DB"


class RedisAddress:
    """Connection options for redis-py, and a location that is safe to show."""

    __slots__ = ("_options", "location")

    def __init__(self, options: dict[str, Any], location: str) -> None:
        self._options = options
        self.location = location

    def __repr__(self) -> str:
        return f"RedisAddress({self.location!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a Redis address holds a password and is not to be pickled")

    def options(self) -> dict[str, Any]:
        """Return keyword arguments for redis-py's connection pool; they hold the password."""
        return dict(self._options)

    @property
    def has_password(self) -> bool:
        """Whether a password is sent."""
        return bool(self._options.get("password"))

    def redact(self, text: str) -> str:
        """Return ``text`` without the password; old servers repeat it in their error messages."""
        secret = self._options.get("password")
        return text.replace(secret, "****") if secret else text


def redis_address(
    *,
    url: str | None = None,
    host: str | None = None,
    port: int = 6379,
    db: int = 0,
    password: str | None = None,
    insecure: bool = False,
) -> RedisAddress:
    """Work out the address from a URL, or from its parts where there is none.

    ``password`` serves where the URL has none. Raises ConfigError for a URL that cannot be used,
    and for a password that would cross the network unencrypted without ``insecure``.
    """
    options = _parsed(url) if url else {"host": host or "127.0.0.1", "port": port, "db": db}
    if password:
        options.setdefault("password", password)
    _refuse_plain_password(options, insecure=insecure)
    return RedisAddress(options, _location(options))


def _parsed(url: str) -> dict[str, Any]:
    try:
        options: dict[str, Any] = {**parse_url(url)}
    except ValueError:
        # its message may quote a part of the password, so it is not passed on
        hint = f"{URL_FORM}; percent-encode special characters of a password"
        raise ConfigError("the Redis URL cannot be read", hint=hint) from None
    known = TLS_OPTIONS if _is_tls(options) else frozenset[str]()
    place = {"username", "password", "host", "port", "path", "db", "connection_class"}
    if unknown := sorted(options.keys() - place - known):
        allowed = ", ".join(sorted({"db", *known}))
        raise ConfigError(
            f"the Redis URL has an option that is not known: {unknown[0]}",
            hint=f"options it may have: {allowed}",
        )
    if "path" not in options:
        options.setdefault("host", "127.0.0.1")
        options.setdefault("port", 6379)
    return options


def _refuse_plain_password(options: dict[str, Any], *, insecure: bool) -> None:
    if insecure or not options.get("password") or "path" in options or _is_tls(options):
        return
    host = options["host"]
    if not _is_loopback(host):
        raise ConfigError(
            f"the Redis password would cross the network to {host} unencrypted",
            hint="use a rediss:// URL, or allow it with `insecure = true` under [redis]",
        )


def _is_tls(options: dict[str, Any]) -> bool:
    kind = options.get("connection_class")
    return kind is not None and kind.__name__ == "SSLConnection"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _location(options: dict[str, Any]) -> str:
    db = options.get("db", 0)
    if "path" in options:
        return f"unix://{options['path']}?db={db}"
    host = f"[{options['host']}]" if ":" in options["host"] else options["host"]
    return f"{'rediss' if _is_tls(options) else 'redis'}://{host}:{options['port']}/{db}"
