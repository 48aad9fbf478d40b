"""Writes the manual page out of the command tree: ``python -m tests.manual`` renews docs/llmctl.1.

Its language is that of man(7), which groff and mandoc both read.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmctl.cli.commands import topics
from llmctl.cli.options import COMMON
from tests.command_tree import Leaf, leaves

PAGE = Path(__file__).parent.parent / "docs" / "llmctl.1"
FILES = {
    "$XDG_CONFIG_HOME/llmctl/config.toml": "Settings; llmctl config path prints where it is.",
    "$XDG_DATA_HOME/llmctl": "Tokens and keys, for you alone. Keep a copy.",
    "$XDG_STATE_HOME/llmctl": "The ledger, and what is rented.",
    "$XDG_CACHE_HOME/llmctl": "Answers. May be deleted.",
}


def manual() -> str:
    """Return the page."""
    commands = list(leaves())
    parts = [
        '.TH LLMCTL 1 "" llmctl "User Commands"',
        ".SH NAME",
        text("llmctl - Claude Code on an open model"),
        ".SH SYNOPSIS",
        r".B llmctl",
        r".I COMMAND",
        text("[ARGUMENT ...] [OPTION ...]"),
        ".SH DESCRIPTION",
        text(
            "llmctl rents a GPU, tunnels to it, and serves it through a caching proxy with the "
            "Messages API of Anthropic. What a command prints on standard output is its answer; "
            "talk goes to standard error. Options may stand before and after arguments."
        ),
        ".SH COMMANDS",
        *(line for leaf in commands for line in section(leaf)),
        ".SH COMMON OPTIONS",
        text("Most commands take these as well."),
        *(line for option in common(commands) for line in entry(option)),
        ".SH EXIT STATUS",
        *table(re.split(r"\s{2,}", line, maxsplit=1) for line in exit_codes()),
        ".SH ENVIRONMENT",
        *literal(topics._ENVIRONMENT),
        ".SH FILES",
        text("LLMCTL_HOME puts all of them below one directory."),
        *table(FILES.items()),
    ]
    return "\n".join(parts) + "\n"


def section(leaf: Leaf) -> list[str]:
    """Return the lines on one command."""
    arguments = [each for each in leaf.parameters if each.param_type_name == "argument"]
    words = [leaf.name, *(named(each) for each in arguments)]
    own = [each for each in leaf.parameters if getattr(each, "rich_help_panel", None) != COMMON]
    lines = [f".SS {quoted(' '.join(words))}"]
    for number, paragraph in enumerate(leaf.paragraphs):
        lines += [".PP"] * bool(number) + [text(paragraph)]
    for parameter in own:
        lines += entry(parameter)
    if leaf.examples:
        lines += [".PP", "Examples:", ".PP", ".nf", ".RS"]
        lines += [text(example) for example in leaf.examples]
        lines += [".RE", ".fi"]
    return lines


def entry(parameter: Any) -> list[str]:
    """Return an option or argument with its explanation."""
    return [".TP", f".B {quoted(named(parameter))}", text(help_of(parameter))]


def named(parameter: Any) -> str:
    metavar = parameter.metavar or ""
    if parameter.param_type_name == "argument":
        return metavar if parameter.required else f"[{metavar.strip('[]')}]"
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    flag = parameter.is_flag or getattr(parameter, "count", False)
    return names if flag else f"{names} {metavar or 'N'}"


def help_of(parameter: Any) -> str:
    shown = getattr(parameter, "help", None) or ""
    default = parameter.default
    if getattr(parameter, "show_default", False) and default not in (None, False, (), []):
        shown += (
            f" Default: {default:g}." if isinstance(default, float) else f" Default: {default}."
        )
    return shown


def common(commands: Iterable[Leaf]) -> list[Any]:
    """Return the options that commands share, each once."""
    found = {
        parameter.opts[0]: parameter
        for leaf in commands
        for parameter in leaf.parameters
        if getattr(parameter, "rich_help_panel", None) == COMMON
    }
    return [found[name] for name in sorted(found)]


def exit_codes() -> list[str]:
    return topics._EXIT_CODES.splitlines()


def table(rows: Iterable[Iterable[str]]) -> list[str]:
    lines = []
    for term, meaning in rows:
        lines += [".TP", f".B {quoted(term)}", text(meaning)]
    return lines


def literal(block: str) -> list[str]:
    return [".nf", *(text(line) for line in block.splitlines()), ".fi"]


def text(line: str) -> str:
    """Return one line for the formatter: nothing in it is taken for a request of its own."""
    escaped = line.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")
    escaped = escaped.replace("`", r"\(ga").replace("^", r"\(ha").replace("~", r"\(ti")
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) else escaped


def quoted(line: str) -> str:
    """Return an argument of a macro."""
    return '"' + text(line).replace('"', r"\(dq") + '"'


if __name__ == "__main__":
    os.environ["NO_COLOR"] = "1"
    PAGE.write_text(manual())
