"""Puts together what ``health`` looks at, from the configuration of this user."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from llmctl.config.load import Loaded
from llmctl.config.secrets import Secret
from llmctl.core.clock import Clock, SystemClock
from llmctl.core.errors import AuthError, LlmctlError
from llmctl.core.model import Health
from llmctl.core.paths import Paths, find_paths
from llmctl.core.rental import Phase
from llmctl.core.reports_health import AnyLink
from llmctl.ops.health import Asked, Looks, ask
from llmctl.ops.running import Address, RunningProxy, find_address, find_token
from llmctl.ops.trial import Trial, ask_once
from llmctl.state.store import RentalStore

if TYPE_CHECKING:
    from llmctl.ops.tunnels import Background

MACHINES_EVERY_S = 30.0
"""Markets allow a request a second, and a login takes seconds: they are asked less often."""

LookAtMachines = Callable[[], Awaitable[list[AnyLink]]]


def looks_of(
    loaded: Loaded,
    environ: Mapping[str, str],
    *,
    url: str | None,
    machines: LookAtMachines,
    deep: bool,
) -> Looks:
    """Return the ways to look at each part; ``machines`` is asked every half minute at most."""
    paths, clock = find_paths(environ), SystemClock()
    address = find_address(loaded, environ, url=url)
    remembered = _remembered(machines, clock)

    async def itself() -> Health:
        from llmctl.ops.unserved import look_at_parts  # 0.1 s, which a proxy that answers saves

        served = loaded
        with contextlib.suppress(LlmctlError):  # told of where machines are looked at
            served = _without_stand_ins(loaded, _phases(paths, clock))
        return await look_at_parts(served, environ, paths, clock)

    async def on_record() -> list[AnyLink]:
        return await remembered() if _phases(paths, clock) else []

    def complete() -> Trial:
        with RunningProxy(address, find_token(address, environ)) as proxy:
            return ask_once(proxy)

    return Looks(
        url=address.url,
        token_source=_token_source(address, environ, paths),
        ask=lambda: _ask(address, environ),
        itself=itself,
        tunnels=lambda: _background(paths),
        machines=on_record,
        complete=complete if deep else None,
        clock=clock,
    )


def _background(paths: Paths) -> "list[Background]":
    """Return the tunnels of other processes; without any, what they are is not imported either."""
    directory = paths.state / "tunnels"
    if not any(directory.glob("*.json")):
        return []
    from llmctl.ops.tunnels import Registry

    return Registry(directory).list()


def _ask(address: Address, environ: Mapping[str, str]) -> Asked:
    token: Secret | None = None
    trouble: AuthError | None = None
    try:
        token = find_token(address, environ)
    except AuthError as unreadable:
        trouble = unreadable
    with RunningProxy(address, token) as proxy:
        asked = ask(proxy)
    if trouble is not None and asked.latency_ms is not None:
        return Asked(latency_ms=asked.latency_ms, failure=trouble)
    return asked


def _token_source(address: Address, environ: Mapping[str, str], paths: Paths) -> str:
    if environ.get("LLMCTL_AUTH_TOKEN", "").strip():
        return "LLMCTL_AUTH_TOKEN"
    if address.source == "ANTHROPIC_BASE_URL" and environ.get("ANTHROPIC_AUTH_TOKEN", "").strip():
        return "ANTHROPIC_AUTH_TOKEN"
    return str(paths.data / "token")


def _phases(paths: Paths, clock: Clock) -> list[Phase]:
    """Return how far everything is that is on record and not gone; raises ``LlmctlError``."""
    if not paths.rentals_file.exists():
        return []
    store = RentalStore(paths.rentals_file, clock=clock)
    try:
        return [rental.phase for rental in store.all() if rental.phase is not Phase.GONE]
    finally:
        store.close()


def _without_stand_ins(loaded: Loaded, rented: list[Phase]) -> Loaded:
    """Leave the default engine out where ``serve`` would use machines that are ready instead."""
    standard = loaded.origins["backend"].kind in ("default", "customary")
    if not standard or Phase.READY not in rented:
        return loaded
    config = msgspec.structs.replace(loaded.config, backend=[])
    return msgspec.structs.replace(loaded, config=config)


def _remembered(look: LookAtMachines, clock: Clock) -> LookAtMachines:
    found: list[AnyLink] = []
    asked_at = float("-inf")

    async def again() -> list[AnyLink]:
        nonlocal found, asked_at
        if clock.monotonic() - asked_at >= MACHINES_EVERY_S:
            found, asked_at = await look(), clock.monotonic()
        return found

    return again
