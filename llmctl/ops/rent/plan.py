"""What ``up`` would do, with its price, before anything is spent."""

import asyncio
from collections.abc import Collection

import msgspec

from llmctl.core.errors import AuthError, ConfigError, LlmctlError
from llmctl.core.money import MicroUsd, decimal_text
from llmctl.core.rental import (
    Account,
    Fit,
    Offer,
    Phase,
    ProviderName,
    Rental,
    UpPlan,
    UpSpec,
)
from llmctl.core.reports_cost import Spend
from llmctl.ops import budget
from llmctl.ops.rent import offers, ranking, sizing
from llmctl.ops.rent.images import image_for
from llmctl.ops.rent.world import World
from llmctl.providers.registry import market_name

ALTERNATIVES = 8
_LOW_CREDIT_HOURS = 2
_FOR_A_NEW_ONE = {
    "rent.disk_gb": ("disk_gb", "--disk"),
    "rent.gpu": ("gpu", "--gpu"),
    "rent.gpu_count": ("gpu_count", "--gpus"),
    "rent.host": ("host", "--host"),
    "rent.max_price": ("max_usd_per_hour", "--max-price"),
    "rent.min_reliability": ("min_reliability", "--min-reliability"),
    "rent.region": ("region", "--region"),
    "rent.spot": ("spot", "--spot"),
    "rent.volume": ("volume", "--volume"),
}
"""Settings of an order: field of the spec and option."""
_LEAST_S = 1800.0
"""A machine that the budget ends sooner is not worth renting."""


async def plan_up(world: World, spec: UpSpec) -> UpPlan:
    """Return the plan; reads only.

    Raises ``NoCapacity`` with the nearest miss, and ``OverBudget``.

    A rental of that name is taken up where it is; then nothing new is rented. One that is being
    destroyed is ended by ``up`` before it rents. A market whose list of instances cannot be read
    is not rented from.
    """
    existing = world.store.by_name(spec.name)
    if existing is not None and existing.phase is Phase.DESTROYING:
        existing = None
    if existing is not None and _has_machine(existing):
        return await _resumed(world, spec, existing)
    if not spec.providers[0].paid:
        return UpPlan(spec=spec, offer=None, fit=None, resumes=existing)
    budget.refuse(_spend(world))
    if spec.volume and ProviderName.RUNPOD not in spec.providers:
        raise ConfigError("network volumes exist at RunPod only", hint="add --provider runpod")
    names, problems = await _readable(world, spec)
    fit = sizing.fit(spec, offers.least_memory_mib(spec))
    wish = offers.wish_for(world, spec, disk_gb=fit.disk_gb)
    report = await offers.find_offers(world, wish, names, model_bytes=fit.model_bytes)
    if not report.offers:
        raise offers.nothing_fits(report, wish, names)
    return await _planned(world, spec, fit, report, problems, existing)


def _spend(world: World) -> Spend:
    return budget.read_spend(world.store, world.config.budget, world.clock.now())


def _within_budget(world: World, spec: UpSpec, offer: Offer) -> tuple[UpSpec, list[str]]:
    """Return the order with what the budget says to it.

    Where instances are to be ended at the limit, its own watchdog does it, whoever sleeps here.
    """
    spend = _spend(world)
    said = budget.outlook(spend, offer.usd_per_hour, spec.ttl_s)
    lasts_s = budget.lasts_s(spend, offer.usd_per_hour)
    if not said or lasts_s is None or world.config.budget.at_limit != "stop":
        return spec, said
    if lasts_s < _LEAST_S:
        raise budget.OverBudget(
            f"{said[0]}, in less than {_LEAST_S / 60:.0f} minutes; nothing is rented",
            hint="raise the budget, or set budget.at_limit to refuse",
        )
    return msgspec.structs.replace(spec, ttl_s=lasts_s), [
        f"{said[0]}; the machine ends itself then"
    ]


def _has_machine(rental: Rental) -> bool:
    """Whether there is something to take up; a create that was only sent may have made nothing."""
    if rental.provider.paid:
        return rental.instance_id is not None
    return rental.phase is not Phase.INTENT


async def _readable(
    world: World, spec: UpSpec
) -> tuple[tuple[ProviderName, ...], list[LlmctlError]]:
    """Return the markets that can be rented from; raises when there is none."""
    names = (ProviderName.RUNPOD,) if spec.volume else spec.providers
    asked = [name for name in names if name in world.providers]
    answers = await asyncio.gather(
        *(world.providers[name].instances() for name in asked), return_exceptions=True
    )
    problems = [each for each in answers if isinstance(each, LlmctlError)]
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, LlmctlError):
            raise answer
    readable = tuple(
        name for name, each in zip(asked, answers, strict=True) if isinstance(each, list)
    )
    if not readable and problems:
        raise problems[0]
    return readable, problems


