"""What the use cases of renting return, for people and programs to be shown."""

from msgspec import Struct

from llmctl.core.errors import LlmctlError
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Instance, InstanceState, Phase, ProviderName, Rental


class InstanceStatus(Struct, frozen=True, kw_only=True):
    """One rental as it is now."""

    name: str
    provider: ProviderName
    instance_id: str | None
    phase: Phase
    state: InstanceState | None
    """What the market says; None where it was not asked, or does not know it."""
    gpu: str
    model: str | None
    num_ctx: int | None
    usd_per_hour: MicroUsd | None
    """What it costs in this state."""
    spent_usd: MicroUsd | None
    """By its recorded prices; None where one is unknown."""
    seconds_left: float | None
    """Until its watchdog ends it."""
    idle_s: float | None
    """It also ends itself after so long without a request."""
    idle_left_s: float | None = None
    """Until that happens, if nobody uses it; None where its watchdog was not asked."""
    address: str = ""
    detail: str = ""


class Reconciled(Struct, frozen=True, kw_only=True):
    """What the comparison found and mended."""

    adopted: list[Rental] = []
    """Their create had lost its answer; they have an id now."""
    ended: list[Rental] = []
    """On record, and proved absent."""
    strays: list[Instance] = []
    """Under our label, but of no rental we know: only a person may say what becomes of them."""
    problems: list[LlmctlError] = []
    """What could not be mended, or said."""


class Listed(Struct, frozen=True, kw_only=True):
    """An instance and what we know of it."""

    instance: Instance
    rental: Rental | None
    """None for what is not on record here."""
    ours: bool
    """Under a label of llmctl, of this installation or another."""
    here: bool
    """Under a label of this installation."""


class Listing(Struct, frozen=True, kw_only=True):
    """The accounts as they are now."""

    found: list[Listed]
    problems: list[LlmctlError] = []


class PowerPlan(Struct, frozen=True, kw_only=True):
    """What stopping or starting means for the bill."""

    rental: Rental
    usd_per_hour: MicroUsd | None
    """While it runs."""
    stopped_usd_per_hour: MicroUsd | None
    """While it is stopped."""
    note: str
    """What becomes of the model and the GPU."""


class DownPlan(Struct, frozen=True, kw_only=True):
    """What would be ended; nothing has been."""

    rentals: list[Rental]
    already: list[str] = []
    """Names that are down already."""


class Down(Struct, frozen=True, kw_only=True):
    """One rental that has ended."""

    rental: Rental
    spent: MicroUsd | None
    """What it came to, by its price; None where the price is not known."""


class UpResult(Struct, frozen=True, kw_only=True):
    """A model that answers."""

    rental: Rental
    tokens_per_s: float | None
    """Of its first answer; None where it was ready before."""
    seconds: float
    own_seconds: float
    """CPU time of this process: what was not waiting for market, network or disk."""
    spent: MicroUsd | None
