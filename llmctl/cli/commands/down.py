"""``llmctl down``, ``stop`` and ``start``."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmctl.core.rental import Rental

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME...",
        help="Which; without it the only one.",
        autocompletion=candidates.instances,
        show_default=False,
    ),
]


def down(  # noqa: PLR0913  one parameter per option
    names: Names = None,
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Every instance on record.", show_default=False),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Destroy instances, and prove that they are gone.

    Their disks go with them. What cannot be proved gone ends with exit code 8,
    the id, the page and the command to paste.

    [bold]Examples[/bold]
    $ llmctl down
    $ llmctl down main --yes
    $ llmctl down --all
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import down as use
    from llmctl.render.instances import down_document, down_text
    from llmctl.render.offers import rentals_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=quiet or as_json)
    plan = use.plan_down(session.renting.store, names or [], everything=everything)
    show = down_document if as_json else down_text
    if dry_run or not plan.rentals:
        if plan.rentals:
            options.say(f"would destroy:\n{rentals_text(plan.rentals)}")
        options.put(show([], plan.already))
        if not plan.rentals and not plan.already:
            options.say("nothing is rented: there is nothing to end")
        return
    options.say(rentals_text(plan.rentals))
    count = len(plan.rentals)
    confirm(
        _question(plan.rentals),
        yes=yes,
        expected=str(count) if everything and count > 1 else "y",
    )
    ended = session.run(lambda world: use.down(world, plan, session.renting.release_for(world)))
    options.put(show(ended, plan.already))


def _question(rentals: "Sequence[Rental]") -> str:
    if len(rentals) > 1:
        return f"Destroy {len(rentals)} instances?"
    only = rentals[0]
    if only.provider.paid:
        return f"Destroy {only.name}?"
    return f"End what llmctl started on {only.name}? The machine stays."


def stop(  # noqa: PLR0913  one parameter per option
    name: options.Name = None,
    *,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Stop an instance. Stopped is not free: its disk is still billed.

    [bold]Examples[/bold]
    $ llmctl stop
    $ llmctl stop main --yes
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import power
    from llmctl.render.instances import power_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=quiet)
    rental = session.rental(name)
    plan = power.plan_power(rental)
    options.say(power_text(plan).rstrip())
    if dry_run:
        return
    confirm(f"Stop {rental.name}?", yes=yes)
    session.run(lambda world: power.stop(world, rental))
    options.put(f"{rental.name} is stopped; llmctl start {rental.name}\n")


def start(
    name: options.Name = None,
    *,
    yes: options.Yes = False,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Start a stopped instance and get its model ready again.

    [bold]Examples[/bold]
    $ llmctl start
    $ llmctl start main --yes
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import power
    from llmctl.render.instances import power_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=quiet)
    rental = session.rental(name)
    options.say(power_text(power.plan_power(rental)).rstrip())
    confirm(f"Start {rental.name}?", yes=yes)
    prepared = session.run(lambda world: power.start(world, rental))
    word = "was running" if prepared is None else "is ready"
    options.put(f"{rental.name} {word}; llmctl serve {rental.name}\n")
