"""``llmctl ui``."""

import os
from typing import Annotated

import typer

from llmctl.cli import options


def ui(  # noqa: PLR0913  one parameter per option
    *,
    open_it: Annotated[
        bool,
        typer.Option(
            "--open",
            help="Open it in a browser; its command line shows the link for a moment.",
            show_default=False,
        ),
    ] = False,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Print a link to the proxy's page.

    It shows live requests, speed, cache hits, backends, spending and errors,
    and changes nothing. The link logs one browser in, once, within two minutes.

    [bold]Examples[/bold]
    $ llmctl ui
    $ llmctl ui --open
    """
    from llmctl.config.load import load
    from llmctl.ops import running
    from llmctl.ops.page import page_link
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = load(flags={}, environ=os.environ, path=config)
    address = running.find_address(loaded, os.environ, url=url)
    with running.RunningProxy(address, running.find_token(address, os.environ)) as proxy:
        link = page_link(proxy)
    options.put(document(link) if as_json else link.url + "\n")
    if open_it:
        import webbrowser

        if not webbrowser.open(link.url):
            options.say("no browser was found here; open the link in one yourself")
