"""Finding the Claude Code client and what it is to be started with."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from llmctl.core.errors import NotFound

INSTALL = "npm install -g @anthropic-ai/claude-code"


class Launch(Struct, frozen=True, kw_only=True):
    """A program to become, with its arguments and its whole environment."""

    program: str
    arguments: list[str]
    environment: dict[str, str]


def find_client(environ: Mapping[str, str]) -> str:
    """Return the path of the ``claude`` command: ``LLMCTL_CLAUDE``, else the one on ``PATH``.

    Raises ``NotFound`` where there is none that can be run.
    """
    wanted = environ.get("LLMCTL_CLAUDE")
    name = str(Path(wanted).expanduser()) if wanted else "claude"
    found = shutil.which(name, path=environ.get("PATH", os.defpath))
    if found:
        return found
    if wanted:
        raise NotFound(
            f"LLMCTL_CLAUDE={wanted} is not a program that can be run",
            hint="unset LLMCTL_CLAUDE, or give the path of the claude command",
        )
    raise NotFound("there is no claude command on PATH", hint=INSTALL)


def plan_launch(
    client: str,
    arguments: Sequence[str],
    *,
    variables: Mapping[str, str],
    environ: Mapping[str, str],
) -> Launch:
    """Return what to start: ``arguments`` untouched, ``variables`` over the present environment."""
    return Launch(
        program=client,
        arguments=[client, *arguments],
        environment={**environ, **variables},
    )
