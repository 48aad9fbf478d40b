"""``llmctl cache``."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from llmctl.cli import options
from llmctl.core.errors import ExitCode

if TYPE_CHECKING:
    from llmctl.config.load import Loaded
    from llmctl.core.reports_cache import CacheFilter
    from llmctl.ops.cache.access import Access

T = TypeVar("T")

app = typer.Typer(help="Look into the cache, empty it, fill it, test it.", no_args_is_help=True)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="As cache list prints it; the first digits may do.")
]
Tenant = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Only answers for this token.", show_default=False),
]
Model = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Only answers of this model.", show_default=False),
]


@app.command("stats")
def stats(  # noqa: PLR0913  one parameter per option
    *,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Requests of the last 24h, 7d ...; default all.",
            show_default=False,
        ),
    ] = None,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show what is in the cache, how often it answers, and what that saves.

    Works with the proxy up or down. Money is what the saved tokens cost at the
    cloud API each request asked for (cost.compare).

    [bold]Examples[/bold]
    $ llmctl cache stats
    $ llmctl cache stats --since 7d --json
    """
    import time

    from llmctl.ops import running
    from llmctl.ops.cache.stats import collect
    from llmctl.render.cache import stats_document, stats_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = _load(config)
    begin = None if since is None else time.time() - _seconds("--since", since)
    address = running.find_address(loaded, os.environ, url=url)
    with running.RunningProxy(address, running.find_token(address, os.environ)) as proxy:
        found = _run(loaded, lambda access: collect(access, proxy, since=begin))
    options.put(stats_document(*found) if as_json else stats_text(*found))


@app.command("list")
def list_entries(  # noqa: PLR0913  one parameter per option
    *,
    near: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="The questions most like this one first.", show_default=False
        ),
    ] = None,
    tenant: Tenant = None,
    model: Model = None,
    limit: Annotated[int, typer.Option(metavar="N", help="How many at most.", min=1)] = 20,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """List cached answers, the newest first.

    With --near by meaning where the semantic tier is on, else by words.

    [bold]Examples[/bold]
    $ llmctl cache list
    $ llmctl cache list --near "how do I undo a commit"
    $ llmctl cache list --model qwen3-coder:30b --limit 100 --json
    """
    import time

    from llmctl.core.reports_cache import CacheFilter
    from llmctl.ops.cache import look
    from llmctl.render.cache import listing_document, listing_text
    from llmctl.render.checks import columns

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    wish = CacheFilter(tenant=tenant, model=model)
    found = _run(
        _load(config),
        lambda access: (
            look.newest(access, wish, limit=limit)
            if near is None
            else look.nearest(access, wish, near, limit=limit)
        ),
    )
    if as_json:
        options.put(listing_document(found))
    else:
        options.put(listing_text(found, now=time.time(), width=columns(sys.stdout)))


