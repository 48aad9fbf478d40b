"""What renting may cost a day and a month: told at 80 %, acted on at 100 %, never silently.

Counted by our own record (recorded time at its recorded price), as bills come too late to act on.
Pure but for reading the record; who acts on it is in ``budget_watch``.
"""

from collections.abc import Iterable
from datetime import datetime

from llmctl.config.schema import BudgetConfig
from llmctl.core.errors import LlmctlError
from llmctl.core.money import HOUR_S, MicroUsd, decimal_text, micro_usd
from llmctl.core.reports_cost import Limit, Money, Spend
from llmctl.ops.cost_days import Zone, day_of, find_zone, month_of
from llmctl.ops.cost_meter import Stretch, add, read_stretches
from llmctl.state.store import RentalStore

NEAR = 0.8
"""Share of a budget from which on it is mentioned."""
_PACE_S = 7 * 86_400.0
_DAY_S = 86_400.0


class OverBudget(LlmctlError):
    """A budget is used up: nothing new is rented."""

    code = "budget"


def read_spend(store: RentalStore, budget: BudgetConfig, now: float) -> Spend:
    """Return what renting costs now, today and this month; raises ``StateError``.

    Also for a record that does not exist yet, which is not made by looking.
    """
    stretches = read_stretches(store, now) if store.path.exists() else []
    return spend_of(stretches, budget, now)


def spend_of(stretches: list[Stretch], budget: BudgetConfig, now: float) -> Spend:
    """Return the same from what was read already."""
    zone = find_zone(budget.timezone)
    today, month = day_of(now, zone), month_of(now, zone)
    day_money = _between(stretches, today.begins, now)
    month_money = _between(stretches, month.begins, now)
    running = [each for each in stretches if each.open]
    burn = sum(each.usd_per_hour or 0 for each in running)
    left_s = month.ends - now
    pace = _pace(stretches, now)
    spent = month_money.metered_usd
    bounds = (
        ("day", budget.usd_per_day, today, day_money),
        ("month", budget.usd_per_month, month, month_money),
    )
    return Spend(
        at=now,
        timezone=budget.timezone,
        usd_per_hour=MicroUsd(burn),
        unpriced=sum(each.usd_per_hour is None for each in running),
        today_usd=day_money.metered_usd,
        month_usd=spent,
        projected_month_usd=MicroUsd(spent + round(pace * left_s)),
        left_running_month_usd=MicroUsd(spent + round(burn * left_s / HOUR_S)),
        unpriced_s=month_money.unpriced_s,
        limits=[
            Limit(
                period=period,  # type: ignore[arg-type]
                begins=span.begins,
                ends=span.ends,
                budget_usd=micro_usd(amount),
                spent_usd=money.metered_usd,
                unpriced=money.unpriced_s > 0,
            )
            for period, amount, span, money in bounds
            if amount is not None
        ],
    )


def warnings(spend: Spend) -> list[str]:
    """Return a sentence for each budget that is nearly or wholly used up, or cannot be kept."""
    found = [sentence(each, spend) for each in spend.limits if each.share >= NEAR]
    if spend.limits and spend.unpriced:
        found.append(
            f"{spend.unpriced} of what is rented has no known price: "
            "the budget counts it as nothing, and it is not"
        )
    return found


def refuse(spend: Spend) -> None:
    """Raise ``OverBudget`` where a budget is used up."""
    for limit in spend.limits:
        if limit.share >= 1:
            key = f"budget.usd_per_{limit.period}"
            twice = decimal_text(MicroUsd(max(limit.budget_usd, limit.spent_usd) * 2), places=2)
            raise OverBudget(
                f"{sentence(limit, spend)}; nothing new is rented",
                hint=f"wait until then, or raise it: llmctl config set {key} {twice}",
            )


def lasts_s(spend: Spend, usd_per_hour: MicroUsd) -> float | None:
    """Return how long the budgets last with one more machine; None where they never end."""
    burn = spend.usd_per_hour + usd_per_hour
    if not burn:
        return None
    found = (_runs_out_s(limit, spend.at, burn) for limit in spend.limits)
    return min((each for each in found if each is not None), default=None)


def _runs_out_s(limit: Limit, now: float, burn: int) -> float | None:
    """Return when a budget is used up: in this period, or in the next, which begins anew."""
    left_s, rest_s = limit.left_usd * HOUR_S / burn, limit.ends - now
    if left_s < rest_s:
        return left_s
    fresh_s = limit.budget_usd * HOUR_S / burn
    return rest_s + fresh_s if fresh_s < limit.ends - limit.begins else None


def outlook(spend: Spend, usd_per_hour: MicroUsd, seconds: float) -> list[str]:
    """Return a sentence if a machine would use up a budget before it ends itself."""
    until = lasts_s(spend, usd_per_hour)
    if until is None or until >= seconds:
        return []
    burn = decimal_text(MicroUsd(spend.usd_per_hour + usd_per_hour), places=3)
    moment = moment_text(spend.at + until, find_zone(spend.timezone))
    return [f"at ${burn}/h in all the budget is used up at {moment}"]


def is_set(budget: BudgetConfig) -> bool:
    """Whether there is a budget at all."""
    return budget.usd_per_day is not None or budget.usd_per_month is not None


def moment_text(moment: float, zone: Zone) -> str:
    """Return a moment as people of the zone read it: ``2026-11-24 00:00 Europe/Berlin``."""
    local = datetime.fromtimestamp(moment, zone)
    name = "local time" if zone is None else str(zone)
    return f"{local:%Y-%m-%d %H:%M} {name}"


def sentence(limit: Limit, spend: Spend) -> str:
    """Say how far a budget is used up, and until when."""
    zone = find_zone(spend.timezone)
    spent = decimal_text(limit.spent_usd, places=2)
    budget = decimal_text(limit.budget_usd, places=2)
    state = (
        f"the {limit.period}'s budget is used up"
        if limit.share >= 1
        else f"{int(limit.share * 100)} % of the {limit.period}'s budget is used"
    )
    text = f"{state}: ${spent} of ${budget}; it begins anew at {moment_text(limit.ends, zone)}"
    if limit.share < 1 and spend.usd_per_hour:
        lasts = spend.at + limit.left_usd * HOUR_S / spend.usd_per_hour
        if lasts < limit.ends:
            text += f", and what runs has used it up at {moment_text(lasts, zone)}"
    return text


def _between(stretches: Iterable[Stretch], begins: float, ends: float) -> Money:
    return add(each.within(begins, ends) for each in stretches if each.ends >= begins)


def _pace(stretches: list[Stretch], now: float) -> float:
    """Return micro-dollars a second: of the last seven days, or since the first rental if later."""
    begins = max(now - _PACE_S, min((each.begins for each in stretches), default=now))
    spent = _between(stretches, begins, now).metered_usd
    return spent / max(now - begins, _DAY_S)
