"""Who keeps the budget: every command that asks a market, and processes that run for long.

``serve`` and ``tunnel`` look every minute while they hold a way to a rented machine. A machine that
nobody looks at ends itself at its own deadline.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

from msgspec import Struct

from llmctl.core.reports import Down, DownPlan
from llmctl.core.reports_cost import Spend
from llmctl.core.tasks import Tasks
from llmctl.ops.budget import NEAR, is_set, read_spend, sentence
from llmctl.ops.rent.down import Release, down
from llmctl.ops.rent.world import World

log = logging.getLogger(__name__)

WATCH_S = 60.0
"""Between two looks of a process that runs for long."""


async def enforce(world: World, release: Release, say: Callable[[str], None]) -> list[Down]:
    """End everything that is rented, if a budget is used up and says so; tells before it acts.

    Also what is stopped, whose disk is billed; not what another process works on, which looks by
    itself. Raises ``LeftoverInstance`` as ``down`` does.
    """
    budget, store = world.config.budget, world.store
    if budget.at_limit != "stop" or not is_set(budget):
        return []
    spend = read_spend(store, budget, world.clock.now())
    over = [each for each in spend.limits if each.share >= 1]
    live = store.live() if over else []
    rentals = [each for each in live if each.provider.paid and not store.worked_on(each.name)]
    if not rentals:
        return []
    names = ", ".join(each.name for each in rentals)
    say(f"{sentence(over[0], spend)}; budget.at_limit is stop: ending {names}")
    return await down(world, DownPlan(rentals=rentals), release)


class BudgetWatch(Struct, frozen=True, kw_only=True):
    """Looks at the budget while a process runs for long."""

    look: Callable[[], Spend]
    """Blocking; run in a thread."""
    act: Callable[[Callable[[str], None]], Awaitable[list[Down]]]
    """``enforce``, given how to say it."""
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    say: Callable[[str], None] = lambda text: log.warning("%s", text)
    alarm: Callable[[str], None] = lambda text: log.error("%s", text)
    """For what is used up, ended, or not kept: said also where only failures are."""

    @contextlib.asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Run while the block lasts."""
        tasks = Tasks()
        tasks.start(self.run(), name="budget")
        try:
            yield
        finally:
            await tasks.close()

    async def run(self) -> None:
        """Say what changes, and end what has to end; goes on for ever, whatever fails."""
        said: set[tuple[str, float, bool]] = set()
        trouble = ""
        while True:
            before, trouble = trouble, ""
            try:
                await self._round(said)
            except Exception as failure:  # noqa: BLE001  what is rented costs money all the same
                trouble = str(failure) or type(failure).__name__
            if trouble not in ("", before):
                self.alarm(f"the budget is not kept: {trouble}")
            await self.sleep(WATCH_S)

    async def _round(self, said: set[tuple[str, float, bool]]) -> None:
        spend = await asyncio.to_thread(self.look)
        for limit in spend.limits:
            state = (limit.period, limit.begins, limit.share >= 1)
            if limit.share >= NEAR and state not in said:
                said.add(state)
                tell = self.alarm if limit.share >= 1 else self.say
                tell(sentence(limit, spend))
        if any(limit.share >= 1 for limit in spend.limits):
            for gone in await self.act(self.alarm):
                self.alarm(f"{gone.rental.name} is gone")
