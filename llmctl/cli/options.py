"""Options that several commands share, each spelled and explained once."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmctl.cli import candidates
from llmctl.config.names import CUSTOMARY, env_name

COMMON = "Common options"

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document on stdout.",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", help="Say only what failed.", show_default=False, rich_help_panel=COMMON
    ),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        help="Say what happens; -vv also says how (env: LLMCTL_DEBUG=1 for tracebacks).",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
NoColor = Annotated[
    bool,
    typer.Option(
        "--no-color",
        help="Do without colours (env: NO_COLOR).",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Configuration file (env: LLMCTL_CONFIG).",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        help="Address of the proxy (env: ANTHROPIC_BASE_URL).",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]

Yes = Annotated[
    bool,
    typer.Option(
        "--yes",
        "-y",
        help="Agree beforehand; needed where nobody can be asked.",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Show the plan and change nothing.",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        metavar="FILE",
        help="File with the API key (env: VAST_API_KEY, RUNPOD_API_KEY).",
        show_default=False,
        rich_help_panel=COMMON,
    ),
]
Name = Annotated[
    str | None,
    typer.Argument(
        metavar="NAME",
        help="Which instance; without it the only one.",
        autocompletion=candidates.instances,
        show_default=False,
    ),
]


def variables(key: str) -> str:
    """Return the note on a setting's variables for its option's help."""
    names = [env_name(key), *([CUSTOMARY[key]] if key in CUSTOMARY else [])]
    return f"(env: {', '.join(names)})"


def begin(
    *, verbose: int = 0, quiet: bool = False, no_color: bool = False, as_json: bool = False
) -> None:
    """Apply the options that every command has."""
    from llmctl.core import logs

    if no_color:
        os.environ["NO_COLOR"] = "1"
    level = logging.ERROR if quiet else logging.WARNING
    if verbose:
        level = logging.DEBUG if verbose > 1 else logging.INFO
    logs.setup(level=level, as_json=as_json)


def only_errors() -> None:
    """Log no warnings from now on: for commands whose answer holds them."""
    logging.getLogger("llmctl").setLevel(logging.ERROR)


def put(text: str) -> None:
    """Write an answer to stdout."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """Write talk to stderr."""
    sys.stderr.write(text + "\n")
