"""The configuration: what cannot be read, what is no setting, what another value beats."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

from llmctl.config import addresses
from llmctl.config.audit import Shadowed, Unknown, audit
from llmctl.config.load import Loaded, load
from llmctl.config.secrets import TokenStore, token_from_environment
from llmctl.core.errors import LlmctlError
from llmctl.core.paths import Paths, find_paths
from llmctl.core.reports_health import CheckState, Finding

SECTION = "configuration"
_SECRETS = ("url",)
"""Last parts of keys whose values may hold a password."""


def read(environ: Mapping[str, str], path: Path | None) -> tuple[Loaded | None, list[Finding]]:
    """Read the configuration as any command would, and tell what is wrong with it.

    None for one that cannot be used; what it says in vain is told in any case.
    """
    loaded, failed = None, []
    try:
        loaded = load(flags={}, environ=environ, path=path)
    except LlmctlError as failure:
        fix = failure.hint or "llmctl config edit"
        failed = [_finding("file", CheckState.BAD, failure.message, fix)]
    try:
        findings = audit_findings(environ, path)
    except LlmctlError:  # which is what loading has failed of
        return loaded, failed
    told = [
        each for each in failed if not any(one.detail.startswith(each.detail) for one in findings)
    ]
    return loaded, [*findings, *told]


def audit_findings(environ: Mapping[str, str], path: Path | None) -> list[Finding]:
    """Tell of names and values that have no effect; raises ``ConfigError`` for a bad file."""
    named = environ.get("LLMCTL_CONFIG")
    explicit = path or (Path(named).expanduser() if named else None)
    place = explicit or find_paths(environ).config_file
    found = audit(place, environ, required=explicit is not None)
    findings = [_unknown(each) for each in found.unknown]
    findings += [_shadowed(each) for each in found.shadowed]
    where = _settings(found.in_file, f"in {place}") if place.exists() else f"no file {place}"
    detail = f"{where}, {_settings(found.in_environment, 'in variables')}"
    return [_finding("file", CheckState.OK, detail), *findings]


def _settings(number: int, where: str) -> str:
    return f"{number or 'no'} {'setting' if number == 1 else 'settings'} {where}"


def client_findings(environ: Mapping[str, str]) -> list[Finding]:
    """Tell of what this shell holds that would lead Claude Code past the proxy."""
    base = environ.get("ANTHROPIC_BASE_URL", "")
    if not base or addresses.host_of(base).endswith("anthropic.com"):
        return []
    if not environ.get("ANTHROPIC_API_KEY"):
        return []
    detail = (
        f"ANTHROPIC_API_KEY is set beside ANTHROPIC_BASE_URL={base}: Claude Code started by hand "
        "sends that key to it"
    )
    return [_finding("client", CheckState.NOTE, detail, "unset ANTHROPIC_API_KEY")]


def file_findings(environ: Mapping[str, str], paths: Paths) -> list[Finding]:
    """Look at the files that hold secrets: they are refused when others can read them."""
    findings = []
    try:
        override = token_from_environment(environ)
        token = TokenStore(paths.data, override=override).client_token()
    except LlmctlError as failure:
        findings.append(_finding("token", CheckState.BAD, failure.message, failure.hint or ""))
    else:
        where = "LLMCTL_AUTH_TOKEN" if override else str(paths.data / "token")
        detail = f"of the proxy, from {where}" if token else "none yet: llmctl serve makes one"
        findings.append(_finding("token", CheckState.OK, detail))
    secrets = [paths.data / "cache.key", *sorted(paths.data.glob("ssh/*"))]
    open_ones = [path for path in secrets if _is_open(path)]
    findings += [
        _finding(
            "secrets",
            CheckState.BAD,
            f"other users can read {path}",
            f"chmod 600 {shlex.quote(str(path))}",
        )
        for path in open_ones
    ]
    return findings


def _is_open(path: Path) -> bool:
    if path.suffix == ".pub" or not path.is_file():
        return False
    mode = path.stat().st_mode
    return bool(mode & 0o077) and path.stat().st_uid == os.getuid()


def _unknown(found: Unknown) -> Finding:
    hint = f"; {found.suggestion}" if found.suggestion else ""
    if not found.where:
        detail = f"the variable {found.name} is no setting and has no effect{hint}"
        return _finding("variables", CheckState.BAD, detail, f"unset {found.name}")
    detail = f"{found.where}: there is no setting {found.name!r}{hint}"
    return _finding("file", CheckState.BAD, detail, "llmctl config edit")


def _shadowed(found: Shadowed) -> Finding:
    def value(shown: object) -> str:
        return "…" if found.key.rpartition(".")[2] in _SECRETS else repr(shown)

    losers = ", ".join(f"{value(each.value)} from {each.origin}" for each in found.loses)
    detail = (
        f"{found.key} is {value(found.wins.value)} from {found.wins.origin}, which beats {losers}"
    )
    variable = found.wins.origin.kind in ("env", "customary")
    return _finding(
        "shadowed", CheckState.NOTE, detail, f"unset {found.wins.origin}" if variable else ""
    )


def _finding(name: str, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=SECTION, name=name, state=state, detail=detail, fix=fix)
