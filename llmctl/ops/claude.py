"""Finding the Claude Code client and what it is to be started with."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from llmctl.core.errors import NotFound

INSTALL = "npm install -g @anthropic-ai/claude-code"
LEAST_CONTEXT = 24_000
"""Tokens below which the client cannot work: instructions and tools alone take some 20,000."""
SMALL = "--bare"
"""The client's option that leaves most of them out: its smallest request takes about 1,000."""


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


def too_small(context_tokens: int, arguments: Sequence[str]) -> str:
    """Say that the window does not hold the client's own prompt, and the way out; else nothing."""
    if context_tokens >= LEAST_CONTEXT or SMALL in arguments:
        return ""
    return (
        f"the context served is {context_tokens:,} tokens, and Claude Code's instructions and "
        f"tools alone take about 20,000: use llmctl claude {SMALL}, or serve a model with a "
        f"context of {LEAST_CONTEXT:,} or more (llmctl serve --num-ctx 65536)"
    )


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
