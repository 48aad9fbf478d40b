"""``llmctl auth``."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options

if TYPE_CHECKING:
    from llmctl.core.rental import ProviderName

app = typer.Typer(help="Keep the API keys of the markets.", no_args_is_help=True)

Market = Annotated[
    str,
    typer.Argument(
        metavar="PROVIDER",
        help="vast or runpod.",
        autocompletion=candidates.one_of("vast", "runpod"),
    ),
]


@app.command("login")
def login(
    provider: Market,
    *,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Keep an API key in a file that only you can read.

    The key is asked for without showing it, or read from a pipe. A variable
    (VAST_API_KEY, RUNPOD_API_KEY) beats it.

    [bold]Examples[/bold]
    $ llmctl auth login runpod
    $ pass runpod | llmctl auth login runpod
    """
    from llmctl.config.keys import keep_key
    from llmctl.core.paths import find_paths

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    name = market(provider)
    path = keep_key(find_paths(os.environ).data, name, _ask(provider))
    if not quiet:
        options.say(f"kept in {path}; llmctl auth status shows which keys are used")


@app.command("logout")
def logout(
    provider: Market,
    *,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Forget the key that login kept.

    [bold]Examples[/bold]
    $ llmctl auth logout vast
    $ llmctl auth logout runpod --quiet
    """
    from llmctl.config.keys import VARIABLES, forget_key
    from llmctl.core.paths import find_paths

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    name = market(provider)
    existed = forget_key(find_paths(os.environ).data, name)
    if not quiet:
        options.say(f"forgotten the key of {provider}" if existed else "there was none")
        if os.environ.get(VARIABLES[name]):
            options.say(f"{VARIABLES[name]} is still set")


@app.command("status")
def status(
    *,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show which keys would be used, by source and last four characters.

    [bold]Examples[/bold]
    $ llmctl auth status
    $ llmctl auth status --json
    """
    from llmctl.config.keys import VARIABLES, find_key
    from llmctl.core.paths import find_paths
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    data = find_paths(os.environ).data
    keys = {name.value: find_key(name, os.environ, data) for name in VARIABLES}
    shown = {name: key.hint if key else None for name, key in keys.items()}
    if as_json:
        options.put(document([{"provider": name, "key": key} for name, key in shown.items()]))
    else:
        options.put(table([[name, key or "no key"] for name, key in shown.items()]))


def market(text: str) -> "ProviderName":
    """Return the market of that name; raises ``ConfigError``."""
    from llmctl.config.keys import VARIABLES
    from llmctl.core.errors import ConfigError

    for name in VARIABLES:
        if name.value == text.strip().lower():
            return name
    raise ConfigError(f"no market is called {text!r}: expected vast or runpod")


def _ask(provider: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    from getpass import getpass

    return getpass(f"API key of {provider} (not shown): ", stream=sys.stderr)
