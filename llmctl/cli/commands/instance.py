"""``llmctl instance``."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options

if TYPE_CHECKING:
    from llmctl.core.rental import Rental
    from llmctl.ops.rent.world import World

app = typer.Typer(
    help="What llmctl made on your accounts, known to this machine or not.", no_args_is_help=True
)

Instance = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="PROVIDER:ID, or the id alone where one has it.",
        autocompletion=candidates.instance_ids,
    ),
]


@app.command("list")
def list_instances(
    *,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also what llmctl did not make.", show_default=False),
    ] = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List what is on your accounts under a label of llmctl.

    [bold]Examples[/bold]
    $ llmctl instance list
    $ llmctl instance list --all --json
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import instances
    from llmctl.render.instances import listed_document, listed_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=True)
    session.settle()
    listing = session.run(lambda world: instances.list_instances(world, everything=everything))
    found = [each.instance for each in listing.found]
    candidates.remember("instances", (f"{each.provider.value}:{each.id}" for each in found))
    for problem in listing.problems:
        options.say(f"warning: {problem.message}")
    options.put(listed_document(listing.found) if as_json else listed_text(listing.found))


@app.command("show")
def show(
    instance: Instance,
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show one instance as its market describes it.

    [bold]Examples[/bold]
    $ llmctl instance show vast:123456
    $ llmctl instance show 123456 --json
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import instances
    from llmctl.render.instances import listed_document, listed_facts

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=True)
    session.settle()
    listed = session.run(lambda world: instances.find(world, instance))
    options.put(listed_document([listed]) if as_json else listed_facts(listed))


@app.command("adopt")
def adopt(
    instance: Instance,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")] = "main",
    *,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Take an instance of another installation of llmctl into this one's record.

    [bold]Examples[/bold]
    $ llmctl instance adopt vast:123456 big
    $ llmctl up big
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import instances

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=True)
    session.settle()

    async def take(world: "World") -> "Rental":
        return instances.adopt(world, await instances.find(world, instance), name)

    rental = session.run(take)
    options.put(f"{rental.provider.value} {rental.instance_id} is {rental.name} here\n")
    if not quiet:
        options.say(f"next: llmctl up {rental.name}, or llmctl down {rental.name}")


@app.command("destroy")
def destroy(  # noqa: PLR0913  one parameter per option
    instance: Instance,
    *,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Destroy an instance that llmctl made, here or elsewhere, and prove it gone.

    [bold]Examples[/bold]
    $ llmctl instance destroy vast:123456 --dry-run
    $ llmctl instance destroy vast:123456
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import instances
    from llmctl.render.instances import listed_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=quiet, dry_run=dry_run)
    if not dry_run:
        session.settle()
    listed = session.run(lambda world: instances.find(world, instance))
    options.say(listed_text([listed]).rstrip())
    if dry_run:
        return
    confirm(f"Destroy {instance}?", yes=yes)
    session.run(lambda world: instances.destroy(world, listed))
    options.put(f"{instance} is gone\n")


@app.command("trust")
def trust(
    name: options.Name = None,
    *,
    yes: options.Yes = False,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Accept the host key that an instance shows now in place of the pinned one.

    Only for a change you know the reason of: a machine that is not yours any
    more shows another key, too.

    [bold]Examples[/bold]
    $ llmctl instance trust
    $ llmctl instance trust main --yes
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import access

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=True)
    session.settle()
    rental = session.rental(name)
    plan = session.run(lambda world: access.plan_trust(world, rental))
    if not plan.changed:
        options.put(f"{rental.name} shows the pinned key {plan.new}\n")
        return
    options.say(f"pinned  {plan.old or 'none'}\nshown   {plan.new} by {plan.address}")
    confirm(f"Trust {rental.name} with this key?", yes=yes)
    session.do(lambda world: access.trust(world, plan))
    options.put(f"{rental.name} is trusted with {plan.new}\n")
