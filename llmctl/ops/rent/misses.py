"""Why nothing fits: the nearest miss, which bound keeps out how many, what helps. Pure."""

import math
from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from llmctl.core.errors import NoCapacity
from llmctl.core.gpus import find_gpus
from llmctl.core.money import MicroUsd
from llmctl.core.rental import Offer, OfferWish, ProviderName
from llmctl.providers.registry import market_name

_SMALLEST_DISK_GB = 10
_STEP = 50_000
"""Prices in hints are rounded up to five cents: the next minute's offers cost a little more."""


class Miss(Struct, frozen=True, kw_only=True):
    """One bound that an offer does not keep."""

    bound: str
    """``12 under 98.0% reliable``, without the number."""
    cure: str
    """What to type to let this offer in; empty where there is no such thing."""


def misses(offer: Offer, wish: OfferWish) -> list[Miss]:
    """Return the bounds of ``wish`` that an offer does not keep; what is unknown keeps them."""
    found = []
    if offer.reliability is not None and offer.reliability < wish.min_reliability:
        lower = math.floor(offer.reliability * 100) / 100
        bound = f"under {wish.min_reliability:.1%} reliable"
        found.append(Miss(bound=bound, cure=f"--min-reliability {lower:.2f}"))
    if offer.download_mbps is not None and offer.download_mbps < wish.min_download_mbps:
        bound = f"slower than {wish.min_download_mbps:g} Mb/s"
        lower = math.floor(offer.download_mbps)
        found.append(Miss(bound=bound, cure=f"LLMCTL_RENT_MIN_DOWNLOAD_MBPS={lower}"))
    if offer.seconds_left is not None and offer.seconds_left < wish.min_seconds_left:
        bound = f"rented out for less than {wish.min_seconds_left / 3600:g} h"
        found.append(Miss(bound=bound, cure=_ttl(offer.seconds_left)))
    if offer.disk_gb is not None and offer.disk_gb < wish.disk_gb:
        found.append(Miss(bound=f"with less than {wish.disk_gb} GB of disk", cure=""))
    if offer.cuda is not None and offer.cuda < wish.min_cuda:
        found.append(Miss(bound=f"with a driver older than CUDA {wish.min_cuda}", cure=""))
    if is_dear(offer, wish):
        bound = f"over {_price(wish.max_usd_per_hour)}"
        found.append(Miss(bound=bound, cure=f"--max-price {_allowing(offer.usd_per_hour)}"))
    return found


def is_dear(offer: Offer, wish: OfferWish) -> bool:
    """Whether an offer costs more than may be paid."""
    return wish.max_usd_per_hour is not None and offer.usd_per_hour > wish.max_usd_per_hour


def too_dear(nearest: Offer, wish: OfferWish, names: Sequence[ProviderName]) -> NoCapacity:
    """Return the error for offers that fit but for their price; ``nearest`` is the cheapest."""
    at = f" at {market_name(nearest.provider)}" if len(names) > 1 else ""
    return NoCapacity(
        f"no {_cards(wish)} offer under {_price(wish.max_usd_per_hour)} {_places(names)} "
        f"(cheapest now: {_price(nearest.usd_per_hour)}{at})",
        hint=f"llmctl up --max-price {_allowing(nearest.usd_per_hour)}{_or_elsewhere(names)}",
    )


def all_avoided(wish: OfferWish, names: Sequence[ProviderName]) -> NoCapacity:
    """Return the error for offers that are all on machines that failed."""
    return NoCapacity(
        f"every {_cards(wish)} offer {_places(names)} is on a machine that failed within the last "
        "day",
        hint=f"try another card (--gpu), {_elsewhere(names)}or wait",
    )


def none_on_offer(wish: OfferWish, names: Sequence[ProviderName]) -> NoCapacity:
    """Return the error where there is nothing, whatever the bounds."""
    where = f" in {wish.region}" if wish.region else ""
    return NoCapacity(
        f"no {_cards(wish)} is on offer {_places(names)}{where} now",
        hint=f"{_elsewhere(names)}try another card (--gpu h100), or wait",
    )


