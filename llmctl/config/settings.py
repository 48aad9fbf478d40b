"""Every setting by its dotted key, taken from the schema, and how its text becomes a value."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct
from msgspec.structs import fields

from llmctl.config import quantities
from llmctl.config.schema import BackendConfig, Config

BACKEND = "backend"
PROFILE = "profile"
_OF_ALL_BACKENDS = ("parallel", "queue")
_PRICE = "max_price"
_PRICES = (_PRICE, "usd_per_day", "usd_per_month")
_QUANTITIES: dict[str, Callable[[str], object]] = {
    "_s": quantities.seconds,
    "bytes": quantities.size,
    "keep_alive": quantities.keep_alive,
}


class Setting(Struct, frozen=True, kw_only=True):
    """One entry of the schema."""

    key: str
    type: Any
    default: Any


def all_settings() -> dict[str, Setting]:
    """Return every setting by key, in the order of the schema.

    ``backend`` is the list of engines; ``backend.parallel`` and ``backend.queue`` stand for that
    field of all of them and have no default of their own.
    """
    found = []
    defaults = Config()
    for section in fields(Config):
        default = getattr(defaults, section.name)
        if not isinstance(default, Struct):  # a list or table of its own: [[backend]], [profile.X]
            found.append(Setting(key=section.name, type=section.type, default=default))
            found += _of_all_backends() if section.name == BACKEND else []
            continue
        found += _of_table(section.name, default)
    return {setting.key: setting for setting in found}


def _of_table(name: str, table: Struct) -> Iterator[Setting]:
    for entry in fields(table):
        key, default = f"{name}.{entry.name}", getattr(table, entry.name)
        if isinstance(default, Struct):
            yield from _of_table(key, default)
        else:
            yield Setting(key=key, type=entry.type, default=default)


def _of_all_backends() -> list[Setting]:
    return [
        Setting(key=f"{BACKEND}.{entry.name}", type=entry.type, default=None)
        for entry in fields(BackendConfig)
        if entry.name in _OF_ALL_BACKENDS
    ]


def convert(setting: Setting, value: object) -> Any:
    """Return ``value`` as the setting's type; raises ``ValueError`` with the reason.

    Text is read by what the setting holds: ``"24h"`` for ``…_s``, ``"1GiB"`` for ``…_bytes``,
    ``a,b`` for lists, ``a=b,c=d`` for mappings. Anything else must have the type already.
    """
    textual = isinstance(value, str)
    if isinstance(value, str):
        value = _read(setting, value.strip())
    elif setting.key == PROFILE and isinstance(value, dict):
        value = {name: _profile(name, table) for name, table in value.items()}
    elif setting.key.endswith(_PRICES):
        value = _price(value)
    try:
        return msgspec.convert(value, setting.type, strict=not textual)
    except msgspec.ValidationError as failure:
        raise ValueError(_reason(setting, failure, textual=textual)) from failure


def _read(setting: Setting, text: str) -> object:
    if setting.key == BACKEND:
        return [{"url": part} for part in _parts(text)]
    for ending, read in _QUANTITIES.items():
        if setting.key.endswith(ending):
            return read(text)
    if isinstance(setting.default, list):
        return _parts(text)
    if isinstance(setting.default, dict):
        return _pairs(text)
    return text


def _profile(name: str, table: object) -> object:
    """Return one table of ``[profile]`` with its durations and prices as the schema has them."""
    if not isinstance(table, dict):
        return table
    read = dict(table)
    for key, value in table.items():
        if key.endswith("_s") and isinstance(value, str):
            try:
                read[key] = quantities.seconds(value)
            except ValueError as reason:
                raise ValueError(f"{name}.{key}: {reason}") from None
        elif key == _PRICE:
            read[key] = _price(value)
    return read


def _price(value: object) -> object:
    """Return a price that TOML holds as a number as the text it was written as."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return format(value, "g") if number else value


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in _parts(text)]
    if not all(name.strip() and value.strip() for name, _, value in pairs):
        raise ValueError("expected name=value pairs with commas between them")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _reason(setting: Setting, failure: msgspec.ValidationError, *, textual: bool) -> str:
    choices, wanted = _choices(setting.type), _described(setting.type)
    if choices:
        return "expected one of " + ", ".join(choices)
    if wanted:
        return f"expected {wanted}"
    text = str(failure)
    if textual:
        text = text.removesuffix(", got `str`")
    return text[:1].lower() + text[1:]


def _choices(kind: Any) -> list[str]:
    """Return the words that a type allows, also in a list or beside None; none for other types."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [choice for part in get_args(kind) for choice in _choices(part)]


def _described(kind: Any) -> str:
    """Return what the schema says of a text's form; empty where it says nothing."""
    for part in get_args(kind):
        if isinstance(part, msgspec.Meta) and part.description:
            return part.description
        if found := _described(part):
            return found
    return ""
