"""``llmctl doctor``."""

import os
import sys
from typing import TYPE_CHECKING

import typer

from llmctl.cli import options
from llmctl.core.errors import ExitCode

if TYPE_CHECKING:
    from llmctl.config.load import Loaded
    from llmctl.core.reports_health import DoctorReport
    from llmctl.ops.machines import Machine


def doctor(
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Check everything llmctl needs, each with what to type about it.

    This machine, the configuration, the keys and what credit they have left, the
    network, Redis, engines, GPU memory. It changes nothing. The exit code is 3
    when something has to be done.

    [bold]Examples[/bold]
    $ llmctl doctor
    $ llmctl doctor --quiet
    $ llmctl doctor --json
    """
    import asyncio

    from llmctl.core.clock import SystemClock
    from llmctl.core.paths import find_paths
    from llmctl.ops.doctor.examine import Patient, examine
    from llmctl.render.watch import busy

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    if not verbose:  # what the parts log of their troubles is found, and told, as well
        options.only_errors()
    patient = Patient(
        environ=os.environ,
        paths=find_paths(os.environ),
        clock=SystemClock(),
        stream=sys.stdout,
        machines=_machines,
        config=config,
    )
    with busy(sys.stderr, os.environ, "checking", quiet=quiet or as_json):
        report = asyncio.run(examine(patient))
    if as_json or not (quiet and report.healthy):
        options.put(_shown(report, as_json=as_json, quiet=quiet))
    if not report.healthy:
        raise typer.Exit(ExitCode.UNHEALTHY)


async def _machines(loaded: "Loaded") -> "list[Machine]":
    from llmctl.ops.machines import look_at_machines
    from llmctl.renting import Renting

    async with Renting(loaded, os.environ).world(lambda _step: None) as world:
        return await look_at_machines(world)


def _shown(report: "DoctorReport", *, as_json: bool, quiet: bool) -> str:
    from llmctl.render.checks import columns
    from llmctl.render.doctor import doctor_document, doctor_text
    from llmctl.render.errors import wants_colour
    from llmctl.render.json import document

    if as_json:
        return document(doctor_document(report))
    colour = wants_colour(sys.stdout, os.environ)
    return doctor_text(report, width=columns(sys.stdout), colour=colour, quiet=quiet)
