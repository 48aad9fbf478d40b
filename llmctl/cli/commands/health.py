"""``llmctl health``."""

import os

import typer

from llmctl.cli import options
from llmctl.core.errors import ExitCode


def health(
    *,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Ask the running proxy how it is.

    The exit code is 3 when it does not answer or cannot serve.

    [bold]Examples[/bold]
    $ llmctl health
    $ llmctl health --json
    """
    from llmctl.config.load import load
    from llmctl.ops import running
    from llmctl.ops.health import check
    from llmctl.render.health import health_text
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = load(flags={}, environ=os.environ, path=config)
    address = running.find_address(loaded, os.environ, url=url)
    with running.RunningProxy(address, running.find_token(address, os.environ)) as proxy:
        checked = check(proxy)
    if as_json:
        options.put(document(checked.document))
    elif not (quiet and checked.health.serving):
        options.put(health_text(checked.health, address.url))
    if not checked.health.serving:
        raise typer.Exit(ExitCode.UNHEALTHY)
