"""``llmctl cost``."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import options, times
from llmctl.cli.options import variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from llmctl.config.load import Loaded
    from llmctl.core.billing import Bill
    from llmctl.core.paths import Paths
    from llmctl.core.rental import ProviderName
    from llmctl.core.reports_cost import CostReport
    from llmctl.ops.cost import CostWish, ReadBill

_GROUPS = ("day", "instance", "model", "tenant")

Group = Annotated[
    str, typer.Option("--group-by", metavar="WHAT", help="day, instance, model or tenant.")
]
Compare = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Cloud model to compare all requests with " + variables("cost.compare"),
        show_default=False,
    ),
]
OwnPrice = Annotated[
    str | None,
    typer.Option(
        "--usd-per-hour",
        metavar="USD",
        help="What an hour of your own machine costs.",
        show_default=False,
    ),
]
Offline = Annotated[
    bool,
    typer.Option("--offline", help="Do not ask the markets for their bills.", show_default=False),
]
Csv = Annotated[bool, typer.Option("--csv", help="Print the rows as CSV.", show_default=False)]


def cost(  # noqa: PLR0913  one parameter per option
    *,
    since: times.Since = "30d",
    until: times.Until = None,
    group_by: Group = "day",
    timezone: times.ZoneName = None,
    compare: Compare = None,
    usd_per_hour: OwnPrice = None,
    offline: Offline = False,
    as_csv: Csv = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show what renting cost, what it bought and what it saved.

    Metered is our record: time by price, with disk and planned traffic.
    Billed is what the market says, which comes later. What is unknown is
    shown as unknown. Needs neither the proxy nor a key.

    [bold]Examples[/bold]
    $ llmctl cost
    $ llmctl cost --since month --timezone local
    $ llmctl cost --group-by instance --json
    $ llmctl cost --usd-per-hour 0.12 --compare claude-opus-4-8
    """
    from llmctl.config.load import load
    from llmctl.core.errors import ConfigError
    from llmctl.ops.cost_days import find_zone

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    if group_by not in _GROUPS:
        raise ConfigError(f"--group-by cannot be {group_by!r}", hint=f"one of {', '.join(_GROUPS)}")
    if as_csv and as_json:
        raise ConfigError("--csv and --json cannot be combined", hint="leave one of them out")
    flags = {"budget.timezone": timezone, "cost.compare": compare}
    loaded = load(flags=flags, environ=os.environ, path=config)
    zone = find_zone(loaded.config.budget.timezone)
    wish = _wish(group_by, since, until, usd_per_hour, zone)
    report = _report(loaded, wish, offline=offline)
    _put(report, zone, as_json=as_json, as_csv=as_csv)
    if not quiet:
        _warn(report)


def _wish(
    group_by: str,
    since: str | None,
    until: str | None,
    usd_per_hour: str | None,
    zone: "tzinfo | None",
) -> "CostWish":
    import time
    from typing import cast

    from llmctl.core.errors import ConfigError
    from llmctl.core.money import micro_usd
    from llmctl.core.reports_cost import GroupBy
    from llmctl.ops.cost import CostWish

    now = time.time()
    begins, ends = times.read_limits(since, until, now=now, zone=zone)
    try:
        price = None if usd_per_hour is None else micro_usd(usd_per_hour)
    except ValueError as reason:
        raise ConfigError(f"--usd-per-hour cannot be {usd_per_hour!r}: {reason}") from None
    until_then = now if ends is None else min(ends, now)
    return CostWish(
        since=begins, until=until_then, group_by=cast("GroupBy", group_by), own_usd_per_hour=price
    )


def _report(loaded: "Loaded", wish: "CostWish", *, offline: bool) -> "CostReport":
    from llmctl.core.clock import SystemClock
    from llmctl.core.paths import find_paths
    from llmctl.ops.cost import Accounts, Records
    from llmctl.state.store import RentalStore

    clock, paths = SystemClock(), find_paths(os.environ)
    store = RentalStore(paths.rentals_file, clock=clock)
    bills = {} if offline or not store.path.exists() else _bills(paths)
    records = Records(ledger=paths.ledger_file, rentals=store, bills=bills)
    try:
        accounts = Accounts(wish, records, loaded.config, now=clock.now())
        if not accounts.asked:
            return accounts.report()
        import asyncio

        return asyncio.run(accounts.report_with_bills())
    finally:
        store.close()


def _bills(paths: "Paths") -> "Mapping[ProviderName, ReadBill]":
    """Return how to ask each market there is a key for; it is opened only if it is asked."""
    from functools import partial

    from llmctl.config.keys import VARIABLES, find_key
    from llmctl.core.errors import LlmctlError

    found = {}
    for name in VARIABLES:
        try:
            key = find_key(name, os.environ, paths.data)
        except LlmctlError as failure:
            options.say(f"warning: {failure.message}")
            continue
        if key is not None:
            found[name] = partial(_bill, name, key.secret.reveal(), key.hint)
    return found


async def _bill(name: "ProviderName", key: str, hint: str, since: float, until: float) -> "Bill":
    from llmctl.core.errors import ProviderError
    from llmctl.providers.base import SupportsBilling
    from llmctl.providers.registry import ProviderAccess, open_providers

    opened = open_providers({name: ProviderAccess(key=key, hint=hint)}, os.environ)[name]
    try:
        if not isinstance(opened, SupportsBilling):
            raise ProviderError(f"{name.value} shows no bills")
        return await opened.bill(since, until)
    finally:
        await opened.close()


def _put(report: "CostReport", zone: "tzinfo | None", *, as_json: bool, as_csv: bool) -> None:
    import shutil
    import sys

    if as_json or as_csv:
        from llmctl.render.cost_documents import cost_csv, cost_document

        options.put(cost_document(report) if as_json else cost_csv(report))
        return
    from llmctl.render.cost import cost_text

    live = sys.stdout.isatty()
    width = shutil.get_terminal_size((120, 24)).columns
    blocks = live and (sys.stdout.encoding or "").lower().startswith("utf")
    options.put(cost_text(report, zone=zone, width=width, blocks=blocks))


def _warn(report: "CostReport") -> None:
    from llmctl.ops.budget import warnings

    for text in warnings(report.spend):
        options.say(f"warning: {text}")
