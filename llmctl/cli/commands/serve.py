"""``llmctl serve``."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmctl.cli import candidates, options
from llmctl.cli.options import variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmctl.config.load import Loaded
    from llmctl.core.model import ServeBanner
    from llmctl.ops.budget_watch import BudgetWatch
    from llmctl.ssh.supervisor import Tunnel

ACCESS = "Access"
CACHE = "Cache"

Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="ENGINE",
        help="ollama, ollama:URL, openai:URL or embedded; repeat in order of preference "
        + variables("backend"),
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What answers for claude-* and aliases " + variables("model.name"),
        autocompletion=candidates.models,
        show_default=False,
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        metavar="TOKENS",
        help="Context window " + variables("model.num_ctx"),
        show_default=False,
    ),
]
Gguf = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Model file for the embedded engine " + variables("embedded.gguf"),
        show_default=False,
    ),
]
KeepAlive = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="How long an idle model stays loaded, -1 for ever " + variables("model.keep_alive"),
        show_default=False,
    ),
]
Parallel = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Requests at an engine at once; the rest wait " + variables("backend.parallel"),
        show_default=False,
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Where to listen, default 127.0.0.1 " + variables("serve.listen"),
        rich_help_panel=ACCESS,
        show_default=False,
    ),
]
Port = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        help="Default 8000; 0 takes any free one " + variables("serve.port"),
        rich_help_panel=ACCESS,
        show_default=False,
    ),
]
NoAuth = Annotated[
    bool,
    typer.Option(
        "--no-auth",
        help="Ask for no token: everybody on this machine can use it "
        "(env: LLMCTL_SERVE_AUTH=false)",
        rich_help_panel=ACCESS,
        show_default=False,
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Keep answers in Redis instead of a file " + variables("redis.url"),
        rich_help_panel=CACHE,
        show_default=False,
    ),
]
Semantic = Annotated[
    str | None,
    typer.Option(
        "--semantic",
        metavar="MODE",
        help="Answer what was asked before in other words: shadow (only count), on "
        + variables("cache.semantic.mode"),
        autocompletion=candidates.one_of("off", "shadow", "on"),
        rich_help_panel=CACHE,
        show_default=False,
    ),
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Store and reuse no answers (env: LLMCTL_CACHE_ENABLED=false)",
        rich_help_panel=CACHE,
        show_default=False,
    ),
]


def serve(  # noqa: PLR0913  one parameter per option
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME...",
            help="Instances to serve, in order of preference; without it those that are ready.",
            autocompletion=candidates.instances,
            show_default=False,
        ),
    ] = None,
    *,
    backend: Backends = None,
    model: Model = None,
    num_ctx: Context = None,
    gguf: Gguf = None,
    keep_alive: KeepAlive = None,
    parallel: Parallel = None,
    listen: Listen = None,
    port: Port = None,
    no_auth: NoAuth = False,
    redis_url: RedisUrl = None,
    no_cache: NoCache = False,
    semantic: Semantic = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Serve Claude Code from an open model.

    Any client of the Anthropic Messages API will do. Once it listens it says
    what it serves and what to type next. The first Ctrl-C lets open answers
    finish, the second does not.

    [bold]Examples[/bold]
    $ llmctl serve
    $ llmctl serve main
    $ llmctl serve --backend ollama:http://10.0.0.5:11434 --model qwen3-coder:30b
    $ llmctl serve --backend embedded --port 8080
    """
    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    flags = {
        "backend": backend,
        "backend.parallel": parallel,
        "cache.enabled": False if no_cache else None,
        "cache.semantic.mode": semantic,
        "embedded.gguf": str(gguf) if gguf else None,
        "embedded.parallel": parallel,
        "model.keep_alive": keep_alive,
        "model.name": model,
        "model.num_ctx": num_ctx,
        "redis.url": redis_url,
        "serve.auth": False if no_auth else None,
        "serve.listen": listen,
        "serve.port": port,
    }
    _run(flags, config, names or [], as_json=as_json, quiet=quiet)


def _run(
    flags: "Mapping[str, object]",
    config: Path | None,
    names: list[str],
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    from llmctl.config.load import load

    loaded = load(flags=flags, environ=os.environ, path=config)
    loaded, tunnels, budget = _behind_tunnels(loaded, names)

    from llmctl.runtime import Runtime  # after what may be wrong: it brings in everything

    Runtime(loaded, os.environ, tunnels=tunnels, budget=budget).serve(
        announce=lambda banner: _announce(banner, as_json=as_json, quiet=quiet),
        talk=lambda line: None if quiet else options.say(line),
    )


def _behind_tunnels(
    loaded: "Loaded", names: list[str]
) -> "tuple[Loaded, Mapping[str, Tunnel], BudgetWatch | None]":
    """Put the named instances, or those that are ready, in front of the configured engines.

    Without a name they stand in for the default engine only, not for one that was asked for.
    """
    from llmctl.core.errors import ConfigError
    from llmctl.core.paths import find_paths

    origin = loaded.origins["backend"]
    if names and origin.kind == "flag":
        raise ConfigError(
            "instances and --backend cannot be combined", hint="leave one of them out"
        )
    standard = origin.kind in ("default", "customary")
    if not names and not (standard and find_paths(os.environ).rentals_file.exists()):
        return loaded, {}, None
    from llmctl.renting import Renting  # paramiko takes 0.2 s to import

    renting = Renting(loaded, os.environ)
    served, tunnels = renting.serving(names)
    return served, tunnels, renting.budget_watch() if tunnels else None


def _announce(banner: "ServeBanner", *, as_json: bool, quiet: bool) -> None:
    from llmctl.render.banner import banner_document, banner_text

    if as_json:
        options.put(banner_document(banner))
    elif not quiet:
        options.say(banner_text(banner))
