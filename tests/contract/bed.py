"""A market under test: its emulator, its adapter, and the words the suite uses for what goes wrong.

Each market has one file ``<market>_bed.py`` with an async context manager that yields a ``Bed``;
``conftest.BEDS`` names them. The suite speaks of operations (``account``, ``offers``, ``create``,
``list``, ``get``, ``destroy``, ``stop``, ``start``, ``logs``) and of these faults, which every bed
translates for its emulator where the emulator calls them otherwise:

nothing is done    429, http_500, http_503, html, empty (``""``), null, old_schema, reset_before,
                   hang_before, unauthorized
it is done first   reset_after, hang_after, http_500_after, html_after
create             offer_gone, no_funds, bad_request
destroy            lies (says yes, keeps it), gone (404)
start              gpu_taken
fates              never_scheduled, stuck (its image never arrives), dead (can never come up),
                   no_address (runs, but nobody can reach its sshd)
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from llmctl.core.rental import Instance, Offer, OfferWish, Order, ProviderName
from llmctl.providers.base import Provider
from tests.emulators.market import Machine, ManualClock, Market

PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZpcnN0IGtleSBvZiB0aGlzIGluc3RhbGwh llmctl-test"
LABEL = "llmctl/0a1b2c3d/{:032x}"
COMES_UP_S = 600.0
"""Virtual seconds in which a healthy machine is running."""


@dataclass
class Bed:
    """One market, ready: ``provider`` talks to the emulator, ``market`` is what is behind it."""

    name: ProviderName
    market: Market
    clock: ManualClock
    provider: Provider
    """With the right key."""
    with_key: Callable[[str], Provider]
    """The same with another key."""
    foreign: Callable[[int], list[Machine]]
    """Add so many machines of somebody else to the account."""
    set_fate: Callable[[str | None], None]
    """Of the machines created from now on; None for healthy."""
    poison: Callable[..., None]
    """``poison(operation, fault, times=1)``: times -1 is for ever."""
    gpu: str = "rtx4090"
    """A card that this market offers from the start."""
    features: frozenset[str] = frozenset()
    """``stop``; ``logs``; ``credit``: the account says its money; ``spot``; ``pages``: lists come
    in pages; ``machine_key``: create answers with a key of that instance alone."""
    operations: Mapping[str, str] = field(default_factory=dict)
    """Where the emulator names an operation otherwise."""
    hasty: Provider | None = None
    """The same with deadlines short enough to wait for, if ``provider`` has others."""
    emulator: Any = None
    """For tests of one market alone."""
    made: int = 0

    @property
    def impatient(self) -> Provider:
        return self.hasty or self.provider

    def wish(self, **changes) -> OfferWish:
        return OfferWish(**({"gpus": (self.gpu,), "disk_gb": 60} | changes))

    async def offer(self, **changes) -> Offer:
        """Return the cheapest."""
        offers = await self.provider.offers(self.wish(**changes))
        return min(offers, key=lambda each: (each.usd_per_hour, each.id))

    def order(self, offer: Offer, **changes) -> Order:
        self.made += 1
        usual = {
            "offer": offer,
            "label": LABEL.format(self.made),
            "image": "ghcr.io/example/sshd:1",
            "disk_gb": 60,
            "public_key": PUBLIC_KEY,
            "start_script": 'echo "until $LLMCTL_DEADLINE"\n',
            "deadline": self.clock.now() + 3600,
        }
        return Order(**(usual | changes))

    async def rent(self, **changes) -> str:
        """Create an instance and return its id."""
        return (await self.provider.create(self.order(await self.offer(), **changes))).id

    async def up(self, **changes) -> Instance:
        """Create an instance and let the time pass until it runs."""
        instance_id = await self.rent(**changes)
        self.clock.advance(COMES_UP_S)
        instance = await self.provider.get(instance_id)
        assert instance is not None
        return instance

    def calls(self, operation: str) -> int:
        """How many requests of this kind the emulator saw."""
        wanted = self.operations.get(operation, operation)
        return sum(call.operation == wanted for call in self.market.calls)
