"""``llmctl stats``."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options, times

if TYPE_CHECKING:
    from datetime import tzinfo

    from llmctl.config.load import Loaded
    from llmctl.ops.stats import Report

_PERIODS = ("hour", "day", "month")
_GROUPS = ("model", "tenant", "backend")

By = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="WHAT",
        help="hour, day, month, model, tenant or backend; hours of the last two days.",
        autocompletion=candidates.one_of(*_PERIODS, *_GROUPS),
        show_default=False,
    ),
]
Watch = Annotated[
    bool,
    typer.Option("--watch", help="Show what goes on now, until Ctrl-C.", show_default=False),
]
Every = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.2, help="Time between two looks with --watch."),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.", show_default=False)]


def stats(  # noqa: PLR0913  one parameter per option
    *,
    by: By = None,
    since: times.Since = None,
    until: times.Until = None,
    timezone: times.ZoneName = None,
    as_csv: Csv = False,
    watch: Watch = False,
    every: Every = 1.0,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show requests, cache hits by tier, tokens, speed, waiting times and errors.

    It reads the ledger of this machine, whether the proxy runs or not; with
    --url it asks a proxy. In tables "in" and "out" are tokens, "tok/s" how fast
    an engine wrote, p50 to p99 the time to an answer's first token. --watch
    needs a running proxy; with --json it prints a document a look.

    [bold]Examples[/bold]
    $ llmctl stats
    $ llmctl stats --since 24h --by hour
    $ llmctl stats --by tenant --since 2026-11-01 --csv
    $ llmctl stats --watch
    """
    import time

    from llmctl.config.load import load
    from llmctl.core.errors import ConfigError
    from llmctl.ops.cost_days import find_zone

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    if by is not None and by not in (*_PERIODS, *_GROUPS):
        raise ConfigError(f"--by cannot be {by!r}", hint=f"one of {', '.join(_PERIODS + _GROUPS)}")
    if as_csv and as_json:
        raise ConfigError("--csv and --json cannot be combined", hint="leave one of them out")
    loaded = load(flags={"budget.timezone": timezone}, environ=os.environ, path=config)
    if watch:
        from llmctl.cli import live

        if by or since or until or as_csv:
            raise ConfigError("--watch is about now: only --url, --every and --json go with it")
        live.watch(loaded, url, every_s=every, as_json=as_json)
        return
    zone = find_zone(loaded.config.budget.timezone)
    since = "2d" if by == "hour" and since is None else since
    limits = times.read_limits(since, until, now=time.time(), zone=zone)
    report = _report(loaded, url, by=by, limits=limits, zone=zone)
    _put(report, by, zone, as_json=as_json, as_csv=as_csv)


def _report(
    loaded: "Loaded",
    url: str | None,
    *,
    by: str | None,
    limits: tuple[float | None, float | None],
    zone: "tzinfo | None",
) -> "Report":
    from typing import cast

    from llmctl.core.paths import find_paths
    from llmctl.ledger.periods import By as Period
    from llmctl.ops import running
    from llmctl.ops.stats import Query, collect

    address = running.find_address(loaded, os.environ, url=url)
    return collect(
        Query(
            since=limits[0],
            until=limits[1],
            by=cast("Period", by) if by in _PERIODS else None,
            zone=zone,
        ),
        ledger=find_paths(os.environ).ledger_file,
        connect=lambda: running.RunningProxy(address, running.find_token(address, os.environ)),
        elsewhere=url is not None or not running.is_here(address),
    )


def _put(
    report: "Report", by: str | None, zone: "tzinfo | None", *, as_json: bool, as_csv: bool
) -> None:
    from llmctl.ledger.queries import LedgerSeries
    from llmctl.render import stats as shown
    from llmctl.render.checks import columns

    answer = report.answer
    if as_json:
        options.put(shown.stats_document(answer, report.source))
    elif as_csv:
        options.put(shown.stats_csv(answer, by=by or "model"))
    elif isinstance(answer, LedgerSeries):
        options.put(shown.series_text(answer, zone=zone, width=columns(sys.stdout)))
    else:
        options.put(shown.stats_text(answer, by=by, width=columns(sys.stdout)))
