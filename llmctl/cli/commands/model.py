"""``llmctl model``."""

from typing import Annotated

import typer

from llmctl.cli import candidates, options

app = typer.Typer(help="The models on an instance.", no_args_is_help=True)

Model = Annotated[
    str,
    typer.Argument(metavar="MODEL", help="As Ollama names it.", autocompletion=candidates.models),
]
Instance = Annotated[
    str | None,
    typer.Option(
        "--instance",
        "-i",
        metavar="NAME",
        help="Default: the only one.",
        autocompletion=candidates.instances,
        show_default=False,
    ),
]


@app.command("list")
def list_models(
    instance: Instance = None,
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List the models that are on an instance.

    [bold]Examples[/bold]
    $ llmctl model list
    $ llmctl model list --instance main --json
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import models
    from llmctl.render.amounts import size
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=True)
    session.settle()
    rental = session.rental(instance)
    found = session.run(lambda world: models.list_models(world, rental))
    candidates.remember("models", (each.name for each in found))
    if as_json:
        options.put(document(found))
    elif found:
        options.put(table([[each.name, size(each.bytes), each.digest[:12]] for each in found]))
    else:
        options.say(f"no model is on {rental.name}; llmctl model pull MODEL")


@app.command("pull")
def pull(
    model: Model,
    instance: Instance = None,
    *,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Pull a model onto an instance; it goes on where an earlier pull ended.

    [bold]Examples[/bold]
    $ llmctl model pull qwen2.5-coder:7b
    $ llmctl model pull gpt-oss:20b --instance main
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import models

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=quiet)
    session.settle()
    rental = session.rental(instance)
    pulled = session.run(lambda world: models.pull_model(world, rental, model))
    candidates.remember("models", [pulled.name])
    options.put(f"{pulled.name} is on {rental.name}\n")


@app.command("remove")
def remove(  # noqa: PLR0913  one parameter per option
    model: Model,
    instance: Instance = None,
    *,
    yes: options.Yes = False,
    config: options.ConfigFile = None,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Delete a model from an instance.

    [bold]Examples[/bold]
    $ llmctl model remove qwen2.5-coder:7b
    $ llmctl model remove qwen2.5-coder:7b --instance main --yes
    """
    from llmctl.cli.confirm import confirm
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import models

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color)
    session = Session(config=config, quiet=quiet)
    session.settle()
    rental = session.rental(instance)
    confirm(f"Delete {model} from {rental.name}?", yes=yes)
    session.run(lambda world: models.remove_model(world, rental, model))
    options.put(f"{model} is no longer on {rental.name}\n")


@app.command("test")
def check(  # noqa: PLR0913  one parameter per option
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="MODEL",
            help="Default: the one up pulled.",
            autocompletion=candidates.models,
            show_default=False,
        ),
    ] = None,
    instance: Instance = None,
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Load a model and let it answer once: tokens a second, GPU memory.

    [bold]Examples[/bold]
    $ llmctl model test
    $ llmctl model test qwen3-coder:latest --json
    """
    from llmctl.cli.rented import Session
    from llmctl.ops.rent import models
    from llmctl.render.amounts import size
    from llmctl.render.json import document
    from llmctl.render.tables import table

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(config=config, quiet=quiet)
    session.settle()
    rental = session.rental(instance)
    found = session.run(lambda world: models.check_model(world, rental, model))
    if as_json:
        options.put(document(found))
        return
    warmed = found.warmed
    memory = f"{size(warmed.vram_bytes)} of {size(warmed.size_bytes)}"
    rows = [
        ["model", found.model],
        ["speed", f"{warmed.tokens_per_s:.0f} tokens/s"],
        ["on the GPU", memory],
        ["it said", " ".join(warmed.text.split())[:200]],
    ]
    options.put(table(rows))
