"""Which offer is best: a pure order by what an hour of use will really cost."""

from collections.abc import Sequence

from llmctl.core.money import MicroUsd, cost
from llmctl.core.rental import Offer

IMAGE_BYTES = 6_000_000_000
"""Container image, compressed."""
ENGINE_BYTES = 2_000_000_000
"""Ollama's archive with its GPU libraries."""
FALLBACK_MBPS = 1000.0
"""Where a market gives no speed: what its data centres usually have."""
FALLBACK_RELIABILITY = 0.99
"""Where a market gives none."""
_START_S = 90.0
"""Scheduling, sshd, one answer."""
_LOAD_BYTES_PER_S = 1e9
"""From disk into GPU memory."""
_RISK = 4.0
"""How many hours' price a failure in that hour is taken to cost: time, traffic, nerves."""
_HOME = 1.05
"""Machines outside data centres: whoever owns one can read what is asked on it."""


def rank(offers: Sequence[Offer], *, model_bytes: int, hours: float) -> list[Offer]:
    """Return the offers, best first: by expected cost of ``hours`` of use, then speed, then id.

    The order depends on the offers only, not on the order they came in.
    """
    return sorted(
        offers,
        key=lambda offer: (
            expected_usd_per_hour(offer, model_bytes=model_bytes, hours=hours),
            ready_s(offer, model_bytes=model_bytes),
            offer.provider,
            offer.id,
        ),
    )


def expected_usd_per_hour(offer: Offer, *, model_bytes: int, hours: float) -> float:
    """Return micro-dollars for an hour of use, with getting ready, traffic and risk spread on it.

    Price includes the disk. A slow link is paid for while it pulls; a machine that fails takes what
    was pulled with it.
    """
    start = ready_cost(offer, model_bytes=model_bytes) / max(hours, 1.0)
    reliability = FALLBACK_RELIABILITY if offer.reliability is None else offer.reliability
    place = 1.0 if offer.secure else _HOME
    return offer.usd_per_hour * place * (1 + _RISK * (1.0 - reliability)) + start


def ready_s(offer: Offer, *, model_bytes: int) -> float:
    """Return the expected seconds from the order until a model answers."""
    speed = offer.download_mbps or FALLBACK_MBPS
    pull = (IMAGE_BYTES + ENGINE_BYTES + model_bytes) * 8 / (speed * 1e6)
    return _START_S + pull + model_bytes / _LOAD_BYTES_PER_S


def traffic_cost(offer: Offer, *, model_bytes: int) -> MicroUsd:
    """Return what fetching image, engine and model costs."""
    gigabytes = (IMAGE_BYTES + ENGINE_BYTES + model_bytes) / 1e9
    return MicroUsd(round(offer.usd_per_gb_down * gigabytes))


def ready_cost(offer: Offer, *, model_bytes: int) -> MicroUsd:
    """Return what getting ready is expected to cost, traffic included."""
    time = cost(offer.usd_per_hour, ready_s(offer, model_bytes=model_bytes))
    return MicroUsd(time + traffic_cost(offer, model_bytes=model_bytes))


def why(ranked: Sequence[Offer], *, model_bytes: int, hours: float) -> str:
    """Return one sentence on why the first offer is the first."""
    best = ranked[0]
    each = [expected_usd_per_hour(o, model_bytes=model_bytes, hours=hours) / 1e6 for o in ranked]
    figures = [f"${each[0]:.3f} an hour with traffic, getting ready and risk over {hours:g} h"]
    if best.reliability is not None:
        figures.append(f"{best.reliability:.1%} reliable")
    if best.download_mbps is not None:
        figures.append(f"{best.download_mbps:,.0f} Mb/s")
    figures.append("in a data centre" if best.secure else "in a private home")
    if len(ranked) == 1:
        return f"the only offer that fits: {', '.join(figures)}"
    rest = f"the next of {len(ranked)} comes to ${each[1]:.3f}"
    return f"{', '.join(figures)}; {rest}"