def out_of_bounds(
    found: Sequence[Offer], wish: OfferWish, names: Sequence[ProviderName]
) -> NoCapacity:
    """Return the error for offers that all miss a bound; ``found`` was asked for without bounds."""
    counts: dict[str, int] = {}
    elsewhere = 0
    for offer in found:
        missed = misses(offer, wish)
        elsewhere += not missed
        for miss in missed:
            counts[miss.bound] = counts.get(miss.bound, 0) + 1
    kept_out = [f"{count} {bound}" for bound, count in counts.items()]
    if elsewhere:
        kept_out.append(f"{elsewhere} {_other_reason(wish)}")
    nearest = min(found, key=lambda offer: (len(misses(offer, wish)), offer.usd_per_hour, offer.id))
    return NoCapacity(
        f"no {_cards(wish)} {_places(names)} fits: of {len(found)} on offer "
        f"{', '.join(kept_out)} (nearest: {_describe(nearest)})",
        hint=_cure(nearest, wish) + _or_elsewhere(names),
    )


def without_bounds(wish: OfferWish) -> OfferWish:
    """Return the same wish for cards, with nothing else asked of them."""
    return replace(
        wish,
        disk_gb=_SMALLEST_DISK_GB,
        region=None,
        min_reliability=0.0,
        min_download_mbps=0.0,
        min_seconds_left=0.0,
        min_cuda=0.0,
        secure=False,
        volume=None,
    )


def _other_reason(wish: OfferWish) -> str:
    if wish.region:
        return f"outside {wish.region}"
    if wish.volume:
        return f"where volume {wish.volume} is not"
    return "outside data centres" if wish.secure else "gone a moment later"


def _cure(nearest: Offer, wish: OfferWish) -> str:
    cures = [miss.cure for miss in misses(nearest, wish)]
    if not cures and wish.region:
        return f"llmctl up without --region {wish.region}"
    if not cures or "" in cures:
        return "llmctl offer list shows what there is; try another card (--gpu)"
    flags = [cure for cure in cures if cure.startswith("--")]
    variables = [cure for cure in cures if not cure.startswith("--")]
    return " ".join([*variables, "llmctl up", *flags])


def _describe(offer: Offer) -> str:
    parts = [_price(offer.usd_per_hour)]
    if offer.reliability is not None:
        parts.append(f"{offer.reliability:.1%} reliable")
    if offer.download_mbps is not None:
        parts.append(f"{offer.download_mbps:,.0f} Mb/s")
    if offer.seconds_left is not None:
        parts.append(f"for {offer.seconds_left / 3600:.1f} h")
    return ", ".join([*parts, offer.region] if offer.region else parts)


def _cards(wish: OfferWish) -> str:
    names = dict.fromkeys(gpu.name for key in wish.gpus for gpu in find_gpus(key))
    count = f"{wish.gpu_count} x " if wish.gpu_count > 1 else ""
    return count + " or ".join(names) + (" spot" if wish.spot else "")


def _places(names: Sequence[ProviderName]) -> str:
    return "on " + " and ".join(market_name(name) for name in names)


def _others(names: Sequence[ProviderName]) -> list[str]:
    return [each.value for each in ProviderName if each.paid and each not in names]


def _elsewhere(names: Sequence[ProviderName]) -> str:
    return "".join(f"add --provider {other}, " for other in _others(names)[:1])


def _or_elsewhere(names: Sequence[ProviderName]) -> str:
    return "".join(f", or add --provider {other}" for other in _others(names)[:1])


def _price(amount: MicroUsd | None) -> str:
    """Return dollars an hour, rounded up to a cent: what is under it is not called equal."""
    return f"${math.ceil((amount or 0) / 10_000) / 100:.2f}/h"


def _allowing(amount: MicroUsd) -> str:
    return f"{math.ceil(amount / _STEP) * _STEP / 1e6:.2f}"


def _ttl(seconds_left: float) -> str:
    hours = int(seconds_left // 3600)
    return f"--ttl {hours}h" if hours else f"--ttl {max(int(seconds_left // 60), 1)}m"
