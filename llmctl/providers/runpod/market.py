"""From RunPod's catalogue to offers. Pure.

One offer for each card, cloud and data centre that has stock. RunPod says nothing of reliability,
bandwidth and time left: bounds on those cannot be applied to its offers.
"""

import math

from llmctl.core.gpus import GPUS, Gpu
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Offer, OfferWish, ProviderName
from llmctl.providers.runpod.wire import GpuRow

SECURE = "SECURE"
COMMUNITY = "COMMUNITY"
DISK_USD_PER_GB_MONTH = "0.10"
STOPPED_VOLUME_USD_PER_GB_MONTH = "0.20"
"""Of a disk bound to the host (``mounts.persistent``). A container disk is erased by a stop, and
free from then on; a network volume is billed apart from any pod, always."""
_MONTH_H = 720
_STOCK = ("high", "medium", "low")
_BY_ID = {gpu.runpod: gpu for gpu in GPUS if gpu.runpod}
_EUROPE = ("EU", "EUR")
_BY_STATE = ("US", "CA")
"""Whose data centres are named by country and state (``US-KS-2``); the others by continent and
country (``EU-RO-1``)."""


def disk_price(gigabytes: int, usd_per_gb_month: str = DISK_USD_PER_GB_MONTH) -> MicroUsd:
    """Return what a disk costs an hour, rounded up."""
    return MicroUsd(math.ceil(gigabytes * micro_usd(usd_per_gb_month) / _MONTH_H))


def offers(
    rows: list[GpuRow], wish: OfferWish, *, cloud: str, place: str | None = None
) -> list[Offer]:
    """Return what of one cloud's catalogue fits; ``place`` is the only data centre that will do."""
    found: list[Offer] = []
    for row in rows:
        gpu = _BY_ID.get(row.id)
        if gpu is None or gpu.key not in wish.gpus or not _fits(row, wish, cloud):
            continue
        for where, stock in _places(row):
            if in_region(where, wish.region) and place in (None, where):
                found.append(_offer(row, gpu, wish, (cloud, where, stock)))
    return found


def offer_id(cloud: str, place: str, min_cuda: str | None, gpu_id: str) -> str:
    """Return all that a create has to know of an offer, as one text."""
    return "/".join((cloud, place, min_cuda or "", gpu_id))


def split_offer_id(text: str) -> tuple[str, str, str | None, str]:
    """Return cloud, data centre, lowest CUDA version and GPU id; data centre may be empty."""
    cloud, place, min_cuda, gpu_id = text.split("/", 3)
    return cloud, place, min_cuda or None, gpu_id


def min_cuda_text(version: float) -> str | None:
    """Return the lowest CUDA version as v2 takes it, ``12.4``; None for no bound."""
    return f"{version:.1f}" if version else None


def in_region(place: str, region: str | None) -> bool:
    """Whether a data centre is the one, or lies in the country or on the continent, asked for.

    ``CA`` is Canada and not ``US-CA-2``, which is in California.
    """
    if region is None:
        return True
    wanted = region.strip().upper()
    first, _, rest = place.upper().partition("-")
    country = first if first in _BY_STATE else rest.partition("-")[0]
    if wanted in _EUROPE:
        return first in _EUROPE
    return wanted in (place.upper(), first, country)


def _fits(row: GpuRow, wish: OfferWish, cloud: str) -> bool:
    most = row.max_count.get(cloud.lower())
    cuda = _cuda(row)
    return (
        (row.secure if cloud == SECURE else row.community)
        and bool(row.price.get(cloud.lower()))
        and (most is None or wish.gpu_count <= most)
        and (cuda is None or cuda >= wish.min_cuda)
    )


def _places(row: GpuRow) -> list[tuple[str, str]]:
    """Return data centres with stock; ``""`` where the catalogue names none for a card it has."""
    if row.data_centers:
        places = [(each.id, each.availability.lower()) for each in row.data_centers]
    else:
        places = [("", row.availability.lower())]
    return [(place, stock) for place, stock in places if stock in _STOCK]


def _cuda(row: GpuRow) -> float | None:
    """Return the highest CUDA version of which there is one."""
    versions = [each.version for each in row.cuda_versions or () if each.available]
    return max((float(each) for each in versions if _is_number(each)), default=None)


def _is_number(text: str) -> bool:
    whole, _, part = text.partition(".")
    return whole.isdecimal() and part.isdecimal()


def _offer(row: GpuRow, gpu: Gpu, wish: OfferWish, found: tuple[str, str, str]) -> Offer:
    cloud, where, stock = found
    each = micro_usd(row.price[cloud.lower()] or 0)
    return Offer(
        provider=ProviderName.RUNPOD,
        id=offer_id(cloud, where, min_cuda_text(wish.min_cuda), row.id),
        machine=where or cloud,
        gpu=gpu.key,
        gpu_name=row.name or gpu.name,
        gpu_count=wish.gpu_count,
        gpu_memory_mib=row.memory * 1024,
        region=where,
        usd_per_hour=MicroUsd(each * wish.gpu_count + disk_price(wish.disk_gb)),
        cuda=_cuda(row),
        stock=stock,
        secure=cloud == SECURE,
    )
