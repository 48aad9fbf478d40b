"""The ways to other machines, and by their answers how far the clock here is off."""

import asyncio
import email.utils
import shlex
import time
from collections.abc import Mapping, Sequence

import httpx
from msgspec import Struct

from llmctl.config import addresses
from llmctl.config.keys import VARIABLES, find_key
from llmctl.config.load import Loaded
from llmctl.core.clock import Clock
from llmctl.core.errors import AuthError
from llmctl.core.paths import Paths
from llmctl.core.reports_health import CheckState, Finding
from llmctl.providers.registry import api_url, market_name

ANSWER_S = 6.0
SKEW_S = 60.0
"""A watchdog refuses to be armed at 120 s; certificates and budgets mind less, but they mind."""


class Place(Struct, frozen=True, kw_only=True):
    """Somebody on another machine whom llmctl asks."""

    name: str
    url: str
    market: bool = True
    """Asked through an HTTP proxy where the environment names one; engines never are."""


class Reached(Struct, frozen=True, kw_only=True):
    """What became of one question."""

    place: Place
    latency_ms: float | None = None
    skew_s: float | None = None
    """Their clock less ours; None where they do not say the time."""
    reason: str = ""
    """Why there was no answer."""


def places(loaded: Loaded | None, environ: Mapping[str, str], paths: Paths) -> list[Place]:
    """Return whom this configuration asks: markets with a key, engines on other machines."""
    found = []
    for market in VARIABLES:
        try:
            key = find_key(market, environ, paths.data)
        except AuthError:
            continue  # told of where keys are looked at
        if key is not None:
            found.append(Place(name=market_name(market), url=api_url(market, environ)))
    for backend in loaded.config.backend if loaded else []:
        kind, _, url = backend.url.partition(":")
        if kind != "embedded" and not addresses.is_local(addresses.host_of(url)):
            found.append(Place(name=kind, url=url, market=False))
    return found


async def network_findings(wanted: Sequence[Place], clock: Clock) -> list[Finding]:
    """Ask each for anything at all, at the same time."""
    if not wanted:
        detail = "nobody on another machine is asked: no key of a market, no engine elsewhere"
        unasked = "nobody to compare it with"
        return [
            _finding("network", "paths", CheckState.OK, detail),
            _finding("machine", "clock", CheckState.UNKNOWN, unasked),
        ]
    reached = await asyncio.gather(*(_reach(place, clock) for place in wanted))
    return [*map(_path, reached), clock_finding(reached)]


def clock_finding(reached: Sequence[Reached]) -> Finding:
    """Judge the clock by the answer that is nearest to it: one of them may be wrong itself."""
    known = [each for each in reached if each.skew_s is not None]
    if not known:
        return _finding("machine", "clock", CheckState.UNKNOWN, "nobody said the time")
    nearest = min(known, key=lambda each: abs(each.skew_s or 0))
    off = -(nearest.skew_s or 0)
    detail = f"within {max(abs(off), 1):.0f} s of {nearest.place.name}"
    if abs(off) <= SKEW_S:
        return _finding("machine", "clock", CheckState.OK, detail)
    side = "fast" if off > 0 else "slow"
    detail = f"it is {abs(off):.0f} s {side} by {nearest.place.name}"
    return _finding("machine", "clock", CheckState.BAD, detail, "sudo timedatectl set-ntp true")


async def _reach(place: Place, clock: Clock) -> Reached:
    client = httpx.AsyncClient(timeout=ANSWER_S, trust_env=place.market)
    began = time.monotonic()
    try:
        async with client:
            answer = await client.head(place.url)
    except (httpx.TransportError, httpx.InvalidURL) as failure:
        return Reached(place=place, reason=str(failure) or type(failure).__name__)
    latency_ms = (time.monotonic() - began) * 1000
    return Reached(
        place=place, latency_ms=latency_ms, skew_s=_skew(answer.headers.get("date", ""), clock)
    )


def _skew(said: str, clock: Clock) -> float | None:
    """Return their clock less ours, from a ``Date`` header, which has whole seconds."""
    try:
        return email.utils.parsedate_to_datetime(said).timestamp() + 0.5 - clock.now()
    except ValueError:
        return None


def _path(reached: Reached) -> Finding:
    place = reached.place
    if reached.latency_ms is None:
        return _finding(
            "network",
            place.name,
            CheckState.BAD,
            f"{place.url} cannot be reached: {reached.reason}",
            f"curl -sSI {shlex.quote(place.url)}",
        )
    detail = f"{place.url} answers in {reached.latency_ms:.0f} ms"
    return _finding("network", place.name, CheckState.OK, detail)


def _finding(section: str, name: str, state: CheckState, detail: str, fix: str = "") -> Finding:
    return Finding(section=section, name=name, state=state, detail=detail, fix=fix)
