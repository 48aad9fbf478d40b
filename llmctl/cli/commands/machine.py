"""``llmctl ssh`` and ``llmctl logs``."""

from typing import Annotated

import typer

from llmctl.cli import options


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
    rental = session.rental(name)
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
