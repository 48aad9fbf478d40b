"""``llmctl status``."""

from typing import TYPE_CHECKING

from llmctl.cli import options

if TYPE_CHECKING:
    from llmctl.core.paths import Paths


def status(
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show every instance: state, price, cost so far, time left, tunnel.

    It compares the record with the markets first, and says what it mended.

    [bold]Examples[/bold]
    $ llmctl status
    $ llmctl status --json
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent.status import collect
    from llmctl.render.instances import reconciled_lines, status_document, status_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=True)
    report = session.run(collect)
    tunnels = _tunnels(session.renting.paths)
    for line in reconciled_lines(report.reconciled):
        options.say(line)
    show = status_document if as_json else status_text
    options.put(show(report.instances, tunnels))


def _tunnels(paths: "Paths") -> dict[str, str]:
    from llmctl.ops.tunnels import Registry

    running = Registry(paths.state / "tunnels").list()
    return {
        each.name: each.held.status.state.value if each.held else "starting" for each in running
    }
