"""``llmctl up``."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options
from llmctl.cli.options import variables

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from llmctl.cli.rented import Session
    from llmctl.core.rental import UpPlan, UpSpec

MACHINE = "Machine"
ENGINE = "Engine"
MONEY = "Money"

NewName = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="What to call it, in other commands too.",
        autocompletion=candidates.instances,
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="See llmctl profile list.",
        autocompletion=candidates.profiles,
        show_default=False,
    ),
]
Providers = Annotated[
    list[str] | None,
    typer.Option(
        "--provider",
        metavar="NAME",
        help="vast, runpod, host or local; may be repeated " + variables("rent.provider"),
        autocompletion=candidates.one_of("vast", "runpod", "host", "local"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
GpuName = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="CARD",
        help="rtx4090, h100, h100-sxm ... " + variables("rent.gpu"),
        autocompletion=candidates.cards,
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
GpuCount = Annotated[
    int | None,
    typer.Option(
        "--gpus",
        metavar="N",
        rich_help_panel=MACHINE,
        show_default=False,
        help="Cards in one machine.",
    ),
]
Region = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="Country code or data centre " + variables("rent.region"),
        autocompletion=candidates.places,
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Reliability = Annotated[
    float | None,
    typer.Option(
        "--min-reliability",
        metavar="SHARE",
        help="0 to 1, default 0.98 " + variables("rent.min_reliability"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Spot = Annotated[
    bool | None,
    typer.Option(
        "--spot",
        help="Take interruptible machines " + variables("rent.spot"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Host = Annotated[
    str | None,
    typer.Option(
        metavar="USER@ADDRESS:PORT",
        help="A machine you have " + variables("rent.host"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Disk = Annotated[
    int | None,
    typer.Option(
        "--disk",
        metavar="GB",
        help="Default: what the model needs, and room " + variables("rent.disk_gb"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Volume = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        help="RunPod network volume for the models " + variables("rent.volume"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Image = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE",
        help="Container image with sshd " + variables("rent.image"),
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Default: qwen3-coder, or qwen2.5-coder:7b where memory is short "
        + variables("model.name"),
        autocompletion=candidates.models,
        rich_help_panel=ENGINE,
        show_default=False,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Context window " + variables("model.num_ctx"),
        rich_help_panel=ENGINE,
        show_default=False,
    ),
]
KvCache = Annotated[
    str | None,
    typer.Option(
        "--kv-cache-type",
        metavar="TYPE",
        help="f16, q8_0 or q4_0 " + variables("ollama.kv_cache_type"),
        autocompletion=candidates.one_of("f16", "q8_0", "q4_0"),
        rich_help_panel=ENGINE,
        show_default=False,
    ),
]
MaxPrice = Annotated[
    str | None,
    typer.Option(
        "--max-price",
        metavar="USD",
        help="Dollars an hour, disk included " + variables("rent.max_price"),
        rich_help_panel=MONEY,
        show_default=False,
    ),
]
Ttl = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="It ends itself after this, default 8h " + variables("rent.ttl_s"),
        rich_help_panel=MONEY,
        show_default=False,
    ),
]
Idle = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="... and after this without a request, default 1h " + variables("rent.idle_s"),
        rich_help_panel=MONEY,
        show_default=False,
    ),
]
Keep = Annotated[
    bool,
    typer.Option(
        "--keep",
        help="Leave the instance as it is when something fails.",
        rich_help_panel=MONEY,
        show_default=False,
    ),
]


def up(  # noqa: PLR0913  one parameter per option
    name: NewName = "main",
    *,
    profile: Profile = None,
    provider: Providers = None,
    gpu: GpuName = None,
    gpus: GpuCount = None,
    region: Region = None,
    min_reliability: Reliability = None,
    spot: Spot = None,
    host: Host = None,
    disk: Disk = None,
    volume: Volume = None,
    image: Image = None,
    model: Model = None,
    num_ctx: Context = None,
    kv_cache_type: KvCache = None,
    max_price: MaxPrice = None,
    ttl: Ttl = None,
    idle: Idle = None,
    keep: Keep = False,
    key_file: options.KeyFile = None,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Rent a GPU, or take a machine you have, and get a model ready on it.

    It shows the plan with its price and asks before it spends anything. The
    machine ends itself after --ttl, or --idle without a request. Run again,
    it takes up what was interrupted, and a --ttl that is given counts from
    then. The first Ctrl-C destroys what it made, the second leaves at once
    and says what is left.

    [bold]Examples[/bold]
    $ llmctl up --provider runpod
    $ llmctl up --gpu h100 --max-price 3 --ttl 4h
    $ llmctl up big --profile fast --dry-run
    $ llmctl up --provider host --host me@192.0.2.7
    """
    flags = given_flags(locals())  # before anything else has a name
    from llmctl.cli.rented import Session
    from llmctl.ops.rent.plan import plan_up
    from llmctl.ops.rent.spec import make_spec

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    session = Session(flags=flags, config=config, key_file=key_file, quiet=quiet, dry_run=dry_run)
    check_key_file(key_file, session.loaded.config.rent.provider, "up")
    known, keys = session.renting.store.by_name(name), session.renting.access
    spec = make_spec(session.loaded, name, profile=profile, keys=keys, keep=keep, existing=known)
    plan = session.run(lambda world: plan_up(world, spec))
    _warn_of(spec, plan, flags)
    if dry_run:
        _show(plan, as_json=as_json)
    else:
        _carry_out(session, plan, yes=yes, as_json=as_json, quiet=quiet)


