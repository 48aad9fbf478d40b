"""What ``cost`` and the budget report: money in micro-dollars, never zero for what is unknown."""

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from llmctl.core.money import MicroUsd

GroupBy = Literal["day", "instance", "model", "tenant"]
TARGET_SHARE = 0.81
"""Of what a cloud API would have cost: what llmctl is meant to save."""


class Money(Struct, frozen=True, kw_only=True):
    """What something cost: by our own record, and by the market's.

    ``metered - unbilled + unmetered + difference`` is what is billed, to the micro-dollar.
    """

    metered_usd: MicroUsd = MicroUsd(0)
    """Recorded time at its recorded price, and planned traffic; without what has no price."""
    running_usd: MicroUsd = MicroUsd(0)
    stopped_usd: MicroUsd = MicroUsd(0)
    traffic_usd: MicroUsd = MicroUsd(0)
    """Image, engine and model at the offer's price for traffic; an estimate."""
    running_s: float = 0.0
    stopped_s: float = 0.0
    unpriced_s: float = 0.0
    """Time whose price nobody told; it cost something that is not in ``metered_usd``."""
    billed_usd: MicroUsd | None = None
    """What the market says, net of refunds; None where it said nothing."""
    unbilled_usd: MicroUsd = MicroUsd(0)
    """The part of ``metered_usd`` that no line of a bill covers: late, left out, or not read."""
    unmetered_usd: MicroUsd = MicroUsd(0)
    """On the bill, for what has no price or no time on our record."""
    refunded_usd: MicroUsd = MicroUsd(0)
    """Lines of the bill below zero, as a positive amount."""
    rounding_usd: MicroUsd = MicroUsd(0)
    """How much of the difference the market's rounding may explain."""

    @property
    def difference_usd(self) -> MicroUsd | None:
        """What the bill has beyond our record, for the same time; None without a bill."""
        if self.billed_usd is None:
            return None
        ours = self.metered_usd - self.unbilled_usd + self.unmetered_usd
        return MicroUsd(self.billed_usd - ours)

    @property
    def spent_usd(self) -> MicroUsd:
        """Return the best figure: what was billed where it was, else what was metered."""
        if self.billed_usd is None:
            return self.metered_usd
        return MicroUsd(self.billed_usd + self.unbilled_usd)

    @property
    def complete(self) -> bool:
        """Whether ``spent_usd`` is all: time without a price is known only from a bill."""
        return not self.unpriced_s or self.unmetered_usd > 0


class Use(Struct, frozen=True, kw_only=True):
    """What was got for it."""

    requests: int = 0
    errors: int = 0
    hits: int = 0
    """Answers from the cache, by exact or by like question."""
    shared: int = 0
    """Answers that another request in flight brought along."""
    misses: int = 0
    """Answers an engine made."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    """Prompt tokens that the engine had in its prefix cache, where it says so."""
    hit_tokens: int = 0
    """Prompt and answer of hits and shared answers."""
    hit_completion_tokens: int = 0
    miss_tokens: int = 0
    miss_completion_tokens: int = 0
    hit_s: float = 0.0
    """Time that hits and shared answers took, added up."""
    engine_s: float = 0.0
    """Time that engines worked on answers, added up; failed ones included."""
    cloud_usd: MicroUsd = MicroUsd(0)
    """What the same tokens would have cost at cloud APIs."""
    cloud_cached_usd: MicroUsd = MicroUsd(0)
    """The same if every prompt token had come from the API's prompt cache: the least possible."""
    cloud_hits_usd: MicroUsd = MicroUsd(0)
    """The part of ``cloud_usd`` that cache hits and shared answers are."""

    @property
    def answers(self) -> int:
        return self.hits + self.shared + self.misses

    @property
    def tokens(self) -> int:
        """Of all that was answered."""
        return self.hit_tokens + self.miss_tokens