@app.command("show")
def show(
    entry: Id,
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Show one cached answer, with the end of its question.

    A semantic hit names the answer it gave in x-llmctl-cache-source.

    [bold]Examples[/bold]
    $ llmctl cache show 5f0c2a9d41be
    $ llmctl cache show 5f0c2a9d41be --json
    """
    import time

    from llmctl.ops.cache import look
    from llmctl.render.cache import shown_document, shown_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    found = _run(_load(config), lambda access: look.show(access, entry))
    options.put(shown_document(found) if as_json else shown_text(found, now=time.time()))


@app.command("forget")
def forget(
    entry: Id,
    *,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Remove one cached answer; running proxies forget it within a second.

    Nothing brings it back, not even somebody who has copied it and may write
    to the store.

    [bold]Examples[/bold]
    $ llmctl cache forget 5f0c2a9d41be
    $ llmctl cache forget 5f0c2a9d41be --json
    """
    from llmctl.ops.cache import forget as ops
    from llmctl.render.cache import cleared_text
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    gone = _run(_load(config), lambda access: ops.forget(access, entry))
    options.put(document(gone) if as_json else cleared_text(gone))


@app.command("clear")
def clear(  # noqa: PLR0913  one parameter per option
    *,
    tenant: Tenant = None,
    model: Model = None,
    older: Annotated[
        str | None,
        typer.Option(
            metavar="DURATION", help="Only what is older than 12h, 7d ...", show_default=False
        ),
    ] = None,
    drop_key: Annotated[
        bool,
        typer.Option(
            "--drop-key",
            help="Make a new key too: copies and backups become unreadable.",
            show_default=False,
        ),
    ] = False,
    yes: options.Yes = False,
    dry_run: options.DryRun = False,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Remove cached answers; without a condition all of them.

    Running proxies forget them within a second, on other machines with the
    same Redis as well. What a proxy is answering just then is kept.

    [bold]Examples[/bold]
    $ llmctl cache clear
    $ llmctl cache clear --older 7d --yes
    $ llmctl cache clear --tenant ada --dry-run
    $ llmctl cache clear --drop-key
    """
    from llmctl.cli.confirm import confirm
    from llmctl.core.errors import ConfigError
    from llmctl.ops.cache import forget as ops
    from llmctl.render.cache import cleared_text
    from llmctl.render.json import document

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    wish = _filter(tenant, model, older)
    if drop_key and not wish.everything:
        raise ConfigError("--drop-key takes everything: it goes without conditions")
    loaded = _load(config)
    done = _run(loaded, lambda access: ops.plan_clear(access, wish))
    if not dry_run:
        confirm(f"Remove {done.entries:,} cached answers from {done.location}?", yes=yes)
        done = _run(loaded, lambda access: ops.clear(access, wish, drop_key=drop_key))
    options.put(document(done) if as_json else cleared_text(done))


@app.command("warm")
def warm(  # noqa: PLR0913  one parameter per option
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines: prompts, or bodies of requests.")
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For lines that name none.", show_default=False),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(metavar="N", help="For lines that give none.", min=1)
    ] = 1024,
    parallel: Annotated[int, typer.Option(metavar="N", help="Asked at once.", min=1, max=64)] = 2,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Ask the running proxy every prompt of a file, so that the answers are cached.

    A line is {"prompt": "..."} or a body of POST /v1/messages; a request is
    answered from the cache when it is the same in all that decides the answer.
    Start it again to go on after an interruption: what is cached costs nothing.

    [bold]Examples[/bold]
    $ llmctl cache warm prompts.jsonl
    $ llmctl cache warm prompts.jsonl --parallel 4 --json
    """
    import asyncio
    import time

    from llmctl.core.clock import SystemClock
    from llmctl.ops import running
    from llmctl.ops.cache.warm import Warming, read_prompts
    from llmctl.render.cache import warm_step, warm_text
    from llmctl.render.json import document
    from llmctl.render.progress import progress_for

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = _load(config)
    prompts = read_prompts(file, model=model, max_tokens=max_tokens)
    address = running.find_address(loaded, os.environ, url=url)
    token = running.find_token(address, os.environ)
    began = time.monotonic()
    with progress_for(sys.stderr, os.environ, quiet=quiet, now=time.monotonic) as progress:
        warming = Warming(
            address,
            token,
            clock=SystemClock(),
            progress=lambda now: progress(warm_step(now, time.monotonic() - began)),
            every_s=0.2 if sys.stderr.isatty() else 30.0,
        )
        report = asyncio.run(warming.run(prompts, parallel=parallel))
    options.put(document(report) if as_json else warm_text(report))
    if report.errors:
        raise typer.Exit(ExitCode.REMOTE)


@app.command("test")
def check(  # noqa: PLR0913  one parameter per option
    *,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Do not ask the proxy anything.", show_default=False),
    ] = False,
    url: options.Url = None,
    config: options.ConfigFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = 0,
    no_color: options.NoColor = False,
) -> None:
    """Try the cache on its store: speed, time to live, eviction, replays, sealing.

    Uses entries of its own and removes them. Where a proxy runs it is asked one
    short question, then the same again. With the semantic tier it says whether
    your bound of wrong answers is met. Exit code 3 when something is wrong.

    [bold]Examples[/bold]
    $ llmctl cache test
    $ llmctl cache test --offline --json
    """
    from llmctl.ops import running
    from llmctl.ops.cache.trial import run
    from llmctl.render.cache import test_document, test_text

    options.begin(verbose=verbose, quiet=quiet, no_color=no_color, as_json=as_json)
    loaded = _load(config)
    address = running.find_address(loaded, os.environ, url=url)
    token = running.find_token(address, os.environ)
    asked = None if offline else (address, token)
    report, semantic = _run(loaded, lambda access: run(access, asked))
    options.put(test_document(report, semantic) if as_json else test_text(report, semantic))
    if not report.ok:
        raise typer.Exit(ExitCode.UNHEALTHY)


def _load(config: Path | None) -> "Loaded":
    from llmctl.config.load import load

    return load(flags={}, environ=os.environ, path=config)


def _run(loaded: "Loaded", work: "Callable[[Access], Awaitable[T]]") -> T:
    """Open the cache, and run ``work`` on it."""
    import asyncio

    from llmctl.ops.cache.access import opened

    async def run() -> T:
        async with opened(loaded, os.environ) as access:
            return await work(access)

    return asyncio.run(run())


def _filter(tenant: str | None, model: str | None, older: str | None) -> "CacheFilter":
    import time

    from llmctl.core.reports_cache import CacheFilter

    before = None if older is None else time.time() - _seconds("--older", older)
    return CacheFilter(tenant=tenant, model=model, before=before)


def _seconds(flag: str, text: str) -> float:
    from llmctl.config.quantities import seconds
    from llmctl.core.errors import ConfigError

    try:
        return seconds(text)
    except ValueError as reason:
        raise ConfigError(f"{flag} cannot be {text!r}: {reason}") from None
