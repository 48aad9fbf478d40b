"""What ``ops`` needs of a market, whatever its wire format.

Poll-shaped: each method makes its calls and returns; the caller owns waiting, deadlines and what a
failure means. An answer that cannot be read in full raises ``ProviderError``, never looks empty.
"""

from typing import Protocol, runtime_checkable

from llmctl.core.billing import Bill
from llmctl.core.rental import Account, Created, Instance, Offer, OfferWish, Order, ProviderName


class Provider(Protocol):
    """One account at one market. Methods raise ``AuthError`` for a missing or refused key."""

    name: ProviderName
    key_hint: str
    """Where the key comes from and its last four characters; never more of it."""

    async def account(self) -> Account:
        """Check the key, and say what may be spent."""
        ...

    async def offers(self, wish: OfferWish) -> list[Offer]:
        """Return what can be rented now and fits ``wish``, in no order; reads only.

        Every bound is applied again to what came back, but ``max_usd_per_hour``: dearer offers
        are returned too, for the caller to name the nearest miss.
        """
        ...

    async def create(self, order: Order) -> Created:
        """Rent; sent exactly once.

        Raises ``NoCapacity`` when the offer is gone, ``InsufficientCredit``, ``OutcomeUnknown``
        when the request may have been accepted though its answer was lost (time-out, reset, 5xx,
        unreadable), ``ProviderError`` when it was refused. An error that names an instance made
        all the same ends that instance before it is raised, or is ``OutcomeUnknown``.
        """
        ...

    async def get(self, instance_id: str) -> Instance | None:
        """Return one instance; None only where the provider says that it does not exist."""
        ...

    async def instances(self) -> list[Instance]:
        """Return everything on the account, every page; also what is not ours."""
        ...

    async def destroy(self, instance_id: str) -> None:
        """Ask for its end; what is already gone is success. Proof is the caller's business."""
        ...

    async def logs(self, instance_id: str, *, lines: int) -> list[str]:
        """Return the last lines that the container printed."""
        ...

    def console_url(self, instance_id: str) -> str:
        """Return the page on which a person can end it."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class SupportsStop(Protocol):
    """Instances that can be stopped and started again."""

    async def stop(self, instance_id: str) -> None:
        """Stop; its disk is kept, and may be billed. Also takes back a queued start."""
        ...

    async def start(self, instance_id: str) -> None:
        """Start again; raises ``NoCapacity`` when its GPU is taken, with nothing left queued."""
        ...


@runtime_checkable
class SupportsBilling(Protocol):
    """Markets that show what they charged."""

    async def bill(self, since: float, until: float) -> Bill:
        """Return what was charged for instances between two moments (Unix time); reads only.

        Everything on the account, instances that are gone included. Charges may begin before and
        end after the range, and come late: what is missing is not known yet, and not free.
        """
        ...
