"""``llmctl profile``."""

import os
from typing import Annotated

import typer

from llmctl.cli import candidates, options

app = typer.Typer(help="Sets of answers for up.", no_args_is_help=True)


@app.command("list")
def list_profiles(
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List the profiles, built-in ones and yours.

    [bold]Examples[/bold]
    $ llmctl profile list
    $ llmctl up --profile cheap --dry-run
    """
    from llmctl.config.load import load
    from llmctl.ops.rent.spec import profile_fields, profiles
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    found = profiles(load(flags={}, environ=os.environ, path=config))
    if as_json:
        options.put(document([{"name": name, **profile_fields(p)} for name, p in found.items()]))
    else:
        options.put(table([[name, p.description or "yours"] for name, p in found.items()]))


@app.command("show")
def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Which profile.", autocompletion=candidates.profiles),
    ],
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show what a profile says; what it leaves open comes from the configuration.

    [bold]Examples[/bold]
    $ llmctl profile show fast
    $ llmctl profile show fast --json
    """
    from llmctl.config.load import load
    from llmctl.ops.rent.spec import find_profile, profile_fields
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    fields = profile_fields(find_profile(load(flags={}, environ=os.environ, path=config), name))
    if as_json:
        options.put(document({"name": name, **fields}))
    else:
        options.put(table([[key, str(value)] for key, value in fields.items()]))
