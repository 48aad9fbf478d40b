"""Merges flags, environment and file into one ``Config``, each value with its origin."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.config import addresses, tomlfile
from llmctl.config.names import CUSTOMARY, FLAGS, NOT_SETTINGS, env_name
from llmctl.config.origins import DEFAULT, Given, Origin
from llmctl.config.schema import BackendConfig, Config
from llmctl.config.secrets import Secret
from llmctl.config.settings import BACKEND, Setting, all_settings, convert
from llmctl.core.errors import ConfigError
from llmctl.core.paths import find_paths

log = logging.getLogger(__name__)

_CLIENT_MODELS = frozenset({"default", "fable", "haiku", "opus", "opusplan", "sonnet"})
"""What Claude Code itself understands in ``ANTHROPIC_MODEL``; no name of an open model."""
_OLLAMA_HOST = Origin(kind="customary", where=CUSTOMARY[BACKEND])
_STRONGEST = ("flag", "env", "customary", "file", "default")


class Loaded(Struct, frozen=True, kw_only=True):
    """The configuration of this process."""

    config: Config
    origins: dict[str, Origin]
    """By dotted key, for every setting."""
    path: Path
    """The file that was read, or would be if it existed."""
    redis_password: Secret | None = None


def load(
    *, flags: Mapping[str, object], environ: Mapping[str, str], path: Path | None = None
) -> Loaded:
    """Return the merged configuration; flag > ``LLMCTL_*`` > customary variable > file > default.

    ``flags`` maps dotted keys to values, None for what was not given. ``path`` names the file, as
    ``LLMCTL_CONFIG`` does; without either the usual place is looked at. Raises ``ConfigError``
    naming the value and where it came from.
    """
    settings = all_settings()
    named = environ.get("LLMCTL_CONFIG")
    explicit = path or (Path(named).expanduser() if named else None)
    location = explicit or find_paths(environ).config_file
    given = tomlfile.read(location, known=settings, required=explicit is not None)
    given |= from_customary(environ)
    given |= _environment(environ, settings)
    given |= _flags(flags)
    given, password = _redis(given, environ)
    values = {key: _converted(settings[key], found) for key, found in given.items()}
    origins = {key: given[key].origin if key in given else DEFAULT for key in settings}
    backends, origins[BACKEND] = _backends(values, origins, environ)
    config = _assemble(values, backends)
    _check_exposure(config, origins)
    return Loaded(config=config, origins=origins, path=location, redis_password=password)


def from_customary(environ: Mapping[str, str]) -> dict[str, Given]:
    """Return what the operators' own variables say; ``OLLAMA_HOST`` is only a default address."""
    given = {
        key: Given(value=environ[name], origin=Origin(kind="customary", where=name))
        for key, name in CUSTOMARY.items()
        if key != BACKEND and environ.get(name)
    }
    model = environ.get("ANTHROPIC_MODEL", "")
    if model.startswith("claude") or model.partition("[")[0] in _CLIENT_MODELS:
        given.pop("model.name", None)
    port = environ.get("REDIS_PORT", "")
    if "redis.host" not in given:
        given.pop("redis.port", None)
    elif port.startswith("tcp://"):  # what Kubernetes sets for a service that is called redis
        origin = given["redis.port"].origin
        given["redis.port"] = Given(value=port.rpartition(":")[2], origin=origin)
    return given


def _environment(environ: Mapping[str, str], settings: Mapping[str, Setting]) -> dict[str, Given]:
    names = {env_name(key): key for key in settings}
    given = {}
    for name, value in environ.items():
        if not name.startswith("LLMCTL_") or name in NOT_SETTINGS:
            continue
        if name not in names:
            hint = tomlfile.suggestion(name, list(names))
            log.warning("%s is not a setting%s", name, f"; {hint}" if hint else "")
        elif value:
            origin = Origin(kind="env", where=name)
            given[names[name]] = Given(value=value, origin=origin)
    return given


def _flags(flags: Mapping[str, object]) -> dict[str, Given]:
    return {
        key: Given(value=value, origin=Origin(kind="flag", where=FLAGS[key]))
        for key, value in flags.items()
        if value is not None and value != []
    }


