"""``llmctl config``."""

import os
from typing import Annotated

import typer

from llmctl.cli import options

app = typer.Typer(help="Show what is configured and where it comes from.", no_args_is_help=True)


@app.command("show")
def show(
    *,
    origin: Annotated[
        bool,
        typer.Option("--origin", help="Show where each value comes from.", show_default=False),
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Print every setting as it is now; secrets are never among them.

    [bold]Examples[/bold]
    $ llmctl config show
    $ llmctl config show --origin
    $ llmctl config show --json
    """
    from llmctl.config.load import load
    from llmctl.render.settings import settings_document, settings_table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = load(flags={}, environ=os.environ, path=config)
    if as_json:
        options.put(settings_document(loaded.config, loaded.origins if origin else None))
    else:
        options.put(settings_table(loaded.config, loaded.origins if origin else None))


@app.command("path")
def path(*, as_json: options.Json = False) -> None:
    """Print the path of the configuration file, whether it exists or not.

    [bold]Examples[/bold]
    $ llmctl config path
    $ ${EDITOR:-vi} "$(llmctl config path)"
    """
    from pathlib import Path

    from llmctl.core.paths import find_paths
    from llmctl.render.json import document

    named = os.environ.get("LLMCTL_CONFIG")
    found = Path(named).expanduser() if named else find_paths(os.environ).config_file
    options.put(
        document({"path": str(found), "exists": found.exists()}) if as_json else f"{found}\n"
    )
