"""The command tree. Commands import what they need when they run, so that help stays fast."""

from typing import Annotated

import typer

from llmctl import __version__
from llmctl.cli.commands import (
    auth,
    bench,
    cache,
    claude,
    completion,
    config,
    cost,
    doctor,
    down,
    env,
    health,
    instance,
    machine,
    model,
    offer,
    profile,
    serve,
    stats,
    status,
    token,
    topics,
    tunnel,
    ui,
    up,
)

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


app.command("up", rich_help_panel=LOOP)(up.up)
app.command("down", rich_help_panel=LOOP)(down.down)
app.command("stop", rich_help_panel=LOOP)(down.stop)
app.command("start", rich_help_panel=LOOP)(down.start)
app.command("status", rich_help_panel=LOOP)(status.status)
app.command("serve", rich_help_panel=LOOP)(serve.serve)
app.command("tunnel", rich_help_panel=LOOP)(tunnel.tunnel)
app.command(
    "ssh",
    rich_help_panel=LOOP,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(machine.ssh)
app.command("logs", rich_help_panel=LOOP)(machine.logs)
app.command("env", rich_help_panel=LOOP)(env.env)
app.command(
    "claude",
    rich_help_panel=LOOP,
    cls=claude.PassThrough,
    options_metavar="[ARGS]...",
    add_help_option=False,
)(claude.claude)
app.command("health", rich_help_panel=REPORTS)(health.health)
app.command("doctor", rich_help_panel=REPORTS)(doctor.doctor)
app.command("bench", rich_help_panel=REPORTS)(bench.bench)
app.command("stats", rich_help_panel=REPORTS)(stats.stats)
app.command("cost", rich_help_panel=REPORTS)(cost.cost)
app.command("ui", rich_help_panel=REPORTS)(ui.ui)
app.add_typer(offer.app, name="offer", rich_help_panel=INSPECT)
app.add_typer(instance.app, name="instance", rich_help_panel=INSPECT)
app.add_typer(model.app, name="model", rich_help_panel=INSPECT)
app.add_typer(cache.app, name="cache", rich_help_panel=INSPECT)
app.add_typer(config.app, name="config", rich_help_panel=INSPECT)
app.add_typer(profile.app, name="profile", rich_help_panel=SETUP)
app.add_typer(auth.app, name="auth", rich_help_panel=SETUP)
app.add_typer(token.app, name="token", rich_help_panel=SETUP)
app.command("completion", rich_help_panel=SETUP)(completion.completion)
app.command("help", rich_help_panel=SETUP)(topics.show_help)
