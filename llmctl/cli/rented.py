"""What the commands that rent have in common: one session of markets, record and progress."""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmctl.cli import interrupt, options

if TYPE_CHECKING:
    from llmctl.core.errors import LlmctlError
    from llmctl.core.rental import Rental
    from llmctl.ops.rent.world import World

T = TypeVar("T")


class Session:
    """Configuration, markets and record of one command; ``run`` does one thing with them."""

    def __init__(
        self,
        *,
        flags: Mapping[str, object] | None = None,
        config: Path | None = None,
        key_file: Path | None = None,
        quiet: bool = False,
        dry_run: bool = False,
    ) -> None:
        from llmctl.config.load import load
        from llmctl.renting import Renting

        self.loaded = load(flags=flags or {}, environ=os.environ, path=config)
        self.renting = Renting(self.loaded, os.environ, key_file=key_file)
        self._quiet = quiet
        self._budget_kept = dry_run
        """What only looks ends nothing."""

    def run(self, work: "Callable[[World], Awaitable[T]]") -> T:
        """Do ``work`` with the markets open, steps shown on stderr and Ctrl-C cleaning up."""
        return interrupt.run(self._with_world(work), leftover=self._leftover)

    def settle(self) -> None:
        """Compare record and markets before a command that does not do so itself, and say the news.

        A market that cannot be read is left for the command to tell of, if it needs that market.
        """
        from llmctl.core.errors import LeftoverInstance
        from llmctl.ops.rent.reconcile import reconcile
        from llmctl.render.instances import mended_lines

        if not self.renting.access:
            return
        found = self.run(lambda world: reconcile(world, list(self.renting.access)))
        billed = [each for each in found.problems if isinstance(each, LeftoverInstance)]
        for line in mended_lines(found) + [each.message for each in billed]:
            options.say(f"warning: {line}")

    def do(self, work: "Callable[[World], T]") -> T:
        """Do something that waits for nothing."""

        async def done(world: "World") -> T:
            return work(world)

        return self.run(done)

    async def _with_world(self, work: "Callable[[World], Awaitable[T]]") -> T:
        import time

        from llmctl.render.progress import stderr_progress

        with stderr_progress(os.environ, quiet=self._quiet, now=time.monotonic) as progress:
            async with self.renting.world(progress) as world:
                await self._keep_budget(world)
                return await work(world)

    async def _keep_budget(self, world: "World") -> None:
        """Say how a budget is, and end what it no longer covers, once a command."""
        from llmctl.ops.budget import is_set, read_spend, warnings
        from llmctl.ops.budget_watch import enforce

        budget = self.loaded.config.budget
        if self._budget_kept or not is_set(budget):
            return
        self._budget_kept = True

        def warn(text: str) -> None:
            options.say(f"warning: {text}")

        for gone in await enforce(world, self.renting.release_for(world), warn):
            warn(f"{gone.rental.name} is gone")
        for text in warnings(read_spend(world.store, budget, world.clock.now())):
            warn(text)

    def rental(self, name: str | None) -> "Rental":
        """Return the rental of that name, or the only one; raises ``NotFound``."""
        from llmctl.core.rental import Phase
        from llmctl.ops.rent.down import no_such, the_only

        present = [each for each in self.renting.store.all() if each.phase is not Phase.GONE]
        if name is None:
            return the_only(present)
        found = self.renting.store.by_name(name)
        if found is None:
            raise no_such(name, present)
        return found

    def _leftover(self) -> "LlmctlError":
        """Say what a second Ctrl-C leaves behind, from the record."""
        from llmctl.core.errors import Cancelled, LeftoverInstance
        from llmctl.core.rental import Phase

        unsure = (Phase.READY, Phase.STOPPED)
        left = [
            each
            for each in self.renting.store.live()
            if each.phase not in unsure and each.provider.paid
        ]
        if not left:
            return Cancelled("interrupted")
        which = ", ".join(f"{each.name} ({_instance(each)})" for each in left)
        return LeftoverInstance(
            f"left as it is, and perhaps billed: {which}", hint=f"llmctl down {left[0].name}"
        )


def _instance(rental: "Rental") -> str:
    return f"{rental.provider.value} {rental.instance_id or 'with label ' + rental.label}"