class UnitCosts(Struct, frozen=True, kw_only=True):
    """Dollars for one of something, with the idle time in it; None where there is none of it."""

    usd_per_million_tokens: Decimal | None = None
    usd_per_hit: Decimal | None = None
    """By the time that hits took, among all that was done."""
    usd_per_miss: Decimal | None = None
    busy_usd_per_hit: Decimal | None = None
    busy_usd_per_miss: Decimal | None = None
    """For the time it took alone, without the hours in which nobody asked."""


class Compared(Struct, frozen=True, kw_only=True):
    """One cloud price that was used, and for how many requests."""

    model: str
    """Whose price it is."""
    asked: str
    """What was asked for, or the engine's model."""
    requests: int
    assumed: bool
    """The name has no price: that of ``model`` stands in."""
    source: str
    checked: str = ""
    """Date at which the price was read."""


class Savings(Struct, frozen=True, kw_only=True):
    """Against cloud APIs."""

    cloud_usd: MicroUsd
    cloud_cached_usd: MicroUsd
    saved_usd: MicroUsd | None
    """None while it is not known what was spent. Below zero where the cloud would be cheaper."""
    saved_share: float | None
    least_saved_share: float | None
    """If every prompt token had come from the API's prompt cache."""
    target_share: float = TARGET_SHARE
    cache_cloud_usd: MicroUsd
    """What the answers from the cache would have cost there."""
    cache_engine_s: float | None
    """Engine time that they would have taken here."""
    cache_usd: MicroUsd | None
    """That time at the price of the machines."""
    compared_with: list[Compared] = []


class BreakEven(Struct, frozen=True, kw_only=True):
    """How much use renting needs. Answers given at the same time count each: it may exceed 1."""

    utilisation: float | None
    """Engine time ÷ time the machines ran."""
    break_even_utilisation: float | None
    """At which renting and the cloud cost the same, with this mix of requests."""
    hours_a_day: float | None = None
    """The same as hours of engine time in a day of 24 rented hours."""


class Limit(Struct, frozen=True, kw_only=True):
    """One budget and how far it is used up."""

    period: Literal["day", "month"]
    begins: float
    """Unix time."""
    ends: float
    budget_usd: MicroUsd
    spent_usd: MicroUsd
    unpriced: bool = False
    """Something of unknown price runs or ran: more was spent."""

    @property
    def share(self) -> float:
        return self.spent_usd / self.budget_usd if self.budget_usd else 1.0

    @property
    def left_usd(self) -> MicroUsd:
        return MicroUsd(max(self.budget_usd - self.spent_usd, 0))


class Spend(Struct, frozen=True, kw_only=True):
    """What renting costs now, today and this month, by our own record."""

    at: float
    """Unix time."""
    timezone: str
    usd_per_hour: MicroUsd
    """Of everything that exists now."""
    unpriced: int = 0
    """Instances that exist and whose price is unknown; they are not in it."""
    today_usd: MicroUsd
    month_usd: MicroUsd
    projected_month_usd: MicroUsd
    """At the pace of the last seven days."""
    left_running_month_usd: MicroUsd
    """If what exists now went on until the month ends."""
    unpriced_s: float = 0.0
    """Time of this month whose price is unknown."""
    limits: list[Limit] = []


class CostRow(Struct, frozen=True, kw_only=True):
    """One day, instance, model or tenant."""

    name: str
    money: Money | None
    """None where nothing is known of what it cost; a share by engine time for models, tenants."""
    use: Use
    begins: float | None = None
    """Unix time, of days."""
    ends: float | None = None


class CostReport(Struct, frozen=True, kw_only=True):
    """Everything ``cost`` shows."""

    since: float
    """Unix time."""
    until: float
    timezone: str
    group_by: GroupBy
    money: Money | None
    """None where nothing was rented and no price was given: what it cost is unknown."""
    use: Use
    unit: UnitCosts
    savings: Savings
    break_even: BreakEven
    spend: Spend
    rows: list[CostRow]
    notes: list[str] = []
    """What is not known, and why; what was assumed."""
