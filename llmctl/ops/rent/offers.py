"""What can be rented now, over all markets, best first."""

import asyncio
from collections.abc import Sequence

from msgspec import Struct

from llmctl.core.errors import LlmctlError, NoCapacity
from llmctl.core.gpus import GPUS, find_gpus
from llmctl.core.rental import Offer, OfferWish, ProviderName, UpSpec
from llmctl.ops.rent import misses, sizing
from llmctl.ops.rent.ranking import rank
from llmctl.ops.rent.world import World

MIN_CUDA = 12.4
"""What the images need."""
_MEMORY_SHARE = 0.9
"""Of the card's own memory: markets list cards of half the size under the same name."""
_NOMINAL_MIB = {gpu.key: gpu.memory_gib * 1024 for gpu in GPUS}


class OfferReport(Struct, frozen=True, kw_only=True):
    """Offers within every bound, and what stood in the way of others."""

    offers: list[Offer]
    """Best first."""
    too_dear: list[Offer] = []
    """Fit but for the price, cheapest first."""
    avoided: list[Offer] = []
    """On machines that failed within the last day."""
    out_of_bounds: list[Offer] = []
    """On offer with no bounds but the card; asked for only where nothing else was found."""
    problems: list[LlmctlError] = []
    """Markets that could not be asked."""


def wish_for(world: World, spec: UpSpec, *, disk_gb: int) -> OfferWish:
    """Return what is asked of the markets for ``spec``."""
    return OfferWish(
        gpus=tuple(gpu.key for gpu in find_gpus(spec.gpu)),
        gpu_count=spec.gpu_count,
        disk_gb=disk_gb,
        max_usd_per_hour=spec.max_usd_per_hour,
        region=spec.region,
        min_reliability=spec.min_reliability,
        min_download_mbps=world.config.rent.min_download_mbps,
        min_seconds_left=spec.ttl_s,
        min_cuda=MIN_CUDA,
        spot=spec.spot,
        volume=spec.volume,
    )


async def find_offers(
    world: World, wish: OfferWish, names: Sequence[ProviderName], *, model_bytes: int
) -> OfferReport:
    """Ask the markets at once; one that fails does not hide the others. Reads only.

    Raises the market's own error when not one of them could be asked.
    """
    found, problems = await ask(world, wish, names)
    avoided = {name: world.store.avoided(name) for name in {offer.provider for offer in found}}
    fine, dear, bad = [], [], []
    hours = wish.min_seconds_left / 3600
    for offer in rank(found, model_bytes=model_bytes, hours=hours):
        if offer.machine in avoided[offer.provider]:
            bad.append(offer)
        elif misses.is_dear(offer, wish):
            dear.append(offer)
        else:
            fine.append(offer)
    dear.sort(key=lambda offer: (offer.usd_per_hour, offer.id))
    others = [] if found else await _without_bounds(world, wish, names)
    return OfferReport(
        offers=fine, too_dear=dear, avoided=bad, out_of_bounds=others, problems=problems
    )


def nothing_fits(report: OfferReport, wish: OfferWish, names: Sequence[ProviderName]) -> NoCapacity:
    """Return the error that says why a report has no offers, with the nearest miss."""
    if report.too_dear:
        return misses.too_dear(report.too_dear[0], wish, names)
    if report.avoided:
        return misses.all_avoided(wish, names)
    if report.out_of_bounds:
        return misses.out_of_bounds(report.out_of_bounds, wish, names)
    return misses.none_on_offer(wish, names)


async def ask(
    world: World, wish: OfferWish, names: Sequence[ProviderName]
) -> tuple[list[Offer], list[LlmctlError]]:
    """Return what the markets answered, whatever it costs, and which of them could not answer."""
    asked = [world.providers[name] for name in names if name in world.providers]
    answers = await asyncio.gather(
        *(provider.offers(wish) for provider in asked), return_exceptions=True
    )
    problems: list[LlmctlError] = []
    found: list[Offer] = []
    for answer in answers:
        if isinstance(answer, LlmctlError):
            problems.append(answer)
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found += [offer for offer in answer if _is_whole(offer)]
    if problems and len(problems) == len(asked):
        raise problems[0]
    return found, problems


async def _without_bounds(
    world: World, wish: OfferWish, names: Sequence[ProviderName]
) -> list[Offer]:
    try:
        found, _ = await ask(world, misses.without_bounds(wish), names)
    except LlmctlError:  # it has answered before; the reason why nothing fits is not worth more
        return []
    return found


def distinct(ranked: Sequence[Offer]) -> list[Offer]:
    """Return the best offer of each machine: if one fails, its sisters would fail the same way."""
    seen: set[tuple[ProviderName, str, str, bool]] = set()
    kept = []
    for offer in ranked:
        key = (offer.provider, offer.machine or offer.id, offer.gpu, offer.secure)
        if key not in seen:
            seen.add(key)
            kept.append(offer)
    return kept


def _is_whole(offer: Offer) -> bool:
    return offer.gpu_memory_mib >= _NOMINAL_MIB.get(offer.gpu, 0) * _MEMORY_SHARE


def least_memory_mib(spec: UpSpec) -> int:
    """Return the GPU memory that is certain with any card ``spec`` names."""
    return min(gpu.memory_gib for gpu in find_gpus(spec.gpu)) * 1024 * spec.gpu_count


def disk_for(spec: UpSpec) -> int:
    """Return the disk to ask for, in GB."""
    return sizing.fit(spec, least_memory_mib(spec)).disk_gb
