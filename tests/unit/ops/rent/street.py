"""A stage whose market bills, fails and lags: for the rooms that rent, prove and end."""

from pathlib import Path

from msgspec.structs import replace

from llmctl.core.rental import Phase, ProviderName, Rental, UpPlan
from llmctl.ops.rent.launch import Launched, rent
from tests.emulators.market import Machine, Market
from tests.emulators.provider import InProcessProvider
from tests.unit.ops.rent.stage import Stage, a_spec, an_offer

VAST = ProviderName.VAST


class Street(Stage):
    """``provider`` is in the world, ``market`` behind it."""

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.account = Market(self.clock)
        self.provider = InProcessProvider(self.account)
        self.world.providers = {VAST: self.provider}
        self.launched = Launched()

    def plan(self, offers: int = 5) -> UpPlan:
        spec = a_spec(ttl_s=3600.0)
        ranked = [an_offer(id=f"offer-{n}", machine=f"m{n}") for n in range(1, offers + 1)]
        return UpPlan(spec=spec, offer=ranked[0], alternatives=tuple(ranked[1:]), fit=None)

    def begin(self, name: str = "main") -> Rental:
        return self.store.begin(replace(self.plan().spec, name=name), VAST)

    async def rent(self, plan: UpPlan | None = None, name: str = "main") -> Rental:
        return await rent(self.world, self.begin(name), plan or self.plan(), self.launched)

    async def rented(self, name: str = "main") -> tuple[Rental, Machine]:
        """Rent one, and return both sides of it."""
        rental = await self.rent(name=name)
        return rental, self.account.machines[rental.instance_id]

    def fault(self, operation: str, kind: str, times: int = 1, after: int = 0) -> None:
        self.account.faults.add(operation, kind, times=times, after=after)

    def calls(self, operation: str) -> int:
        return sum(call.operation == operation for call in self.account.calls)

    def phases(self, rental: Rental) -> list[Phase]:
        return [entry.phase for entry in self.store.journal(rental.uuid)]
