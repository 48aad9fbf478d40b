"""``llmctl claude``."""

import logging
import os
import sys
from typing import Any

import typer
from typer.core import TyperCommand

from llmctl.cli import options

log = logging.getLogger(__name__)


class PassThrough(TyperCommand):
    """A command that reads none of its arguments, ``--help`` and ``--`` included."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        ctx.args = list(args)
        return args


def claude(ctx: typer.Context) -> None:
    """Run Claude Code on the running proxy.

    All arguments are passed on to it, --help included.

    [bold]Examples[/bold]
    $ llmctl claude
    $ llmctl claude -p "Explain this repository"
    $ llmctl claude --continue
    """
    from llmctl.config.load import load
    from llmctl.core.errors import LlmctlError
    from llmctl.ops import running
    from llmctl.ops.claude import find_client, plan_launch, too_small
    from llmctl.ops.env import claude_environment

    options.begin()
    client = find_client(os.environ)
    loaded = load(flags={}, environ=os.environ)
    address = running.find_address(loaded, os.environ)
    token = running.find_token(address, os.environ)
    with running.RunningProxy(address, token) as proxy:
        served = running.ask_what_is_served(proxy)
    if warning := too_small(served.context_tokens, ctx.args):
        log.warning("%s", warning)
    launch = plan_launch(
        client,
        ctx.args,
        variables=claude_environment(
            served, token=token, timeouts=loaded.config.timeouts, environ=os.environ
        ),
        environ=os.environ,
    )
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execve(launch.program, launch.arguments, launch.environment)  # noqa: S606
    except OSError as failure:
        raise LlmctlError(f"cannot run {launch.program}: {failure.strerror}") from failure
