"""What a configuration says in vain: names that are no setting, values that another one beats."""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from llmctl.config import tomlfile
from llmctl.config.load import from_customary
from llmctl.config.names import NOT_SETTINGS, env_name
from llmctl.config.origins import Given, Origin
from llmctl.config.settings import all_settings

_PREFIX = "LLMCTL_"


class Unknown(Struct, frozen=True, kw_only=True):
    """A name that is no setting."""

    name: str
    where: str
    """Its place in the file; empty for a variable."""
    suggestion: str = ""


class Shadowed(Struct, frozen=True, kw_only=True):
    """A setting that is given more than once, with different values."""

    key: str
    wins: Given
    loses: list[Given]


class Audit(Struct, frozen=True, kw_only=True):
    """What was found, in the order of file and environment."""

    in_file: int
    """Settings in it."""
    in_environment: int
    unknown: list[Unknown]
    shadowed: list[Shadowed]


def audit(path: Path, environ: Mapping[str, str], *, required: bool = False) -> Audit:
    """Compare file and environment with the settings; raises ``ConfigError`` for a bad file."""
    settings = all_settings()
    in_file = tomlfile.found(path, known=settings, required=required)
    variables = {env_name(key): key for key in settings}
    named = {name: text for name, text in environ.items() if name.startswith(_PREFIX) and text}
    unknown = [
        Unknown(
            name=key,
            where=given.origin.where,
            suggestion=tomlfile.suggestion(key, settings) or "",
        )
        for key, given in in_file.items()
        if key not in settings
    ] + [
        Unknown(name=name, where="", suggestion=tomlfile.suggestion(name, list(variables)) or "")
        for name in named
        if name not in variables and name not in NOT_SETTINGS
    ]
    own = {variables[name]: name for name in named if name in variables}
    return Audit(
        in_file=sum(key in settings for key in in_file),
        in_environment=len(own),
        unknown=unknown,
        shadowed=_shadowed(in_file, environ, own),
    )


def _shadowed(
    in_file: Mapping[str, Given], environ: Mapping[str, str], own: Mapping[str, str]
) -> list[Shadowed]:
    """Return what is given twice; what is said twice alike does no harm."""
    customary = from_customary(environ)
    found = []
    for key in dict.fromkeys([*own, *customary, *in_file]):
        given = [_variable(own[key], environ)] if key in own else []
        given += [each[key] for each in (customary, in_file) if key in each]
        if len({str(each.value) for each in given}) > 1:
            found.append(Shadowed(key=key, wins=given[0], loses=given[1:]))
    return found


def _variable(name: str, environ: Mapping[str, str]) -> Given:
    return Given(value=environ[name], origin=Origin(kind="env", where=name))
