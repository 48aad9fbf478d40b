"""Variables as commands for a shell, quoted by that shell's own rules."""

import re
import shlex
from collections.abc import Callable, Mapping
from enum import StrEnum


class Shell(StrEnum):
    """Shells whose syntax is known; ``sh`` serves bash, zsh, dash and their kin."""

    SH = "sh"
    FISH = "fish"
    POWERSHELL = "powershell"


def assignments(variables: Mapping[str, str], shell: Shell) -> str:
    """Return one command a line that sets each variable for the programs started later."""
    line = _LINES[shell]
    return "".join(line(name, value) + "\n" for name, value in variables.items())


def packed_exports(words: Mapping[str, str], *, width: int) -> list[str]:
    """Return ``export A=1 B=2`` lines for sh, as many to a line as fit into ``width`` columns.

    The values are shell words: quoted already, or a substitution such as ``"$(cat file)"``.
    """
    lines: list[str] = []
    for name, word in words.items():
        assignment = f"{name}={word}"
        if lines and len(lines[-1]) + 1 + len(assignment) <= width:
            lines[-1] += f" {assignment}"
        else:
            lines.append(f"export {assignment}")
    return lines


def _sh(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _fish(name: str, value: str) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{quoted}'"


def _powershell(name: str, value: str) -> str:
    # PowerShell ends a string at any of the typographic single quotes as well
    quoted = re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", value)
    return f"$env:{name} = '{quoted}'"


_LINES: dict[Shell, Callable[[str, str], str]] = {
    Shell.SH: _sh,
    Shell.FISH: _fish,
    Shell.POWERSHELL: _powershell,
}
