"""The command tree. Commands import what they need when they run, so that help stays fast."""

from typing import Annotated

import typer

from llmctl import __version__
from llmctl.cli.commands import claude, completion, config, env, health, serve, stats, topics

LOOP = "The loop"
REPORTS = "Reports"
INSPECT = "Inspect"
SETUP = "Set-up"

app = typer.Typer(
    name="llmctl",
    help="Claude Code on an open model.",
    epilog="More: llmctl help environment, llmctl help exit-codes, llmctl help config",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"llmctl {__version__}")
        raise typer.Exit


@app.callback()
def root(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Claude Code on an open model."""


app.command("serve", rich_help_panel=LOOP)(serve.serve)
app.command("env", rich_help_panel=LOOP)(env.env)
app.command(
    "claude",
    rich_help_panel=LOOP,
    cls=claude.PassThrough,
    options_metavar="[ARGS]...",
    add_help_option=False,
)(claude.claude)
app.command("health", rich_help_panel=REPORTS)(health.health)
app.command("stats", rich_help_panel=REPORTS)(stats.stats)
app.add_typer(config.app, name="config", rich_help_panel=INSPECT)
app.command("completion", rich_help_panel=SETUP)(completion.completion)
app.command("help", rich_help_panel=SETUP)(topics.show_help)