def _redis(
    given: dict[str, Given], environ: Mapping[str, str]
) -> tuple[dict[str, Given], Secret | None]:
    """Take the password out of the URL, and of URL and host keep the one with the stronger origin.

    A password is welcome from the environment only: files are copied about, and every user of the
    machine can see the flags of a process.
    """
    password = environ.get("REDIS_PASSWORD", "")
    url, host = given.get("redis.url"), given.get("redis.host")
    if url and host and _rank(host) < _rank(url):
        given, url = {key: found for key, found in given.items() if key != "redis.url"}, None
    if url and isinstance(url.value, str):
        try:
            clean, inside = addresses.redis_url(url.value)
        except ValueError as reason:
            raise ConfigError(f"redis.url from {url.origin} cannot be used: {reason}") from None
        if inside and url.origin.kind in ("flag", "file"):
            raise ConfigError(
                f"redis.url from {url.origin} holds a password, which belongs in the environment",
                hint="put it into REDIS_PASSWORD, or the whole address into REDIS_URL",
            )
        given = {**given, "redis.url": Given(value=clean, origin=url.origin)}
        password = inside or password
    return given, Secret(password) if password else None


def _rank(found: Given) -> int:
    return _STRONGEST.index(found.origin.kind)


def _converted(setting: Setting, found: Given) -> Any:
    value = found.value
    if setting.key == BACKEND and isinstance(value, list):
        value = [{"url": entry} if isinstance(entry, str) else entry for entry in value]
    try:
        return convert(setting, value)
    except ValueError as reason:
        shown = repr(found.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        raise ConfigError(f"{setting.key} cannot be {shown} ({found.origin}): {reason}") from None


def _backends(
    values: Mapping[str, Any], origins: Mapping[str, Origin], environ: Mapping[str, str]
) -> tuple[list[BackendConfig], Origin]:
    """Return the engines with complete addresses, and where they came from."""
    listed, origin = values.get(BACKEND), origins[BACKEND]
    if not listed and values.get("embedded.gguf"):
        listed, origin = [BackendConfig(url="embedded")], origins["embedded.gguf"]
    if not listed:
        listed = [BackendConfig(url="ollama")]
        origin = _OLLAMA_HOST if environ.get("OLLAMA_HOST", "").strip() else DEFAULT
    changes = {
        name: values[f"{BACKEND}.{name}"]
        for name in ("parallel", "queue")
        if f"{BACKEND}.{name}" in values
    }
    return [
        msgspec.structs.replace(entry, url=_backend_url(entry.url, origin, environ), **changes)
        for entry in listed
    ], origin


def _backend_url(text: str, origin: Origin, environ: Mapping[str, str]) -> str:
    """Complete one address; ``ollama`` alone is the one ``OLLAMA_HOST`` names."""
    host = environ.get("OLLAMA_HOST", "").strip()
    if text.strip() == "ollama" and host:
        text, origin = f"ollama:{host}", _OLLAMA_HOST
    try:
        return addresses.backend_url(text)
    except ValueError as reason:
        raise ConfigError(
            f"backend cannot be {addresses.shown(text)!r} ({origin}): {reason}",
            hint="llmctl serve --backend ollama:http://127.0.0.1:11434",
        ) from None


def _assemble(values: Mapping[str, Any], backends: list[BackendConfig]) -> Config:
    tree: dict[str, Any] = {}
    for key, value in _plain(values):
        *sections, name = key.split(".")
        table = tree
        for section in sections:
            table = table.setdefault(section, {})
        table[name] = value
    return msgspec.convert({**tree, BACKEND: backends}, Config)


def _plain(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((key, value) for key, value in values.items() if not key.startswith(BACKEND))


def _check_exposure(config: Config, origins: Mapping[str, Origin]) -> None:
    """Refuse to be open to the network without a token."""
    serve = config.serve
    if not serve.auth and not addresses.is_local(serve.listen):
        raise ConfigError(
            f"serve.listen {serve.listen!r} ({origins['serve.listen']}) opens the proxy to other "
            f"machines while serve.auth is off ({origins['serve.auth']})",
            hint="leave authentication on, or listen on 127.0.0.1",
        )
