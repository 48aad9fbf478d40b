"""``stats --watch``: one look at the running proxy after the other, until Ctrl-C."""

import os
import sys
from contextlib import AsyncExitStack, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from llmctl.cli import interrupt, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from llmctl.config.load import Loaded
    from llmctl.core.reports_live import LiveReport
    from llmctl.ops.gpus import Open
    from llmctl.ops.running import RunningProxy


def watch(loaded: "Loaded", url: str | None, *, every_s: float, as_json: bool) -> None:
    """Show the screen, or a line a look where there is none, or NDJSON; ends with Ctrl-C.

    Raises ``AuthError`` where the token is refused.
    """
    from llmctl.core.errors import Cancelled
    from llmctl.ops import running

    address = running.find_address(loaded, os.environ, url=url)
    token = running.find_token(address, os.environ)
    with running.RunningProxy(address, token) as proxy, suppress(Cancelled):
        work = _watch(loaded, proxy, every_s=every_s, as_json=as_json)
        interrupt.run(work, leftover=lambda: Cancelled("interrupted"), quiet=True)


async def _watch(loaded: "Loaded", proxy: "RunningProxy", *, every_s: float, as_json: bool) -> None:
    from contextlib import aclosing

    from llmctl.ops.gpus import Cards
    from llmctl.ops.live import looks
    from llmctl.render.watch import is_live, screen

    live = not as_json and is_live(sys.stdout, os.environ)
    text = _text_of(live=live, as_json=as_json)
    async with AsyncExitStack() as stack:
        cards = await stack.enter_async_context(Cards(stack.enter_context(_machines(loaded))))
        with screen(sys.stdout, live=True) if live else nullcontext(options.put) as show:
            async with aclosing(looks(proxy, gpus=cards.all, every_s=every_s)) as reports:
                async for report in reports:
                    show(text(report))


@contextmanager
def _machines(loaded: "Loaded") -> "Iterator[Mapping[str, Open]]":
    """Give whose cards to read: this machine's, and those of instances on record."""
    from llmctl.core.paths import find_paths
    from llmctl.ops.gpus import machines_of, this_machine

    found = this_machine()
    if not find_paths(os.environ).rentals_file.exists():
        yield found
        return
    from llmctl.renting import Renting  # paramiko takes 0.2 s to import

    renting = Renting(loaded, os.environ)
    try:
        yield found | machines_of(renting.store.live(), renting.reach)
    finally:
        renting.store.close()


def _text_of(*, live: bool, as_json: bool) -> "Callable[[LiveReport], str]":
    """Return what makes the text of a look."""
    from shutil import get_terminal_size

    from llmctl.render.errors import wants_colour
    from llmctl.render.json import line
    from llmctl.render.live import Log, Look, live_text

    if as_json:
        return line
    if not live:
        return Log().news
    blocks = (sys.stdout.encoding or "").lower().startswith("utf")
    colour = wants_colour(sys.stdout, os.environ)
    return lambda report: live_text(report, Look(get_terminal_size().columns, blocks, colour))
