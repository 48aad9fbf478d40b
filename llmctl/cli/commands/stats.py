"""``llmctl stats``."""

import logging
import os
from typing import Annotated

import typer

from llmctl.cli import options

log = logging.getLogger(__name__)


def stats(  # noqa: PLR0913  one parameter per option
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only the last 24h, 90m, 7d ...", show_default=False),
    ] = None,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show requests, tokens and cache hits.

    While the proxy is down they are read from its file. Prompt and answer are
    tokens; "first ms" is the median time to the first of an answer.

    [bold]Examples[/bold]
    $ llmctl stats
    $ llmctl stats --since 24h
    $ llmctl stats --json
    """
    import time

    from llmctl.config.load import load
    from llmctl.config.quantities import seconds
    from llmctl.core.errors import ConfigError
    from llmctl.core.paths import find_paths
    from llmctl.ops import running
    from llmctl.ops.stats import collect
    from llmctl.render.json import document
    from llmctl.render.stats import stats_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    try:
        start = None if since is None else time.time() - seconds(since)
    except ValueError as reason:
        raise ConfigError(f"--since cannot be {since!r}: {reason}") from None
    loaded = load(flags={}, environ=os.environ, path=config)
    address = running.find_address(loaded, os.environ, url=url)
    with running.RunningProxy(address, running.find_token(address, os.environ)) as proxy:
        report = collect(proxy, find_paths(os.environ).ledger_file, since=start)
    if report.source != address.url:
        log.warning("no proxy answers at %s; read from %s", address, report.source)
    options.put(document(report.summary) if as_json else stats_text(report.summary))
