"""``llmctl tunnel``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options

if TYPE_CHECKING:
    from llmctl.cli.rented import Session
    from llmctl.ops.budget_watch import BudgetWatch
    from llmctl.ops.tunnel import DoorWish
    from llmctl.ops.tunnels import Registry
    from llmctl.ssh.supervisor import Tunnel

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME | list | stop NAME]",
        help="Which instance; without it the only one. list and stop are about --background.",
        autocompletion=candidates.instances,
        show_default=False,
    ),
]

Host = Annotated[
    str | None,
    typer.Option(
        metavar="USER@ADDRESS:PORT", help="A machine you have instead.", show_default=False
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        help="Where to listen on 127.0.0.1; default 11434, or a free one if that is taken.",
        show_default=False,
    ),
]
Socket = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="Listen on a unix socket only you can open.", show_default=False
    ),
]
InBackground = Annotated[
    bool, typer.Option("--background", help="Go on without this terminal.", show_default=False)
]
PrintUnit = Annotated[
    bool, typer.Option("--print-unit", help="Print a systemd user unit.", show_default=False)
]
Child = Annotated[bool, typer.Option("--foreground-child", hidden=True)]


def tunnel(  # noqa: PLR0913  one parameter per option
    words: Words = None,
    *,
    host: Host = None,
    port: Port = None,
    socket: Socket = None,
    background: InBackground = False,
    print_unit: PrintUnit = False,
    child: Child = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Forward the model's port of an instance to this machine, and keep it alive.

    llmctl serve needs none of this: it has a tunnel of its own. This is for
    other tools that want the engine itself.

    [bold]Examples[/bold]
    $ llmctl tunnel
    $ llmctl tunnel main --background
    $ llmctl tunnel list
    $ llmctl tunnel stop main
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.tunnel import DoorWish
    from llmctl.ops.tunnels import Registry

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=True)
    registry = Registry(session.renting.paths.state / "tunnels")
    match words or []:
        case ["list"]:
            _list(registry, as_json=as_json)
            return
        case ["stop", stopped]:
            _stop(registry, stopped)
            return
    made = _tunnel(session, words or [], host)
    command = _command(made.name, host, port, socket)
    if print_unit:
        _print_unit(made.name, command)
    elif background:
        _background(registry, made.name, command)
    else:
        wish = DoorWish(port=port, socket=socket)
        record = registry if child else None
        watch = session.renting.budget_watch()
        _foreground(made, wish, record, watch, quiet=quiet, as_json=as_json)


def _tunnel(session: "Session", names: list[str], host: str | None) -> "Tunnel":
    if len(names) > 1:
        from llmctl.core.errors import ConfigError

        raise ConfigError("one instance at a time", hint="llmctl tunnel --help")
    if host is not None:
        return session.renting.tunnel_to(host)
    return session.renting.tunnel(session.rental(names[0] if names else None))


def _command(name: str, host: str | None, port: int | None, socket: Path | None) -> list[str]:
    words = [sys.executable, "-m", "llmctl", "tunnel"]
    words += [name] if host is None else ["--host", host]
    words += [] if port is None else ["--port", str(port)]
    return words + ([] if socket is None else ["--socket", str(socket.absolute())])


def _list(registry: "Registry", *, as_json: bool) -> None:
    from llmctl.render.json import document
    from llmctl.render.tunnels import tunnels_text

    running = registry.list()
    options.put(document(running) if as_json else tunnels_text(running))


def _stop(registry: "Registry", name: str) -> None:
    import asyncio

    asyncio.run(registry.stop(name))
    options.put(f"the tunnel to {name} is closed\n")


def _print_unit(name: str, command: list[str]) -> None:
    from llmctl.ops.tunnel import unit_text

    kept = ("LLMCTL_HOME", "LLMCTL_CONFIG", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
    environment = {key: os.environ[key] for key in kept if os.environ.get(key)}
    options.put(unit_text(name, command, environment))


def _background(registry: "Registry", name: str, command: list[str]) -> None:
    import asyncio

    from llmctl.render.tunnels import tunnels_text

    started = asyncio.run(registry.start(name, [*command, "--foreground-child"]))
    options.put(tunnels_text([started]))
    options.say(f"llmctl tunnel stop {name} ends it; its log is {started.log}")


def _foreground(
    tunnel: "Tunnel",
    wish: "DoorWish",
    registry: "Registry | None",
    watch: "BudgetWatch | None",
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    import contextlib

    from llmctl.cli import interrupt
    from llmctl.core.errors import Cancelled

    work = _held(tunnel, wish, registry, watch, quiet=quiet, as_json=as_json)
    with contextlib.suppress(Cancelled):  # Ctrl-C is how it ends
        interrupt.run(work, leftover=lambda: Cancelled("interrupted"), quiet=True)


async def _held(
    tunnel: "Tunnel",
    wish: "DoorWish",
    registry: "Registry | None",
    watch: "BudgetWatch | None",
    *,
    quiet: bool,
    as_json: bool,
) -> None:
    import contextlib

    from llmctl.ops.tunnel import hold
    from llmctl.render.tunnels import TunnelView

    record = registry.hold(tunnel.name) if registry else contextlib.nullcontext()
    view = TunnelView(sys.stderr, os.environ, quiet=quiet)
    beside = watch.beside() if watch else contextlib.nullcontext()
    with record as held_record, view:
        async with beside, contextlib.aclosing(hold(tunnel, wish)) as states:
            shown = False
            async for held in states:
                if not shown:
                    from llmctl.render.json import document

                    options.put(document(held) if as_json else f"{held.url}\n")
                    shown = True
                if held_record is not None:
                    held_record.update(held)
                view.show(held)
