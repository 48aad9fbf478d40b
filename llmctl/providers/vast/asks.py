"""vast.ai's offers, which it calls asks: the question, the rows, and what fits; pure.

Numeric filters are not always honoured and ``limit`` is at most 64, so every bound is applied again
to what comes back, and the next page is asked for by price.
"""

import contextlib
import math
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from llmctl.core.gpus import GPUS, Gpu
from llmctl.core.money import MicroUsd, micro_usd
from llmctl.core.rental import Offer, OfferWish, ProviderName
from llmctl.providers.vast.contract import storage_price

DATA_CENTRE = 1


class AskRow(Struct, frozen=True, kw_only=True):
    """The fields llmctl reads; without the first four nothing can be rented."""

    id: int
    gpu_name: str
    gpu_ram: float
    """MiB of one card."""
    dph_total: float
    """Dollars an hour, with the disk that the search allocated."""
    num_gpus: int = 1
    machine_id: int | None = None
    min_bid: float | None = None
    storage_total_cost: float | None = None
    storage_cost: float | None = None
    disk_space: float | None = None
    inet_down: float | None = None
    """Megabits a second."""
    inet_down_cost: float | None = None
    inet_up_cost: float | None = None
    reliability: float | None = None
    reliability2: float | None = None
    verification: str | None = None
    geolocation: str | None = None
    direct_port_count: int | None = None
    duration: float | None = None
    cuda_max_good: float | None = None
    hosting_type: int | None = None
    rentable: bool | None = None
    rented: bool | None = None
    external: bool | None = None


def cards(wish: OfferWish) -> dict[str, Gpu]:
    """Return the wanted cards by the names they have here."""
    return {gpu.vast: gpu for gpu in GPUS if gpu.key in wish.gpus and gpu.vast}


def question(wish: OfferWish) -> dict[str, Any]:
    """Return the filters of a search; the package adds verified, rentable and not rented."""
    bounds = {
        "disk_space": wish.disk_gb,
        "direct_port_count": 1,
        "reliability": wish.min_reliability,
        "inet_down": wish.min_download_mbps,
        "duration": wish.min_seconds_left,
        "cuda_max_good": wish.min_cuda,
    }
    query: dict[str, Any] = {name: {"gte": bound} for name, bound in bounds.items() if bound}
    query["gpu_name"] = {"in": sorted(cards(wish))}
    query["num_gpus"] = {"eq": wish.gpu_count}
    if wish.secure:
        query["datacenter"] = {"eq": True}
    if wish.region is not None and len(wish.region) == 2:
        query["geolocation"] = {"eq": wish.region.upper()}
    return query


def read_rows(rows: Iterable[object]) -> list[AskRow]:
    """Return what can be read: an offer without a price or a card cannot be rented anyway."""
    found = []
    for row in rows:
        with contextlib.suppress(msgspec.ValidationError):
            found.append(msgspec.convert(row, AskRow, strict=False))
    return [row for row in found if all(map(math.isfinite, _numbers(row)))]


def fits(row: AskRow, wish: OfferWish) -> bool:
    """Apply every bound but the price; what is not said does not keep a bound."""
    at_least = (
        (row.disk_space, wish.disk_gb),
        (row.direct_port_count, 1),
        (_reliability(row), wish.min_reliability),
        (row.inet_down, wish.min_download_mbps),
        (row.duration, wish.min_seconds_left),
        (row.cuda_max_good, wish.min_cuda),
    )
    return (
        row.gpu_name in cards(wish)
        and row.num_gpus == wish.gpu_count
        and row.verification in (None, "verified")  # asked for, and not a number
        and row.rentable is not False
        and not row.rented
        and not row.external
        and (row.hosting_type == DATA_CENTRE or not wish.secure)
        and _is_in(row.geolocation or "", wish.region)
        and all(not bound or (value is not None and value >= bound) for value, bound in at_least)
    )


def to_offer(row: AskRow, wish: OfferWish) -> Offer:
    """Return a row that fits as an offer."""
    gpu = cards(wish)[row.gpu_name]
    disk = storage_price(row, wish.disk_gb) or 0.0
    running = row.dph_total
    if wish.spot and row.min_bid is not None:
        running = row.min_bid + disk
    return Offer(
        provider=ProviderName.VAST,
        id=str(row.id),
        machine="" if row.machine_id is None else str(row.machine_id),
        gpu=gpu.key,
        gpu_name=row.gpu_name,
        gpu_count=row.num_gpus,
        gpu_memory_mib=int(row.gpu_ram),
        region=row.geolocation or "",
        spot=wish.spot,
        usd_per_hour=micro_usd(running),
        stopped_usd_per_hour=micro_usd(disk),
        usd_per_gb_down=_money(row.inet_down_cost),
        usd_per_gb_up=_money(row.inet_up_cost),
        reliability=_reliability(row),
        download_mbps=row.inet_down,
        seconds_left=row.duration,
        disk_gb=row.disk_space,
        cuda=row.cuda_max_good,
        secure=row.hosting_type == DATA_CENTRE,
    )


def _numbers(row: AskRow) -> Iterable[float]:
    return (value for value in msgspec.structs.astuple(row) if isinstance(value, float))


def _reliability(row: AskRow) -> float | None:
    return row.reliability2 if row.reliability is None else row.reliability


def _is_in(place: str, region: str | None) -> bool:
    """``Oslo, NO`` is in ``NO``, ``oslo`` and ``Oslo, NO``."""
    if region is None:
        return True
    wanted = region.casefold()
    parts = [part.strip().casefold() for part in place.split(",")]
    return wanted in parts or wanted == place.casefold()


def _money(dollars: float | None) -> MicroUsd:
    return micro_usd(dollars or 0.0)
