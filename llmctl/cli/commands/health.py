"""``llmctl health``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import options
from llmctl.core.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmctl.config.load import Loaded
    from llmctl.core.reports_health import AnyLink, HealthReport
    from llmctl.ops.health import Looks


def health(  # noqa: PLR0913  one parameter per option
    *,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also have one real answer made, past the cache.", show_default=False
        ),
    ] = False,
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Look again and again until Ctrl-C.", show_default=False),
    ] = False,
    every: Annotated[
        float,
        typer.Option(metavar="SECONDS", min=0.5, help="Time between two looks with --watch."),
    ] = 2.0,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Look at every link from a client to the model.

    Proxy, token, caches, ledger, engines, tunnels, machines: each on a line with
    its latency, and with what to type where something is wrong. Without a proxy
    it looks at what serve would use. The exit code is 3 when anything is unwell.

    [bold]Examples[/bold]
    $ llmctl health
    $ llmctl health --deep
    $ llmctl health --watch --json
    """
    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    looks = _looks(config, url, deep=deep)
    if not verbose:  # what the parts log of their troubles is shown, too
        options.only_errors()
    if watch:
        report = _watch(looks, every, as_json=as_json)
    else:
        report = _once(looks, quiet=quiet or as_json)
        if as_json or not (quiet and report.healthy):
            options.put(_shown(report, as_json=as_json))
    if report is not None and not report.healthy:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _looks(config: Path | None, url: str | None, *, deep: bool) -> "Looks":
    from llmctl.config.load import load
    from llmctl.ops.chain import looks_of

    loaded = load(flags={}, environ=os.environ, path=config)
    return looks_of(loaded, os.environ, url=url, machines=_machines(loaded), deep=deep)


def _machines(loaded: "Loaded") -> "Callable[[], Awaitable[list[AnyLink]]]":
    """Return what looks at the machines on record; it is called where there is one."""

    async def look() -> "list[AnyLink]":
        from llmctl.ops.machines import look_at_machines, machine_links
        from llmctl.renting import Renting

        async with Renting(loaded, os.environ).world(lambda _step: None) as world:
            machines = await look_at_machines(world)
            now = world.clock.now()
        return [link for machine in machines for link in machine_links(machine, now)]

    return look


def _once(looks: "Looks", *, quiet: bool) -> "HealthReport":
    import asyncio

    from llmctl.ops.health import examine
    from llmctl.render.watch import busy

    with busy(sys.stderr, os.environ, "looking at every link", quiet=quiet):
        return asyncio.run(examine(looks))


def _shown(report: "HealthReport", *, as_json: bool) -> str:
    from llmctl.render.checks import columns
    from llmctl.render.errors import wants_colour
    from llmctl.render.health import health_document, health_text
    from llmctl.render.json import document

    if as_json:
        return document(health_document(report))
    colour = wants_colour(sys.stdout, os.environ)
    return health_text(report, width=columns(sys.stdout), colour=colour)


def _watch(looks: "Looks", every_s: float, *, as_json: bool) -> "HealthReport | None":
    """Show one look after the other until Ctrl-C; returns the last one."""
    import contextlib

    from llmctl.cli import interrupt
    from llmctl.core.errors import Cancelled

    seen: list[HealthReport] = []
    with contextlib.suppress(Cancelled):  # Ctrl-C is how it ends
        work = _show_again_and_again(looks, every_s, seen, as_json=as_json)
        interrupt.run(work, leftover=lambda: Cancelled("interrupted"), quiet=True)
    return seen[-1] if seen else None


async def _show_again_and_again(
    looks: "Looks", every_s: float, seen: "list[HealthReport]", *, as_json: bool
) -> None:
    import asyncio

    from llmctl.ops.health import examine
    from llmctl.render.health import health_document
    from llmctl.render.json import line
    from llmctl.render.watch import is_live, screen

    live = not as_json and is_live(sys.stdout, os.environ)
    with screen(sys.stdout, live=live) as show:
        if live:
            show("looking at every link")
        while True:
            report = await examine(looks)
            seen[:] = [report]
            if as_json:
                options.put(line(health_document(report)))
            else:
                show(_shown(report, as_json=False))
            await asyncio.sleep(every_s)