async def _planned(
    world: World,
    spec: UpSpec,
    fit: Fit,
    report: offers.OfferReport,
    problems: list[LlmctlError],
    existing: Rental | None,
) -> UpPlan:
    ranked = offers.distinct(report.offers)
    best, hours = ranked[0], spec.ttl_s / 3600
    account, warnings = await _credit(world, best)
    spec, said = _within_budget(world, spec, best)
    warnings += said
    if best.spot:
        warnings.append("a spot machine may be taken away at any moment, with all that is on it")
    unasked = [f"not asked: {each.message}" for each in (*problems, *report.problems)]
    return UpPlan(
        spec=spec,
        offer=best,
        alternatives=tuple(ranked[1 : ALTERNATIVES + 1]),
        fit=fit,
        image=image_for(world, best.provider),
        why=ranking.why(ranked, model_bytes=fit.model_bytes, hours=hours),
        ready_s=ranking.ready_s(best, model_bytes=fit.model_bytes),
        ready_cost=ranking.ready_cost(best, model_bytes=fit.model_bytes),
        account=account,
        warnings=(*warnings, *unasked),
        resumes=existing,
    )


async def _resumed(world: World, spec: UpSpec, rental: Rental) -> UpPlan:
    """Take up what exists: its machine stays as it was ordered, its engine is what is asked now."""
    if rental.provider.paid and rental.provider not in world.providers:
        raise AuthError(
            f"{rental.name} is rented from {market_name(rental.provider)}, whose key is missing",
            hint=f"llmctl auth login {rental.provider.value}",
        )
    if rental.phase is Phase.STOPPED:
        raise LlmctlError(f"{rental.name} is stopped", hint=f"llmctl start {rental.name}")
    offer = rental.offer
    asked = engine_of(rental.spec, spec)
    fit = None
    if offer is not None:
        fit = sizing.fit(asked, offer.gpu_memory_mib * offer.gpu_count)
    account, warnings = (None, []) if offer is None else await _credit(world, offer)
    now = world.clock.now()
    deadline = now + asked.ttl_s if spec.timed and rental.provider.paid else None
    ends = deadline or rental.deadline
    return UpPlan(
        spec=asked,
        deadline=deadline,
        ends_in_s=max(ends - now, 0.0) if ends else None,
        offer=offer,
        fit=fit,
        image=image_for(world, rental.provider),
        account=account,
        warnings=tuple(warnings),
        resumes=rental,
    )


def engine_of(ordered: UpSpec, asked: UpSpec) -> UpSpec:
    """Return what was ordered, with the model, engine settings and times that are asked for now.

    What is not asked for stays; the disk stays too, so a model that needs more is refused later.
    """
    times = asked if asked.timed else ordered
    return msgspec.structs.replace(
        ordered,
        ttl_s=times.ttl_s,
        idle_s=times.idle_s,
        model=asked.model or ordered.model,
        num_ctx=asked.num_ctx or ordered.num_ctx,
        kv_cache_type=asked.kv_cache_type or ordered.kv_cache_type,
        parallel=asked.parallel or ordered.parallel,
    )


def without_effect(asked: UpSpec, plan: UpPlan, given: Collection[str]) -> list[str]:
    """Return the options among ``given`` settings that what exists already does not follow."""
    if plan.resumes is None:
        return []
    found = [
        option
        for key, (field, option) in _FOR_A_NEW_ONE.items()
        if key in given and getattr(asked, field) != getattr(plan.spec, field)
    ]
    elsewhere = plan.resumes.provider not in asked.providers
    return ["--provider", *found] if "rent.provider" in given and elsewhere else found


async def _credit(world: World, offer: Offer) -> tuple[Account | None, list[str]]:
    """Return what the account may spend, and a warning when that is soon gone."""
    place = market_name(offer.provider)
    provider = world.providers.get(offer.provider)
    if provider is None:
        return None, []
    try:
        account = await provider.account()
    except LlmctlError as failure:
        return None, [f"the credit at {place} is unknown: {failure.message}"]
    burn = MicroUsd((account.usd_per_hour or 0) + offer.usd_per_hour)
    credit = account.credit
    if credit is None or credit >= burn * _LOW_CREDIT_HOURS:
        return account, []
    left = decimal_text(credit, places=2)
    minutes = max(credit, 0) * 60 // max(burn, 1)
    warning = (
        f"the credit of ${left} at {place} lasts {minutes} minutes at "
        f"${decimal_text(burn, places=2)}/h; what runs is stopped, or destroyed, when it is spent"
    )
    return account, [warning]
