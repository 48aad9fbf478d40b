"""``llmctl env``."""

import logging
import os
import sys
from typing import Annotated

import typer

from llmctl.cli import candidates, options

log = logging.getLogger(__name__)


def env(  # noqa: PLR0913  one parameter per option
    *,
    shell: Annotated[
        str,
        typer.Option(
            metavar="SHELL",
            help="sh (bash, zsh, dash), fish or powershell.",
            autocompletion=candidates.one_of("sh", "fish", "powershell"),
        ),
    ] = "sh",
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Print the variables that point Claude Code at llmctl.

    The token is among them. Model and context are what the running proxy says;
    without one they are taken from the configuration.

    [bold]Examples[/bold]
    $ eval "$(llmctl env)"
    $ llmctl env --shell fish | source
    $ llmctl env --shell powershell | Out-String | Invoke-Expression
    """
    from llmctl.config.load import load
    from llmctl.core.errors import BackendError, ConfigError
    from llmctl.ops import running
    from llmctl.ops.env import assume, claude_environment
    from llmctl.render.json import document
    from llmctl.render.shells import Shell, assignments

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    if shell not in list(Shell):
        known = ", ".join(Shell)
        raise ConfigError(f"--shell cannot be {shell!r}: expected one of {known}")
    _check_url(url)
    loaded = load(flags={}, environ=os.environ, path=config)
    address = running.find_address(loaded, os.environ, url=url)
    token = running.find_token(address, os.environ)
    try:
        with running.RunningProxy(address, token) as proxy:
            served = running.ask_what_is_served(proxy)
    except BackendError as failure:
        served = assume(loaded.config, address.url)
        log.warning("%s; model and context are from the configuration", failure.message)
    if token is None and loaded.config.serve.auth:
        log.warning(
            "no token is known for %s; set LLMCTL_AUTH_TOKEN, or start llmctl serve, "
            "which makes one",
            address.url,
        )
    variables = claude_environment(
        served, token=token, timeouts=loaded.config.timeouts, environ=os.environ
    )
    options.put(document(variables) if as_json else assignments(variables, Shell(shell)))
    if sys.stdout.isatty() and not as_json and not quiet:
        options.say('# eval "$(llmctl env)" sets them in this shell')


def _check_url(url: str | None) -> None:
    """Raise ``ConfigError`` for an address that no client could use."""
    from llmctl.core.errors import ConfigError

    if url is not None and not url.startswith(("http://", "https://")):
        raise ConfigError(
            f"--url cannot be {url!r}: expected an address that starts with http:// or https://",
            hint="llmctl env --url http://127.0.0.1:8000",
        )