def _show(plan: "UpPlan", *, as_json: bool) -> None:
    from llmctl.render.checks import columns
    from llmctl.render.offers import plan_document, plan_text

    options.put(plan_document(plan) if as_json else plan_text(plan, width=columns(sys.stdout)))


def _warn_of(asked: "UpSpec", plan: "UpPlan", flags: "Mapping[str, object]") -> None:
    """Name the options that an instance which exists cannot follow."""
    from llmctl.ops.rent.plan import without_effect

    given = [key for key, value in flags.items() if value is not None]
    name = asked.name
    if lost := without_effect(asked, plan, given):
        options.say(
            f"warning: {name} exists and stays what it is: {', '.join(lost)} would hold for a new "
            f"machine; llmctl down {name} ends this one"
        )


def check_key_file(key_file: "Path | None", markets: "Sequence[str]", command: str) -> None:
    """Raise ``ConfigError`` for a key file where it is not clear which market's key it holds."""
    from llmctl.core.errors import ConfigError

    if key_file is not None and len(markets) != 1:
        raise ConfigError(
            f"--key-file {key_file} holds the key of one market: which one?",
            hint=f"llmctl {command} --provider vast --key-file {key_file}",
        )


_SETTINGS = {
    "disk": "rent.disk_gb",
    "gpu": "rent.gpu",
    "gpus": "rent.gpu_count",
    "host": "rent.host",
    "idle": "rent.idle_s",
    "image": "rent.image",
    "kv_cache_type": "ollama.kv_cache_type",
    "max_price": "rent.max_price",
    "min_reliability": "rent.min_reliability",
    "model": "model.name",
    "num_ctx": "model.num_ctx",
    "provider": "rent.provider",
    "region": "rent.region",
    "spot": "rent.spot",
    "ttl": "rent.ttl_s",
    "volume": "rent.volume",
}


def given_flags(parameters: "Mapping[str, object]") -> dict[str, object]:
    """Return the options among a command's parameters by the setting they stand for."""
    return {key: parameters[name] for name, key in _SETTINGS.items() if name in parameters}


def _carry_out(
    session: "Session", plan: "UpPlan", *, yes: bool, as_json: bool, quiet: bool
) -> None:
    from llmctl.cli.confirm import confirm
    from llmctl.core.rental import Phase
    from llmctl.render.checks import columns
    from llmctl.render.instances import up_document, up_text
    from llmctl.render.offers import plan_text

    ready = plan.resumes is not None and plan.resumes.phase is Phase.READY
    if not ready or plan.deadline is not None:
        options.say(plan_text(plan, width=columns(sys.stderr)).rstrip())
        confirm(_question(plan), yes=yes or plan.offer is None)
    result = session.run(lambda world: session.renting.up(world, plan))
    options.put(up_document(result) if as_json else up_text(result))
    if not quiet and not as_json:
        options.say(f"\nnext: llmctl serve {plan.spec.name}")


def _question(plan: "UpPlan") -> str:
    if plan.resumes is not None and plan.resumes.instance_id is not None:
        if plan.deadline is not None:
            return f"Let {plan.resumes.name} end by itself at that time from now?"
        return f"Go on with {plan.resumes.name}?"
    price = plan.offer.usd_per_hour / 1e6 if plan.offer else 0.0
    return f"Rent it for ${price:.2f}/h?"
