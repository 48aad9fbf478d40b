"""Changes ``config.toml`` and keeps what people wrote into it: comments, order, layout.

What would not be valid is never written. The file is replaced as a whole, or not at all.
"""

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from llmctl.config.load import load
from llmctl.config.settings import BACKEND, Setting, all_settings, convert
from llmctl.config.tomlfile import suggestion
from llmctl.core.errors import ConfigError
from llmctl.core.paths import make_private

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

BEGINNING = """\
# Settings of llmctl; `llmctl help config` lists them with their defaults.
"""
_MODE = 0o600


class Changed(Struct, frozen=True, kw_only=True):
    """What ``config set`` did."""

    key: str
    value: Any
    """As it stands in the file."""
    path: str
    shadowed_by: str | None = None
    """Variable that beats the file in this environment."""


def set_value(path: Path, key: str, text: str, *, environ: Mapping[str, str]) -> Changed:
    """Set one key of the file, which is begun if need be.

    ``text`` is read as a variable's would be: ``24h``, ``1GiB``, lists with commas. Raises
    ``ConfigError`` for an unknown key, for a value it cannot have, and where the file would not be
    valid with it; nothing is written then.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    value = _in_toml(_setting(key), text)
    try:
        document = tomlkit.parse(read_text(path) or BEGINNING)
        _put(document, key, value)
    except TOMLKitError as failure:
        raise ConfigError(f"{path} is not valid TOML: {failure}") from failure
    replace(path, tomlkit.dumps(document))
    origin = load(flags={}, environ=environ, path=path).origins[key]
    shadow = origin.where if origin.kind in ("env", "customary") else None
    return Changed(key=key, value=value, path=str(path), shadowed_by=shadow)


def read_text(path: Path) -> str:
    """Return the text of the file, empty where there is none; raises ``ConfigError``."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigError(f"cannot read {path}: {failure}") from failure


def copy_of(path: Path, text: str) -> Path:
    """Return a new file beside ``path`` for an editor, with ``text`` or a beginning in it."""
    try:
        make_private(path.parent)
        descriptor, name = tempfile.mkstemp(prefix="edit-", suffix=".toml", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text or BEGINNING)
    except OSError as failure:
        raise ConfigError(f"cannot write {path}: {failure.strerror}") from failure
    return Path(name)


def take(copy: Path, path: Path, before: str) -> bool:
    """Put an edited copy in the place of the file, and remove it; False if it says the same.

    Raises ``ConfigError`` where it is not valid, or the file has changed meanwhile; the copy stays.
    """
    text = read_text(copy)
    changed = text not in (before, BEGINNING)
    if changed:
        check(copy, named=path)
        if read_text(path) != before:
            raise ConfigError(f"{path} was changed by somebody else meanwhile")
        replace(path, text)
    copy.unlink(missing_ok=True)
    return changed


def replace(path: Path, text: str) -> None:
    """Put ``text`` in the place of the file if it is a valid configuration.

    The file keeps its mode, and stays where it is a link to. Raises ``ConfigError``.
    """
    real = path.resolve()
    try:
        make_private(real.parent)
        mode = real.stat().st_mode & 0o777 if real.exists() else _MODE
        descriptor, name = tempfile.mkstemp(prefix=f"{real.name}.", dir=real.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        fresh = Path(name)
    except OSError as failure:
        raise ConfigError(f"cannot write {path}: {failure.strerror}") from failure
    try:
        check(fresh, named=path)
        fresh.chmod(mode)
        fresh.replace(real)
    except OSError as failure:
        raise ConfigError(f"cannot write {path}: {failure.strerror}") from failure
    finally:
        fresh.unlink(missing_ok=True)


def check(file: Path, *, named: Path) -> None:
    """Raise ``ConfigError`` if the file is not a valid configuration by itself; calls it ``named``.

    Whatever the environment says does not count: it may be another tomorrow.
    """
    try:
        load(flags={}, environ={}, path=file)
    except ConfigError as error:
        message = error.message.replace(str(file), str(named))
        raise ConfigError(message, hint=error.hint) from None


def _setting(key: str) -> Setting:
    known = all_settings()
    if key in known:
        return known[key]
    raise ConfigError(
        f"there is no setting {key!r}", hint=suggestion(key, known) or "llmctl help config"
    )


def _in_toml(setting: Setting, text: str) -> Any:
    """Return a value as one would write it into the file; raises ``ConfigError``."""
    try:
        value = convert(setting, text)
    except ValueError as reason:
        raise ConfigError(f"{setting.key} cannot be {text!r}: {reason}") from None
    if setting.key == BACKEND:
        return [{"url": backend.url} for backend in value]
    if isinstance(value, bool | list | dict):
        return value
    for number in (int, float):
        if isinstance(value, int | float):
            with suppress(ValueError):
                return number(text)
    return text.strip()


def _put(document: "TOMLDocument", key: str, value: Any) -> None:
    import tomlkit

    *sections, name = key.split(".")
    table: Any = document
    for section in sections:
        if section not in table:
            table[section] = tomlkit.table(is_super_table=section != sections[-1])
        table = table[section]
    engines = table if isinstance(table, list) else [table]
    if sections == [BACKEND] and not isinstance(table, list):
        raise ConfigError(f"{key} is a setting of engines, and the file names none")
    for each in engines:
        each[name] = _listed(value) if key == BACKEND else value


def _listed(backends: list[dict[str, str]]) -> Any:
    """Return ``[[backend]]`` tables."""
    import tomlkit

    tables = tomlkit.aot()
    for backend in backends:
        table = tomlkit.table()
        table.update(backend)
        tables.append(table)
    return tables
