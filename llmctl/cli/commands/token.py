"""``llmctl token``."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import options

if TYPE_CHECKING:
    from llmctl.config.secrets import TokenStore

app = typer.Typer(
    help="Tokens for others who use your proxy; each has a cache of their own.",
    no_args_is_help=True,
)

Tenant = Annotated[str, typer.Argument(metavar="NAME", help="Whose token it is.")]


@app.command("add")
def add(
    name: Tenant,
    *,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Make a token and print it, this once.

    A running proxy takes it within a second. What they ask is neither shown to
    others nor answered from what others asked.

    [bold]Examples[/bold]
    $ llmctl token add ada
    $ llmctl token add ci --json
    """
    from llmctl.config.tokens import add_token
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    token = add_token(_store(), name)
    if as_json:
        options.put(document({"name": name, "token": token.reveal()}))
        return
    options.put(token.reveal() + "\n")
    if not quiet:
        options.say(f"shown this once; {name} sets ANTHROPIC_AUTH_TOKEN to it")


@app.command("list")
def list_tokens(
    *,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List who has tokens; the tokens themselves are kept nowhere.

    [bold]Examples[/bold]
    $ llmctl token list
    $ llmctl token list --json
    """
    from llmctl.config.tokens import tenants
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    found = tenants(_store())
    if as_json:
        options.put(document([{"name": name, "tokens": count} for name, count in found.items()]))
    elif found:
        options.put(
            table(
                [
                    [name, f"{count} tokens" if count > 1 else "1 token"]
                    for name, count in found.items()
                ]
            )
        )
    else:
        options.say("nobody yet; llmctl serve makes the first one, llmctl token add NAME others")


@app.command("remove")
def remove(
    name: Tenant,
    *,
    yes: options.Yes = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Remove all tokens of somebody; a running proxy refuses them within a second.

    [bold]Examples[/bold]
    $ llmctl token remove ada
    $ llmctl token remove ada --yes
    """
    from llmctl.cli.confirm import confirm
    from llmctl.config.tokens import remove_tokens

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    confirm(f"Remove the tokens of {name}?", yes=yes)
    count = remove_tokens(_store(), name)
    options.put(f"removed {count} {'token' if count == 1 else 'tokens'} of {name}\n")


def _store() -> "TokenStore":
    from llmctl.config.secrets import TokenStore, token_from_environment
    from llmctl.core.paths import find_paths

    return TokenStore(find_paths(os.environ).data, override=token_from_environment(os.environ))
