"""``llmctl bench``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmctl.config.load import Loaded
    from llmctl.core.money import MicroUsd
    from llmctl.core.rental import Rental
    from llmctl.core.reports_bench import Bench
    from llmctl.ops.bench.run import Order
    from llmctl.ssh.supervisor import Tunnel

Backend = Annotated[
    str | None,
    typer.Option(
        metavar="ENGINE",
        help="An engine that is on no record: ollama, ollama:URL, openai:URL or embedded.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="Which model; default what answers for claude-*.", show_default=False
    ),
]
MaxTime = Annotated[str, typer.Option(metavar="TIME", help="End after so long.")]
MaxCost = Annotated[
    str, typer.Option(metavar="USD", help="End when the machine has cost so much meanwhile.")
]
Price = Annotated[
    str | None,
    typer.Option(
        "--usd-per-hour",
        metavar="USD",
        help="What the machine costs, where no record says so.",
        show_default=False,
    ),
]
MixOption = Annotated[
    str,
    typer.Option(
        "--mix",
        metavar="P:N:A",
        help="The requests that prices are worked out for: prompt tokens, new ones, answer.",
    ),
]
History = Annotated[
    bool,
    typer.Option("--history", help="Show what was measured before.", show_default=False),
]


def bench(  # noqa: PLR0913  one parameter per option
    name: options.Name = None,
    *,
    backend: Backend = None,
    model: Model = None,
    max_time: MaxTime = "5m",
    max_cost: MaxCost = "0.25",
    usd_per_hour: Price = None,
    mix: MixOption = "20000:500:250",
    history: History = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Measure an engine: how fast it reads and writes, and what a token costs.

    The engine is asked directly, past proxy and cache: time to the first token,
    prompts new and known, answers at 1, 2, 4 and 8 at once. With a price that is
    dollars for a million tokens, and the use at which renting breaks even.

    [bold]Examples[/bold]
    $ llmctl bench
    $ llmctl bench main --max-time 2m --max-cost 0.05
    $ llmctl bench --history
    """
    from llmctl.core.paths import find_paths
    from llmctl.ops.bench import record

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    path = record.record_file(find_paths(os.environ))
    if history:
        _show_history(record.kept(path), name, as_json=as_json)
        return
    flags = {"backend": [backend] if backend else None, "model.name": model}
    loaded, rental, tunnels = _target(flags, config, name)
    price = _price(usd_per_hour, rental)
    order = _order(loaded, rental, price, limits=(max_time, max_cost), mix=mix)
    result = _run(order, tunnels, quiet=quiet)
    earlier = record.before(record.kept(path), result)
    record.keep(path, result)
    _show(result, earlier, as_json=as_json)


def _target(
    flags: "Mapping[str, object]", config: Path | None, name: str | None
) -> "tuple[Loaded, Rental | None, Mapping[str, Tunnel]]":
    """Return what to measure: the named or only instance, else the proxy's or configured engine."""
    from llmctl.config.load import load
    from llmctl.core.errors import ConfigError
    from llmctl.core.paths import find_paths

    loaded = load(flags=flags, environ=os.environ, path=config)
    origin = loaded.origins["backend"]
    if name and origin.kind == "flag":
        raise ConfigError(
            f"{name} and --backend name two engines", hint="llmctl bench NAME, or --backend alone"
        )
    standard = origin.kind in ("default", "customary")
    if not name and not standard:
        return loaded, None, {}
    if not name and not find_paths(os.environ).rentals_file.exists():
        return _served(loaded), None, {}
    from llmctl.core.rental import Phase
    from llmctl.ops.rent.down import the_only
    from llmctl.renting import Renting

    renting = Renting(loaded, os.environ)
    ready = [each for each in renting.store.live() if each.phase is Phase.READY]
    if not name and not ready:
        return _served(loaded), None, {}
    wanted = name or the_only(ready).name
    served, tunnels = renting.serving([wanted])
    return served, renting.store.by_name(wanted), tunnels


def _served(loaded: "Loaded") -> "Loaded":
    """Return the engines of the proxy that runs where nothing is configured and it has any."""
    if loaded.origins["backend"].kind != "default":
        return loaded
    from llmctl.ops.served import as_served, ask_running

    running = ask_running(loaded, os.environ)
    served = as_served(loaded, running) if running else loaded
    return served if served.config.backend else loaded


def _price(given: str | None, rental: "Rental | None") -> "MicroUsd | None":
    from llmctl.core.errors import ConfigError
    from llmctl.core.money import micro_usd

    if given is None:
        return rental.usd_per_hour if rental else None
    try:
        return micro_usd(given)
    except ValueError as reason:
        raise ConfigError(f"--usd-per-hour: {reason}") from None


def _order(
    loaded: "Loaded",
    rental: "Rental | None",
    price: "MicroUsd | None",
    *,
    limits: tuple[str, str],
    mix: str,
) -> "Order":
    from llmctl.config.quantities import seconds
    from llmctl.core.errors import ConfigError
    from llmctl.core.money import micro_usd
    from llmctl.ops.bench.money import parse_mix
    from llmctl.ops.bench.run import Limits, Order

    max_time, max_cost = limits
    try:
        within = Limits(seconds=seconds(max_time), usd=micro_usd(max_cost))
        return Order(
            loaded=loaded, rental=rental, usd_per_hour=price, mix=parse_mix(mix), limits=within
        )
    except ValueError as reason:
        given = f"--max-time {max_time} --max-cost {max_cost} --mix {mix}"
        raise ConfigError(f"{given}: {reason}") from None


def _run(order: "Order", tunnels: "Mapping[str, Tunnel]", *, quiet: bool) -> "Bench":
    import time

    from llmctl.cli import interrupt
    from llmctl.core.clock import SystemClock
    from llmctl.core.errors import Cancelled
    from llmctl.ops.bench.run import bench as measure
    from llmctl.render.progress import stderr_progress
    from llmctl.runtime import Runtime

    async def measured() -> "Bench":
        runtime = Runtime(order.loaded, os.environ, tunnels=tunnels)
        with stderr_progress(os.environ, quiet=quiet, now=time.monotonic) as progress:
            async with runtime.first_engine(options.say) as engine:
                return await measure(engine, order, SystemClock(), progress)

    return interrupt.run(measured(), leftover=lambda: Cancelled("interrupted"), quiet=True)


def _show(result: "Bench", earlier: "Bench | None", *, as_json: bool) -> None:
    from llmctl.render.bench import bench_document, bench_text
    from llmctl.render.checks import columns
    from llmctl.render.json import document

    if as_json:
        options.put(document(bench_document(result)))
    else:
        options.put(bench_text(result, earlier, width=columns(sys.stdout)))


def _show_history(results: "list[Bench]", name: str | None, *, as_json: bool) -> None:
    from llmctl.render.bench import bench_document, history_text
    from llmctl.render.checks import columns
    from llmctl.render.json import document

    wanted = [each for each in results if name in (None, each.name)]
    if as_json:
        options.put(document([bench_document(each) for each in wanted]))
    else:
        options.put(history_text(wanted, width=columns(sys.stdout)))
