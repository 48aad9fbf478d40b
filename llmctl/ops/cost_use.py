"""What the money bought, and what the same tokens would have cost at a cloud API; pure."""

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec

from llmctl.core.money import MicroUsd
from llmctl.core.reports_cost import BreakEven, Compared, Money, Savings, UnitCosts, Use
from llmctl.core.usage import ANSWERED, CacheOutcome
from llmctl.ledger.costs import Sum
from llmctl.ops.prices import CloudPrice, PriceTable

_EPOCH = date(1970, 1, 1)
_MILLION = 1_000_000
_PLACES = Decimal("0.000000001")
"""A hit may cost less than a micro-dollar."""
FREE = frozenset({*(each.value for each in ANSWERED), CacheOutcome.SHARED.value})
"""Outcomes that took no engine's time."""
NOTHING = Use()


class Pricing:
    """Looks up what each request is compared with; keeps count of it."""

    def __init__(self, table: PriceTable, compare: str | None = None) -> None:
        """``compare`` names the cloud model for all requests; without it each names its own."""
        self._table = table
        self._compare = compare
        self._found: dict[tuple[str, int], CloudPrice] = {}
        self._used: Counter[tuple[str, str, bool, str, str]] = Counter()

    def use_of(self, each: Sum) -> Use:
        """Return one sum of the ledger as what it is worth."""
        if each.failed:
            return Use(requests=each.requests, errors=each.requests, engine_s=_engine_s(each))
        price = self._price(each)
        tokens = {"prompt": each.prompt_tokens, "completion": each.completion_tokens}
        cloud = price.of(**tokens, cached=each.cached_prompt_tokens)
        least = price.of(**tokens, cached=each.prompt_tokens)
        total = each.prompt_tokens + each.completion_tokens
        free = each.cache in FREE
        return Use(
            requests=each.requests,
            hits=each.requests if free and each.cache != CacheOutcome.SHARED else 0,
            shared=each.requests if each.cache == CacheOutcome.SHARED else 0,
            misses=0 if free else each.requests,
            prompt_tokens=each.prompt_tokens,
            completion_tokens=each.completion_tokens,
            cached_prompt_tokens=each.cached_prompt_tokens,
            hit_tokens=total if free else 0,
            hit_completion_tokens=each.completion_tokens if free else 0,
            miss_tokens=0 if free else total,
            miss_completion_tokens=0 if free else each.completion_tokens,
            hit_s=each.total_ms / 1000 if free else 0.0,
            engine_s=_engine_s(each),
            cloud_usd=cloud,
            cloud_cached_usd=least,
            cloud_hits_usd=cloud if free else MicroUsd(0),
        )

    def compared(self) -> list[Compared]:
        """Return the prices that were used, those of most requests first."""
        return [
            Compared(
                model=model,
                asked=asked,
                requests=requests,
                assumed=assumed,
                source=source,
                checked=checked,
            )
            for (model, asked, assumed, source, checked), requests in self._used.most_common()
        ]

    def _price(self, each: Sum) -> CloudPrice:
        asked = self._compare or each.model_asked
        price = self._found.get((asked, each.day))
        if price is None:
            day = _EPOCH + timedelta(days=each.day)
            price = self._found[asked, each.day] = self._table.price_of(asked, day)
        checked = price.checked.isoformat() if price.checked else ""
        self._used[price.model, asked, price.assumed, price.source, checked] += each.requests
        return price


def add(parts: Iterable[Use]) -> Use:
    """Return the sum."""
    sums = dict.fromkeys(Use.__struct_fields__, 0)
    for part in parts:
        for field in sums:
            sums[field] += getattr(part, field)
    return msgspec.convert(sums, Use)


def unit_costs(money: Money | None, use: Use) -> UnitCosts:
    """Return what a million tokens, a hit and a miss cost.

    All the money is spread over what was done, by the time each took: hits and misses at these
    prices add up to what was spent. The prices without idle time are those of a machine that does
    one thing after the other without a pause.
    """
    if money is None or not money.complete:
        return UnitCosts()
    spent, tokens = Fraction(money.spent_usd), use.tokens
    done_s = Fraction(use.hit_s) + Fraction(use.engine_s)
    second = spent / done_s if done_s else None
    running = _running(money)
    free = use.hits + use.shared
    return UnitCosts(
        usd_per_million_tokens=_dollars(spent * _MILLION / tokens) if tokens else None,
        usd_per_hit=_each(second, use.hit_s, free),
        usd_per_miss=_each(second, use.engine_s, use.misses),
        busy_usd_per_hit=_each(running, use.hit_s, free),
        busy_usd_per_miss=_each(running, use.engine_s, use.misses),
    )


def savings(money: Money | None, use: Use, compared: list[Compared]) -> Savings:
    """Return what was saved against the cloud, and what the cache has to do with it."""
    spent = money.spent_usd if money is not None and money.complete else None
    engine_s = _spared_s(use)
    return Savings(
        cloud_usd=use.cloud_usd,
        cloud_cached_usd=use.cloud_cached_usd,
        saved_usd=None if spent is None else MicroUsd(use.cloud_usd - spent),
        saved_share=_saved(use.cloud_usd, spent),
        least_saved_share=_saved(use.cloud_cached_usd, spent),
        cache_cloud_usd=use.cloud_hits_usd,
        cache_engine_s=engine_s,
        cache_usd=_machine_usd(money, engine_s),
        compared_with=compared,
    )


def break_even(money: Money | None, use: Use) -> BreakEven:
    """Return the utilisation at which renting and the cloud cost the same.

    The same mix of requests is taken for granted: twice the use would have cost twice as much in
    the cloud, and the machine nothing more.
    """
    if money is None or not money.running_s:
        return BreakEven(utilisation=None, break_even_utilisation=None)
    used = use.engine_s / money.running_s
    if not money.complete or not use.cloud_usd or not used:
        return BreakEven(utilisation=used, break_even_utilisation=None)
    needed = used * money.spent_usd / use.cloud_usd
    return BreakEven(
        utilisation=used, break_even_utilisation=needed, hours_a_day=min(needed, 1.0) * 24
    )


def _engine_s(each: Sum) -> float:
    return 0.0 if each.cache in FREE else each.total_ms / 1000


def _spared_s(use: Use) -> float | None:
    """Return the engine time of the answers that cost none, at the pace of those that did."""
    if use.miss_completion_tokens:
        return use.engine_s / use.miss_completion_tokens * use.hit_completion_tokens
    if use.misses:
        return use.engine_s / use.misses * (use.hits + use.shared)
    return None


def _running(money: Money) -> Fraction | None:
    """Return the mean price of a second of the machines while they ran."""
    if not money.running_s or money.unpriced_s:
        return None
    return Fraction(money.running_usd) / Fraction(money.running_s)


def _machine_usd(money: Money | None, seconds: float | None) -> MicroUsd | None:
    """Return what so much time of the machines costs."""
    rate = None if money is None else _running(money)
    if rate is None or seconds is None:
        return None
    return MicroUsd(round(rate * Fraction(seconds)))


def _saved(cloud: MicroUsd, spent: MicroUsd | None) -> float | None:
    return None if spent is None or not cloud else (cloud - spent) / cloud


def _each(second: Fraction | None, seconds: float, count: int) -> Decimal | None:
    if second is None or not count:
        return None
    return _dollars(second * Fraction(seconds) / count)


def _dollars(amount: Fraction) -> Decimal:
    """Return micro-dollars as dollars."""
    exact = Decimal(amount.numerator) / Decimal(amount.denominator) / _MILLION
    return exact.quantize(_PLACES)
