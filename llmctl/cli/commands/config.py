"""``llmctl config``."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmctl.cli import candidates, options
from llmctl.core.errors import ConfigError

app = typer.Typer(
    help="Show and change what is configured, and where it comes from.", no_args_is_help=True
)


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
def path(*, config: options.ConfigFile = None, as_json: options.Json = False) -> None:
    """Print the path of the configuration file, whether it exists or not.

    [bold]Examples[/bold]
    $ llmctl config path
    $ cp "$(llmctl config path)" ~/dotfiles/llmctl.toml
    """
    from llmctl.render.json import document

    found = _file(config)
    options.put(
        document({"path": str(found), "exists": found.exists()}) if as_json else f"{found}\n"
    )


@app.command("set")
def set_value(  # noqa: PLR0913  one parameter per option
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY", help="As config show has it.", autocompletion=candidates.settings
        ),
    ],
    value: Annotated[str, typer.Argument(metavar="VALUE", help="24h, 1GiB, lists with commas.")],
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Set one value in the configuration file; comments stay.

    A file that would not be valid is not written. A running proxy reads it at
    its next start.

    [bold]Examples[/bold]
    $ llmctl config set serve.port 8080
    $ llmctl config set cache.ttl_s 12h
    $ llmctl config set backend ollama:http://10.0.0.5:11434
    """
    from llmctl.config.edit import set_value as change
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    changed = change(_file(config), key, value, environ=os.environ)
    options.put(document(changed) if as_json else f"{key} is set in {changed.path}\n")
    if changed.shadowed_by and not quiet:
        options.say(f"warning: {changed.shadowed_by} is set here, and beats the file")


@app.command("edit")
def edit(
    *,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Open the configuration file in your editor, and check it afterwards.

    The editor is that of VISUAL or EDITOR, else vi. It works on a copy: what is
    not valid does not take the place of the file.

    [bold]Examples[/bold]
    $ llmctl config edit
    $ EDITOR=nano llmctl config edit
    """
    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    from llmctl.config.edit import copy_of, read_text

    found = _file(config)
    before = read_text(found)
    changed = _edited(copy_of(found, before), found, before)
    if not quiet:
        options.say(f"{found} is as you left it" if changed else "nothing was changed")


def _edited(copy: Path, file: Path, before: str) -> bool:
    """Let the copy be edited until it is valid, or the operator has had enough."""
    from llmctl.config.edit import take

    while True:
        _open_editor(copy)
        try:
            return take(copy, file, before)
        except ConfigError as error:
            if not _again(error):
                hint = f"what you wrote is in {copy}"
                raise ConfigError(error.message, hint=hint) from None


def _file(config: Path | None) -> Path:
    from llmctl.core.paths import find_paths

    named = os.environ.get("LLMCTL_CONFIG")
    return config or (Path(named).expanduser() if named else find_paths(os.environ).config_file)


def _open_editor(file: Path) -> None:
    import shlex
    import subprocess

    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        ended = subprocess.run([*shlex.split(command), str(file)], check=False)  # noqa: S603  theirs
    except (OSError, ValueError) as failure:
        file.unlink()
        raise ConfigError(
            f"the editor {command!r} cannot be started: {failure}",
            hint="EDITOR=nano llmctl config edit",
        ) from failure
    if ended.returncode:
        file.unlink()
        raise ConfigError(f"{command!r} ended with {ended.returncode}; nothing was changed")


def _again(error: ConfigError) -> bool:
    """Ask whether to go on editing; no where nobody can be asked."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    sys.stderr.write(f"{error.message}\nEdit again? [Y/n] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("", "y", "yes")
