"""``llmctl ssh`` and ``llmctl logs``."""

from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import options

if TYPE_CHECKING:
    from llmctl.cli.rented import Session
    from llmctl.core.rental import Rental


def ssh(
    ctx: typer.Context,
    name: options.Name = None,
    *,
    config: options.ConfigFile = None,
    verbose: options.Verbose = 0,
) -> None:
    """Open a shell on an instance, or run a command there.

    It is your own ssh with llmctl's key and the pinned host key; nothing of
    ~/.ssh is read.

    [bold]Examples[/bold]
    $ llmctl ssh
    $ llmctl ssh main -- nvidia-smi
    """
    import os
    import shutil

    from llmctl.cli.rented import Session
    from llmctl.core.errors import NotFound
    from llmctl.core.paths import write_private
    from llmctl.ops.rent.access import shell

    options.begin(verbose=verbose)
    if shutil.which("ssh") is None:
        raise NotFound("there is no ssh on this machine", hint="install an OpenSSH client")
    session = Session(config=config, quiet=True)
    rental = _addressed(session, name, ctx.args)
    files = session.renting.paths.data / "ssh"
    found = shell(
        rental,
        session.renting.store.pinned(rental.uuid, rental.generation),
        key_file=session.renting.ssh_key.path,
        known_hosts_file=files / "known_hosts",
        command=ctx.args,
    )
    write_private(files / "known_hosts", found.known_hosts.encode())
    os.execvp(found.argv[0], found.argv)  # noqa: S606  its terminal, its exit status


def _addressed(session: "Session", name: str | None, command: list[str]) -> "Rental":
    """Return the rental of that name; a command in its place is answered with how to run it."""
    import shlex

    from llmctl.core.errors import NotFound
    from llmctl.core.rental import Phase

    try:
        return session.rental(name)
    except NotFound as unknown:
        present = [each for each in session.renting.store.all() if each.phase is not Phase.GONE]
        meant = name is not None and "did you mean" not in (unknown.hint or "")
        if not (meant and present):
            raise
        way = f"llmctl ssh {present[0].name}"
        hint = f"{way}, or to run that there: {way} -- {shlex.join([name or '', *command])}"
        raise NotFound(unknown.message, hint=hint) from None


def logs(
    name: options.Name = None,
    *,
    lines: Annotated[int, typer.Option("--lines", "-n", metavar="N", help="How many.")] = 50,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Print the last lines of the engine on an instance.

    While it is coming up they are the container's.

    [bold]Examples[/bold]
    $ llmctl logs
    $ llmctl logs main -n 200
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent.access import machine_logs

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=True)
    session.settle()
    rental = session.rental(name)
    found = session.run(lambda world: machine_logs(world, rental, lines=lines))
    options.put("".join(f"{line}\n" for line in found))
