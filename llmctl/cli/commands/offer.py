"""``llmctl offer``."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options
from llmctl.cli.commands import up

if TYPE_CHECKING:
    from llmctl.ops.rent.offers import OfferReport
    from llmctl.ops.rent.world import World

app = typer.Typer(help="Show what can be rented now.", no_args_is_help=True)


@app.command("list")
def list_offers(  # noqa: PLR0913  one parameter per option
    *,
    provider: up.Providers = None,
    gpu: up.GpuName = None,
    gpus: up.GpuCount = None,
    max_price: up.MaxPrice = None,
    region: up.Region = None,
    min_reliability: up.Reliability = None,
    spot: up.Spot = None,
    disk: up.Disk = None,
    model: up.Model = None,
    limit: Annotated[int, typer.Option(metavar="N", help="How many at most.")] = 20,
    key_file: options.KeyFile = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List offers of all markets in one table, best first.

    Best is what an hour of use is expected to cost: price with disk, traffic
    and the time to get ready, and the risk that the machine fails.

    [bold]Examples[/bold]
    $ llmctl offer list
    $ llmctl offer list --gpu h100 --max-price 3
    $ llmctl offer list --provider vast --spot --json
    """
    flags = up.given_flags(locals())  # before anything else has a name
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import offers, sizing
    from llmctl.ops.rent.spec import make_spec
    from llmctl.render.offers import offers_document, offers_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(flags=flags, config=config, key_file=key_file, quiet=True)
    up.check_key_file(key_file, session.loaded.config.rent.provider, "offer list")
    session.settle()
    spec = make_spec(session.loaded, "offers", keys=set(session.renting.access))
    fit = sizing.fit(spec, offers.least_memory_mib(spec))

    async def find(world: "World") -> "OfferReport":
        wish = offers.wish_for(world, spec, disk_gb=fit.disk_gb)
        report = await offers.find_offers(world, wish, spec.providers, model_bytes=fit.model_bytes)
        if not report.offers:
            raise offers.nothing_fits(report, wish, spec.providers)
        return report

    report = session.run(find)
    for problem in report.problems:
        options.say(f"warning: {problem.message}")
    shown = report.offers[:limit]
    candidates.remember("places", (each.region.rpartition(", ")[2] for each in shown))
    options.put(offers_document(shown) if as_json else offers_text(shown))
    if not as_json and not quiet and len(report.offers) > limit:
        options.say(f"{len(report.offers) - limit} more: --limit {len(report.offers)}")
