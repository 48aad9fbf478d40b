"""An account, its market and the commands that are run against it."""

from pathlib import Path

from llmctl.core.errors import NotFound
from llmctl.core.rental import Phase, ProviderName, Rental, UpSpec
from llmctl.ops.rent.down import down, plan_down
from llmctl.ops.rent.plan import plan_up
from llmctl.ops.rent.power import start, stop
from llmctl.ops.rent.status import collect
from llmctl.ops.rent.up import up
from llmctl.state.store import RentalStore
from tests.emulators.market import ManualClock, Market
from tests.emulators.provider import InProcessProvider
from tests.matrix.laptop import Laptop

TTL_S = 4 * 3600.0
SPEC = UpSpec(name="main", providers=(ProviderName.VAST,), ttl_s=TTL_S)
FOREIGN = 30
"""With pages of 25, ours are on the second."""


async def _nothing(_rental: Rental) -> None:
    """Nothing of ours runs on machines that are not rented: there are none here."""


class Bed:
    """Everything but the laptop; it lasts while processes come and go."""

    def __init__(self, home: Path, *, foreign: int = 0, machines: int = 6) -> None:
        self.path = home / "rentals.db"
        self.clock = ManualClock()
        self.reader = RentalStore(self.path, clock=self.clock)
        self.market = Market(self.clock)
        self.provider = InProcessProvider(self.market, machines=machines)
        self.foreign = self.provider.foreign(foreign)

    def laptop(self, **how) -> Laptop:
        return Laptop(self.path, self.provider, **how)

    # -- commands, each in a process of its own --------------------------------------------------

    def up(self, spec: UpSpec = SPEC, **how):
        laptop = self.laptop(**how)

        async def command():
            return await up(laptop.world, await plan_up(laptop.world, spec), _nothing)

        return laptop.run(command())

    def down(self, *names: str, everything: bool = False, **how):
        laptop = self.laptop(**how)

        async def command():
            plan = plan_down(laptop.record, names, everything=everything)
            return await down(laptop.world, plan, _nothing)

        return laptop.run(command())

    def status(self, **how):
        laptop = self.laptop(**how)

        async def command():
            return await collect(laptop.world)

        return laptop.run(command())

    def stop(self, name: str, **how):
        laptop = self.laptop(**how)
        return laptop.run(stop(laptop.world, self._named(name)))

    def start(self, name: str, **how):
        laptop = self.laptop(**how)
        return laptop.run(start(laptop.world, self._named(name)))

    def _named(self, name: str) -> Rental:
        found = [each for each in self.rentals() if each.name == name]
        if not found:
            raise NotFound(f"there is no instance called {name!r}")
        return found[0]

    def close(self) -> None:
        self.reader.close()

    # -- what there is ---------------------------------------------------------------------------

    def rentals(self) -> list[Rental]:
        return [each for each in self.reader.all() if each.phase is not Phase.GONE]

    def live(self) -> set[str]:
        return {each.id for each in self.market.ours()}

    def creates(self) -> int:
        return sum(call.operation == "create" for call in self.market.calls)

    # -- what must hold --------------------------------------------------------------------------

    def check_agreement(self) -> None:
        """Live instances are exactly those on record, and nothing on record is in doubt."""
        rentals = self.rentals()
        unsure = [each for each in rentals if each.phase.live and each.instance_id is None]
        assert not unsure, f"in doubt: {unsure}"
        assert self.live() == {each.instance_id for each in rentals if each.phase.live}

    def check_foreign(self) -> None:
        """Nobody has asked for a change of what is not ours."""
        theirs = {each.id for each in self.foreign}
        assert not [each for each in self.provider.written if each[1] in theirs]
        assert all(each.ended_at is None and each.running for each in self.foreign)

    def check_quiet(self) -> None:
        """Nothing of ours lives, and nothing is billed any more."""
        assert self.live() == set()
        bill = self.market.bill()
        self.clock.advance(7 * 86400.0)
        assert self.market.bill() == bill
