"""``config.toml`` as found: values by key with their lines, and what is wrong with it."""

import re
import tomllib
from collections.abc import Collection, Iterator
from pathlib import Path

from llmctl.config.origins import Given, Origin
from llmctl.core.errors import ConfigError

_HEADER = re.compile(r"\s*\[+\s*([\w.\-]+)\s*\]")
_ENTRY = re.compile(r"\s*([\w.\-]+)\s*=")


def read(path: Path, *, known: Collection[str], required: bool) -> dict[str, Given]:
    """Return the file's values by key; an absent file is empty unless it is ``required``.

    Raises ``ConfigError`` for a file that cannot be read, is not TOML, or names settings that do
    not exist.
    """
    given = found(path, known=known, required=required)
    for key, entry in given.items():
        if key not in known:
            where = entry.origin.where
            raise ConfigError(f"{where}: there is no setting {key!r}", hint=suggestion(key, known))
    return given


def found(path: Path, *, known: Collection[str], required: bool) -> dict[str, Given]:
    """Return every entry of the file by key, known or not; raises as ``read`` but for those."""
    text = _text(path, required=required)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as failure:
        raise ConfigError(f"{path} is not valid TOML: {failure}") from failure
    given = {}
    for key, value in _entries(document, known):
        line = _line_of(text, key)
        where = f"{path}:{line}" if line else str(path)
        given[key] = Given(value=value, origin=Origin(kind="file", where=where))
    return given


def suggestion(name: str, known: Collection[str]) -> str | None:
    """Return a "did you mean" line for the nearest known name, if one is near."""
    from difflib import get_close_matches

    last = name.rpartition(".")[2]
    near = get_close_matches(name, known, n=1, cutoff=0.75) or [
        key for key in known if key.rpartition(".")[2] == last
    ]
    return f"did you mean {near[0]}?" if near else None


def _text(path: Path, *, required: bool) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if not required:
            return ""
        raise ConfigError(
            f"the configuration file {path} does not exist", hint="llmctl config path"
        ) from None
    except UnicodeDecodeError as failure:
        raise ConfigError(f"{path} is not UTF-8: {failure.reason}") from failure
    except OSError as failure:
        raise ConfigError(f"cannot read {path}: {failure.strerror}") from failure


def _entries(
    document: dict[str, object], known: Collection[str], prefix: str = ""
) -> Iterator[tuple[str, object]]:
    """Yield each setting; a table that is itself a setting (``model.aliases``) stays whole."""
    tables = {key[:end] for key in known for end, sign in enumerate(key) if sign == "."}
    for name, value in document.items():
        key = prefix + name
        if key in tables and isinstance(value, dict):
            yield from _entries(value, known, f"{key}.")
        else:
            yield key, value


def _line_of(text: str, key: str) -> int | None:
    """Return the line that sets ``key``, or opens it as a table; None where it is not plain."""
    section = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            section = header[1]
            if section == key:
                return number
        elif entry := _ENTRY.match(line):
            full = f"{section}.{entry[1]}" if section else entry[1]
            if full == key or full.startswith(f"{key}."):
                return number
    return None
